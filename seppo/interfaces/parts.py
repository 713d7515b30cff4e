"""Parts of a map's results, one for each piece of a chunk: iterators that can be stopped.

Ctrl-C may come between any two calls. Wherever something is taken out here and handed on,
there is no call in between.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class LoopEnd:
    """Whether an item has raised ``StopIteration``, which ends a loop over ``map()``."""

    is_due = False


class Mixed(Iterator[R], Generic[R]):
    """Values and exceptions in order: raises the exceptions, and goes on after each.

    Args:
        values: The values; each is forgotten when it was taken.
        raising: The positions of exceptions to raise.
        loop_end: Told of an item that raised ``StopIteration``.
    """

    def __init__(self, values: list[Any], raising: set[int], loop_end: LoopEnd) -> None:
        self._values = values
        self._raising = raising
        self._ending = {i for i in raising if isinstance(values[i], StopIteration)}
        self._loop_end = loop_end
        self._indexes: Iterator[int] = iter(range(len(values)))

    def __length_hint__(self) -> int:
        return operator.length_hint(self._indexes)

    def __next__(self) -> R:
        if self._loop_end.is_due:
            raise StopIteration
        for i in self._indexes:
            value: Any = self._values[i]
            self._values[i] = None
            if i not in self._raising:
                result: R = value
                return result
            self._loop_end.is_due = i in self._ending
            try:
                raise value
            finally:
                # A traceback that refers to its own frame keeps everything alive.
                del value, self
        raise StopIteration

    def stop(self) -> None:
        """Give nothing more."""
        self._indexes = iter(range(0))
