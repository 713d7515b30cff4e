"""The mark of what a worker runs, in memory that outlives the worker.

A supervisor makes one for each worker process and hands its descriptor over. Before each
item, or burst of tiny items, the worker writes which they are, and clears the mark when
nothing of its user runs any more. A process that dies, in whatever way, leaves it as it was:
MapReduce's "last gasp", kept by the supervisor, which survives.

    [number: uint64] [record 0] [record 1]      a record: attempt, first, stop, deadline, stage

A record is written where it does not count yet and then made to count by its number, so
that a process killed in the middle leaves the one before. A reader
reads again when the number has changed meanwhile: the worker may still write.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from dataclasses import dataclass

_RECORD = struct.Struct("=QQQdQ")
_OFFSETS = (64, 128)  # bytes; apart from each other by a line of the processor's cache
SIZE = 4096  # bytes
# What runs: by their places in this list, the items, or what is done before any of them.
STAGES = ("", "the initializer", "unpickling the function")
INITIALIZER, FUNCTION = 1, 2
READINGS = 8  # times; the worker writes at most every microsecond or so


@dataclass(frozen=True)
class Mark:
    """What a worker runs, or ran when it ended.

    Attributes:
        attempt: The client's number for the chunk, from 1; 0 for nothing.
        first: The first item that may have been running.
        stop: The one after the last.
        deadline: Until when the item may run, on the monotonic clock, which processes of
            one machine share; 0 for ever.
        stage: What was done before any of these items, by its place in ``STAGES``; 0 for
            the items themselves.
    """

    attempt: int
    first: int
    stop: int
    deadline: float
    stage: int = 0

    @property
    def setup(self) -> str:
        """What was done before the items, in words; empty if they ran."""
        return STAGES[self.stage] if self.stage < len(STAGES) else ""


NOTHING = Mark(0, 0, 0, 0.0)


class LastGasp:
    """The memory of the mark.

    Args:
        fd: Descriptor of the memory of another process; None to make some. It is taken over.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _anonymous_file() if fd is None else fd
        self._use(mmap.mmap(self.fd, SIZE))
        self._number = 0
        if fd is not None:
            self.close()

    def _use(self, memory: mmap.mmap | bytearray) -> None:
        self._memory = memory
        # One store for each write: struct fills with zeros first, and a kill may come between.
        self._last = memoryview(memory).cast("Q")

    def set(
        self, attempt: int, first: int, stop: int, deadline: float = 0.0, stage: int = 0
    ) -> None:
        """Say that these items of an attempt run from now on, or what is done before them."""
        self._number = number = self._number + 1
        memory = self._memory
        _RECORD.pack_into(memory, _OFFSETS[number & 1], attempt, first, stop, deadline, stage)
        self._last[0] = number

    def clear(self) -> None:
        """Say that nothing runs."""
        self.set(0, 0, 0)

    def enter(self, stage: int) -> None:
        """Say what is done now before the items that were marked last."""
        mark = self.read()
        self.set(mark.attempt, mark.first, mark.stop, mark.deadline, stage)

    def read(self) -> Mark:
        """Return what runs, or ran last."""
        for _ in range(READINGS):
            number = self._last[0]
            if number == 0:
                return NOTHING
            mark = Mark(*_RECORD.unpack_from(self._memory, _OFFSETS[number & 1]))
            # The next record goes elsewhere: this one is whole unless two have followed.
            if self._last[0] - number < 2:
                return mark
        return NOTHING  # it changes all the time: no item takes long

    @property
    def has_begun(self) -> bool:
        """Whether anything ever ran."""
        return bool(self._last[0])

    def abandon(self) -> None:
        """Write into memory of our own: this is a forked child, whose items are nobody's."""
        self._use(bytearray(SIZE))  # the other's descriptor goes with its map
        self.close()

    def close(self) -> None:
        """Let go of the descriptor; the memory stays while somebody uses it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _anonymous_file() -> int:
    """Return a descriptor of memory, or a file, without a name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("seppo-mark", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="seppo-mark-")
        os.unlink(path)
    os.ftruncate(fd, SIZE)
    return fd
