"""The same iterator without any worker: builtin ``map`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from seppo.errors import MapTimeoutError
from seppo.interfaces.here import Deadline
from seppo.interfaces.inputs import length_of
from seppo.interfaces.options import MapOptions
from seppo.interfaces.progress import meter_for
from seppo.payload.data import provide_here
from seppo.payload.retry import retrying
from seppo.payload.setup import Equipped

R = TypeVar("R")


class SerialMap(Iterator[R], Generic[R]):
    """Results of builtin ``map``, with what ``ParallelMap`` has besides.

    Args:
        func: The function.
        iterables: Its arguments.
        options: Of these, ``return_exceptions``, ``progress``, ``retries``, ``timeout`` and
            ``setup`` matter here; ``timeout`` is looked at before each item, which nothing
            interrupts.
    """

    def __init__(
        self,
        func: Callable[..., R],
        iterables: tuple[Iterable[Any], ...],
        options: MapOptions,
    ) -> None:
        self._length = length_of(iterables)
        func = retrying(func, options.retries)
        self._map: Iterator[R] | None
        if options.timeout is None:
            self._map = map(func, *iterables)
        else:
            self._map = _InTime(func, zip(*iterables, strict=False), options.timeout)
        self._return_exceptions = options.return_exceptions
        self._meter = meter_for(options.progress, self._length)
        self._done = 0
        self._equipped: Equipped | None = None  # what is to be done before and after
        self._is_ready = True
        if options.setup is not None:
            self._equipped = options.setup.equip(func)
            self._is_ready = False
            provide_here(options.setup.depends.paths)
        self._show()

    def __iter__(self) -> Iterator[R]:
        is_plain = self._meter is None and not self._return_exceptions and self._equipped is None
        if type(self._map) is map and is_plain:
            return self._map
        return self

    def __next__(self) -> R:
        if self._map is None:
            raise StopIteration
        self._show()  # before anything is taken: should it raise, nothing is lost
        if not self._is_ready:
            self._begin()
        try:
            value = next(self._map)
        except (StopIteration, MapTimeoutError):
            self.close()
            raise
        except Exception as error:
            self._done += 1
            if not self._return_exceptions:
                raise
            return error  # type: ignore[return-value]
        self._done += 1
        return value

    def _begin(self) -> None:
        """Before the first item: do what the caller wants to be done.

        Raises:
            SetupError: If that fails.
        """
        assert self._equipped is not None
        try:
            self._equipped.begin("of this process")
        except BaseException:
            self._equipped = None  # what has not begun is not finalized
            self.close()
            raise
        self._is_ready = True

    def _show(self) -> None:
        if self._meter is not None:
            self._meter.show(self._done, self._length)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("this map has no length: an input has none")
        return self._length

    def cancel(self) -> None:
        """Stop: no further result will come."""
        self.close()

    def close(self) -> None:
        """Stop: no further result will come."""
        self._map = None
        equipped, self._equipped = self._equipped, None
        if equipped is not None and self._is_ready and equipped.finalizer is not None:
            equipped.finalizer()
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def __del__(self) -> None:
        if getattr(self, "_equipped", None) is not None:
            self.close()

    def __enter__(self) -> SerialMap[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _InTime(Iterator[R]):
    """What ``map`` yields, until the time is up."""

    def __init__(
        self, func: Callable[..., R], rows: Iterator[tuple[Any, ...]], timeout: float
    ) -> None:
        self._func = func
        self._rows = rows
        self._deadline = Deadline(timeout)
        self._done = 0

    def __next__(self) -> R:
        row = next(self._rows)
        if self._deadline.has_passed:
            raise MapTimeoutError(self._deadline.timeout or 0.0, self._done)
        self._done += 1
        return self._func(*row)
