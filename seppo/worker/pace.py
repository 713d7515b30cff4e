"""The pace of a function: how many of its items make a burst, and how results are packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seppo.values.batch import pack_one
from seppo.values.serialize import Pickler, own_modules_by_value
from seppo.values.simple import Kept, keep
from seppo.wire.packed import Packed

BURST_SECONDS = 0.001  # aimed at; polling the channels in between costs a few microseconds
LARGEST_BURST = 1 << 14  # items


class Pace:
    """How a function's items are best run; one for each function, so that chunks inherit it.

    Args:
        items: How many items make the first burst.
        packs_each: Whether each result is packed before the next item runs.

    Attributes:
        items: How many items make the next burst.
        packs_each: As above; true from the first result that was packed by itself.
    """

    def __init__(self, items: int = 1, packs_each: bool = False) -> None:
        self.items = items
        self.packs_each = packs_each
        self._picklers = (Pickler(), Pickler(copy_buffers=True))

    def learn(self, items: int, seconds: float) -> None:
        """Take note that a burst of ``items`` took ``seconds``."""
        if seconds < BURST_SECONDS / 2:
            if items >= self.items:
                self.items = min(4 * self.items, LARGEST_BURST)
        elif seconds > 2 * BURST_SECONDS:
            self.items = max(1, min(self.items, int(items * BURST_SECONDS / seconds)))

    def pack(
        self, value: Any, is_shared: bool, name: Callable[[int], str], i: int
    ) -> Packed | Kept:
        """Return a result packed; its buffers are copied if others may write into them.

        Or, if it is simple, a copy of it, to be packed with others.
        """
        self.packs_each = True
        kept = keep(value)
        if kept is not None:
            return kept
        with own_modules_by_value():
            return pack_one(self._picklers[is_shared], value, name, i)
