"""A pool of receive buffers, each used again once nothing refers to it any more.

Fresh memory costs a page fault every 4 KiB, which for big arrays is as much as the
transfer itself. What was received is handed to the user as it is, so a buffer can be used
again only when the user has dropped it: then the pool holds the last reference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

POOLED_FROM = 1 << 16  # bytes; smaller memory is cheaper to get from the allocator
POOL_BYTES = 48 << 20  # bytes kept for later, in use or not


def _references(buffers: list[bytearray], i: int) -> int:
    return sys.getrefcount(buffers[i])


# The references to a buffer that only the pool has. Measured, since how many the
# interpreter itself holds at such a moment changes from version to version.
_UNUSED = _references([bytearray(1)], 0)


class BufferPool:
    """Gives out writable memory; not safe for two threads at once.

    Args:
        largest: Bytes that the pool keeps for later.

    >>> pool = BufferPool()
    >>> first = pool.take(100_000)
    >>> second = pool.take(100_000)     # the first is in use
    >>> memory = second.obj
    >>> del second
    >>> pool.take(90_000).obj is memory
    True
    """

    def __init__(self, largest: int = POOL_BYTES) -> None:
        self._largest = largest
        self._buffers: list[bytearray] = []
        self._nbytes = 0

    def take(self, size: int) -> memoryview:
        """Return ``size`` bytes of memory that nobody else uses; their content is undefined."""
        if size < POOLED_FROM:
            return memoryview(bytearray(size))
        for i, length in enumerate(map(len, self._buffers)):
            # One that is much larger would be wasted on this.
            if size <= length <= 2 * size and _references(self._buffers, i) == _UNUSED:
                return memoryview(self._buffers[i])[:size]
        made = bytearray(size)
        if size <= self._largest // 4:
            self._buffers.append(made)
            self._nbytes += size
            while self._nbytes > self._largest:
                self._nbytes -= len(self._buffers.pop(0))
        return memoryview(made)

    def allocate(self, kind: int, sizes: Sequence[int]) -> list[memoryview]:
        """Return memory for the parts of a frame."""
        return [self.take(size) for size in sizes]
