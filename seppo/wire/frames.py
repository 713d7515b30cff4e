"""The frame format of the data channel, without any socket.

::

    magic 'SEPP' | version u8 | kind u8 | reserved u16 | number of parts u32 | bytes u64
    length of each part, u64 ...
    part | part | ...                                            (all numbers big-endian)

``FrameReader`` offers memory to receive into and gives complete frames back. Small
frames are cut out of one scratch buffer; the parts of a large frame get memory of their
own, so that a big array is received where it will stay. Sizes are checked before
anything is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seppo.errors import ProtocolError
from seppo.wire.buffers import BufferPool
from seppo.wire.packed import Buffer

VERSION = 1
MAGIC = b"SEPP"
HEADER = struct.Struct("!4sBBHIQ")
SCRATCH = 1 << 17  # bytes; frames up to this size are copied once out of the scratch buffer
MAX_PARTS = 1 << 20
MAX_FRAME = 1 << 36  # bytes


Allocate = Callable[[int, Sequence[int]], list[memoryview]]


@dataclass(frozen=True)
class Frame:
    """One message: its kind and its parts. The parts are writable memory of their own."""

    kind: int
    parts: tuple[memoryview, ...]


def encode(kind: int, parts: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers that make up a frame, header first; nothing is copied."""
    views = [part if isinstance(part, bytes) else memoryview(part).cast("B") for part in parts]
    sizes = [len(view) for view in views]
    header = HEADER.pack(MAGIC, VERSION, kind, 0, len(sizes), sum(sizes))
    return [header + struct.pack(f"!{len(sizes)}Q", *sizes), *(v for v in views if len(v))]


class FrameReader:
    """Turns a stream of bytes into frames.

    Args:
        max_bytes: The largest frame that is accepted.
        allocate: Gives memory for the parts of a large frame, from its kind and the
            sizes of the parts; None for memory that is used again.
    """

    def __init__(self, max_bytes: int = MAX_FRAME, allocate: Allocate | None = None) -> None:
        self.max_bytes = max_bytes
        self._allocate = allocate or BufferPool().allocate
        self._scratch = bytearray(SCRATCH)
        self._view = memoryview(self._scratch)
        self._start = self._end = 0  # unread bytes in the scratch buffer
        self._kind = 0
        self._parts: list[memoryview] | None = None  # of the large frame under way
        self._missing: list[memoryview] = []  # what of it is still to come

    def buffers(self) -> list[memoryview]:
        """Return memory for the next bytes, first buffer first."""
        if self._parts is not None:
            return self._missing
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._scratch):
            rest = self._scratch[self._start : self._end]
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return [self._view[self._end :]]

    def received(self, n: int) -> list[Frame]:
        """Say that ``n`` bytes were put into ``buffers()``; return what is complete.

        Raises:
            ProtocolError: If the bytes are not frames, or one is too large.
        """
        if self._parts is not None:
            return self._received_large(n)
        self._end += n
        frames = []
        while (frame := self._cut()) is not None:
            frames.append(frame)
        return frames

    def _received_large(self, n: int) -> list[Frame]:
        missing = self._missing
        while n:
            if n < len(missing[0]):
                missing[0] = missing[0][n:]
                break
            n -= len(missing.pop(0))
        if missing:
            return []
        assert self._parts is not None
        frame = Frame(self._kind, tuple(self._parts))
        self._parts = None
        return [frame]

    def _cut(self) -> Frame | None:
        """Cut one frame out of the scratch buffer, or begin a large one."""
        available = self._end - self._start
        if available < HEADER.size:
            return None
        magic, version, kind, _, n_parts, total = HEADER.unpack_from(self._scratch, self._start)
        if magic != MAGIC:
            raise ProtocolError("these bytes are not a seppo frame")
        if version != VERSION:
            raise ProtocolError(
                f"the peer speaks frame version {version}, this is {VERSION}: "
                "install the same seppo on both sides"
            )
        if n_parts > MAX_PARTS or total > self.max_bytes:
            raise ProtocolError(f"a frame of {total} bytes in {n_parts} parts is too large")
        head = HEADER.size + 8 * n_parts
        if available < head:
            if head > len(self._scratch):
                self._grow(head)  # very many buffers; bounded by MAX_PARTS
            return None
        sizes = struct.unpack_from(f"!{n_parts}Q", self._scratch, self._start + HEADER.size)
        if sum(sizes) != total:
            raise ProtocolError("a frame's parts do not add up")
        if head + total > len(self._scratch):
            self._begin_large(kind, sizes, self._start + head)
            return None
        if available < head + total:
            return None
        body = memoryview(self._scratch[self._start + head : self._start + head + total])
        self._start += head + total
        parts, at = [], 0
        for size in sizes:
            parts.append(body[at : at + size])
            at += size
        return Frame(kind, tuple(parts))

    def _grow(self, size: int) -> None:
        """Make the scratch buffer large enough for a head of ``size`` bytes."""
        rest = self._scratch[self._start : self._end]
        self._scratch = rest + bytearray(size - len(rest))
        self._view = memoryview(self._scratch)
        self._start, self._end = 0, len(rest)

    def _begin_large(self, kind: int, sizes: tuple[int, ...], at: int) -> None:
        self._kind = kind
        try:
            self._parts = self._allocate(kind, sizes)
        except MemoryError:
            raise ProtocolError(f"there is no memory for a frame of {sum(sizes)} bytes") from None
        self._missing = []
        for part in self._parts:
            have = min(len(part), self._end - at)
            part[:have] = self._view[at : at + have]
            at += have
            if have < len(part):
                self._missing.append(part[have:])
        self._start = self._end = 0
