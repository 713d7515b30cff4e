"""The same iterator without any worker: builtin ``map`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from seppo.interfaces.inputs import length_of
from seppo.interfaces.options import MapOptions
from seppo.interfaces.progress import meter_for

R = TypeVar("R")


class SerialMap(Iterator[R], Generic[R]):
    """Results of builtin ``map``, with what ``ParallelMap`` has besides.

    Args:
        func: The function.
        iterables: Its arguments.
        options: Of these, ``return_exceptions`` and ``progress`` matter here.
    """

    def __init__(
        self,
        func: Callable[..., R],
        iterables: tuple[Iterable[Any], ...],
        options: MapOptions,
    ) -> None:
        self._length = length_of(iterables)
        self._map: Iterator[R] | None = map(func, *iterables)
        self._return_exceptions = options.return_exceptions
        self._meter = meter_for(options.progress, self._length)
        self._done = 0
        self._show()

    def __iter__(self) -> Iterator[R]:
        if self._map is not None and self._meter is None and not self._return_exceptions:
            return self._map
        return self

    def __next__(self) -> R:
        if self._map is None:
            raise StopIteration
        self._show()  # before anything is taken: should it raise, nothing is lost
        try:
            value = next(self._map)
        except StopIteration:
            self.close()
            raise
        except Exception as error:
            self._done += 1
            if not self._return_exceptions:
                raise
            return error  # type: ignore[return-value]
        self._done += 1
        return value

    def _show(self) -> None:
        if self._meter is not None:
            self._meter.show(self._done, self._length)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("this map has no length: an input has none")
        return self._length

    def close(self) -> None:
        """Stop: no further result will come."""
        self._map = None
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def __enter__(self) -> SerialMap[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
