"""A list that one thread iterates over in C, and that another can cut short."""

from __future__ import annotations

from typing import Any


class Loop:
    """The list of a tight loop, and the iterator over it.

    When the list is cut under the iterator, the item that runs is finished, and no further
    one begins. How many have begun is then certain: a list iterator tells its position, or
    that it is exhausted, in ``__reduce__``.

    Args:
        first: What number the first item has.
        items: The list; it belongs to the loop from now on.

    Attributes:
        first: As above.
        iterator: Gives the items.
    """

    def __init__(self, first: int, items: list[Any]) -> None:
        self.first = first
        self.iterator: Any = iter(items)
        self._items = items

    @property
    def is_exhausted(self) -> bool:
        """Whether the iterator has found the end of the list."""
        return len(self.iterator.__reduce__()) < 3

    def cut(self, kept: int) -> int | None:
        """End the loop after the item that runs.

        Args:
            kept: How many items run in any case.

        Returns:
            The number of the first item that does not run; None if the loop is exhausted.
        """
        del self._items[kept:]
        state = self.iterator.__reduce__()
        return None if len(state) < 3 else self.first + max(state[2], len(self._items))

    def clear(self) -> None:
        """End the loop in a forked child, where no thread looks on."""
        self._items.clear()
