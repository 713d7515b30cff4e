"""``SerialMap``: the same results without any worker, by builtin ``map`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from seppo.errors import MapTimeoutError, SetupError
from seppo.interfaces.here import Deadline, SetUpHere
from seppo.interfaces.inputs import length_of
from seppo.interfaces.methods import MapMethods
from seppo.interfaces.options import MapOptions
from seppo.interfaces.progress import Meter, meter_for
from seppo.values.retry import retrying

R = TypeVar("R")


# type-arg: builtin map takes no parameters where it runs, only in the type checker.
class SerialMap(MapMethods, map, Generic[R]):  # type: ignore[type-arg]
    """Results of builtin ``map``, with what ``ParallelMap`` has besides."""

    _steps: _Steps[R] | None

    if TYPE_CHECKING:

        def __next__(self) -> R: ...

    @classmethod
    def over(
        cls, func: Callable[..., R], iterables: tuple[Iterable[Any], ...], options: MapOptions
    ) -> SerialMap[R]:
        """Return an iterator over the results.

        Args:
            func: The function.
            iterables: Its arguments.
            options: Of these, ``return_exceptions``, ``progress``, ``retries``, ``timeout``
                and ``setup`` matter here; ``timeout`` is looked at before each item, which
                nothing interrupts.
        """
        length = length_of(iterables)
        func = retrying(func, options.retry)
        made: SerialMap[R]
        if any((options.return_exceptions, options.progress, options.timeout, options.setup)):
            rows = zip(*iterables, strict=False)
            made = _Stepwise(func, rows)
            made._steps = _Steps(func, rows, options, length)
        else:
            made = cls(func, *iterables)
            made._steps = None
        made._n_results = length
        return made

    def cancel(self) -> None:
        """Stop: no further result will come."""
        self.close()

    def close(self) -> None:
        """Stop: no further result will come."""
        # The class of an object can change, unlike the iterators that ``map`` holds.
        self.__class__ = _Stepwise
        if self._steps is not None:
            self._steps.close()

    def __del__(self) -> None:
        if (steps := self.__dict__.get("_steps")) is not None:
            steps.close()


class _Stepwise(SerialMap[R]):
    """A map in which there is more to do for each result than ``map`` does, or no result."""

    def __next__(self) -> R:
        if self._steps is None:
            raise StopIteration
        return self._steps.take()


class _Steps(Generic[R]):
    """What is done for each result."""

    def __init__(
        self,
        func: Callable[..., R],
        rows: Iterator[tuple[Any, ...]],
        options: MapOptions,
        length: int | None,
    ) -> None:
        self._func = func
        self._rows: Iterator[tuple[Any, ...]] | None = rows
        self._length = length
        self._return_exceptions = options.return_exceptions
        self._deadline = Deadline(options.timeout)
        self._set_up = SetUpHere(options.setup, func)
        self._done = 0
        self._meter: Meter | None = meter_for(options.progress, length)
        self._show()

    def take(self) -> R:
        """Return the next result.

        Raises:
            StopIteration: If there is none, or the item raised it, which ends a loop.
            MapTimeoutError: If the time is up.
            SetupError: If the initializer fails.
        """
        if self._rows is None:
            raise StopIteration
        self._show()  # before anything is taken: should it raise, nothing is lost
        try:
            self._set_up.begin()
        except SetupError:
            self.close()
            raise
        for row in self._rows:
            if self._deadline.has_passed:
                self.close()
                raise MapTimeoutError(self._deadline.timeout or 0.0, self._done)
            self._done += 1
            try:
                return self._func(*row)
            except Exception as error:
                if not self._return_exceptions:
                    raise
                # Results are then of func's type or exceptions, which R cannot say.
                return error  # type: ignore[return-value]
        self.close()
        raise StopIteration

    def _show(self) -> None:
        if self._meter is not None:
            self._meter.show(self._done, self._length)

    def close(self) -> None:
        """Take no further item."""
        self._rows = None
        self._set_up.end()
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.close()
