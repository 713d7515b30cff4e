"""Pickles on the wire: bytes that only their receiver unpacks."""

from __future__ import annotations

from dataclasses import dataclass

Buffer = bytes | bytearray | memoryview

SHARED_FROM = 1 << 20  # bytes; a function from this size on reaches each host once


@dataclass(frozen=True)
class Packed:
    """A pickle and the buffers that belong to it."""

    data: bytes
    buffers: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        """Weight in bytes."""
        return len(self.data) + sum(len(buffer) for buffer in self.buffers)


@dataclass(frozen=True)
class Batch:
    """Packed values: the items of a chunk, or their results.

    Attributes:
        kind: In which of the forms of ``values.batch`` they are.
        count: How many values.
        parts: The buffers of that form.
    """

    kind: int
    count: int
    parts: tuple[Buffer, ...]
