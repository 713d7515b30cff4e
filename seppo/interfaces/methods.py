"""Methods that the iterators over the results of a map share."""

from __future__ import annotations

from types import TracebackType
from typing import NoReturn, TypeVar

M = TypeVar("M", bound="MapMethods")


class MapMethods:
    """``len()``, ``with``, and no copies; iterating is left to a builtin class."""

    _n_results: int | None  # None if nobody knows

    def __len__(self) -> int:
        """Return how many results there are in all, taken or not.

        Raises:
            TypeError: If an input has no length.
        """
        if self._n_results is None:
            raise TypeError("this map has no length: an input has none")
        return self._n_results

    def __bool__(self) -> bool:
        """Return True, as of ``map()``, also where there will be no results."""
        return True

    def __reduce__(self) -> NoReturn:
        raise TypeError("the results of map_parallel cannot be copied or pickled")

    def close(self) -> None:
        """Stop: no further result will come."""
        raise NotImplementedError  # each of the two iterators has its own way

    def __enter__(self: M) -> M:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
