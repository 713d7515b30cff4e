"""Sets of whole numbers kept as disjoint spans ``[start, stop)`` in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class SpanSet:
    """A set of indexes that costs memory per gap, not per index.

    >>> done = SpanSet()
    >>> done.add(0, 3), done.add(5, 8)
    ([(0, 3)], [(5, 8)])
    >>> done.add(2, 6)          # only what is new
    [(3, 5)]
    >>> list(done), len(done)
    ([(0, 8)], 8)
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __bool__(self) -> bool:
        return self._size > 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __contains__(self, index: int) -> bool:
        i = bisect_right(self._starts, index) - 1
        return i >= 0 and index < self._stops[i]

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of ``[start, stop)`` that are not in the set, in order."""
        gaps = []
        i = max(bisect_right(self._starts, start) - 1, 0)
        while start < stop and i < len(self._starts) and self._starts[i] < stop:
            if start < self._starts[i]:
                gaps.append((start, self._starts[i]))
            start = max(start, self._stops[i])
            i += 1
        if start < stop:
            gaps.append((start, stop))
        return gaps

    def add(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Add ``[start, stop)`` and return the parts that were new, in order."""
        if start >= stop:
            return []
        new = self.missing(start, stop)
        low = bisect_left(self._stops, start)
        high = bisect_right(self._starts, stop)
        if low < high:
            start = min(start, self._starts[low])
            stop = max(stop, self._stops[high - 1])
        self._starts[low:high] = [start]
        self._stops[low:high] = [stop]
        self._size += sum(b - a for a, b in new)
        return new

    def discard(self, start: int, stop: int) -> None:
        """Take ``[start, stop)`` out of the set, as far as it is in it."""
        if start >= stop:
            return
        kept = []
        low = bisect_right(self._stops, start)
        high = bisect_left(self._starts, stop)
        for a, b in zip(self._starts[low:high], self._stops[low:high], strict=True):
            self._size -= min(b, stop) - max(a, start)
            if a < start:
                kept.append((a, start))
            if b > stop:
                kept.append((stop, b))
        if low < high:
            self._starts[low:high] = [a for a, _ in kept]
            self._stops[low:high] = [b for _, b in kept]

    def first(self) -> tuple[int, int]:
        """Return the span with the lowest start.

        Raises:
            IndexError: If the set is empty.
        """
        return self._starts[0], self._stops[0]

    def clear(self) -> None:
        """Take everything out."""
        self._starts.clear()
        self._stops.clear()
        self._size = 0
