"""The reorder buffer: results in by number, out in input order, each once.

    add(5, 8, r1) ----+
    add(0, 5, r2) --> | waiting: {5: r1}  head: 0 | --> (0, 5, r2), (5, 8, r1)
    add(3, 6, r3) ----+   nothing new: r3 is dropped

Results come as parts: consecutive items whose values lie in one opaque payload. A part
that repeats items already known (a copied straggler, a late answer) is cut down to what
is new. The buffer knows neither jobs nor workers; how much it may hold is the
scheduler's business, which withholds new chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

from seppo.core.spans import SpanSet


@dataclass(frozen=True)
class Part:
    """Results of items ``index`` to ``index + count``: ``payload[offset:][:count]``."""

    index: int
    count: int
    payload: object
    offset: int


class Reorder:
    """The reorder buffer of one job.

    Args:
        ordered: Release in input order; otherwise as parts come, still each item once.
    """

    def __init__(self, ordered: bool = True) -> None:
        self.ordered = ordered
        self.known = SpanSet()
        self.head = 0  # ordered: the item to be released next
        self.released = 0
        self._waiting: dict[int, Part] = {}

    def add(self, index: int, count: int, payload: object) -> list[Part]:
        """Take the results of ``count`` items from ``index`` on; return what is released."""
        parts = [
            Part(start, stop - start, payload, start - index)
            for start, stop in self.known.add(index, index + count)
        ]
        if self.ordered:
            for part in parts:
                self._waiting[part.index] = part
            parts = []
            while self.head in self._waiting:
                part = self._waiting.pop(self.head)
                parts.append(part)
                self.head += part.count
        self.released += sum(part.count for part in parts)
        return parts
