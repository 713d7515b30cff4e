"""Shared memory: one copy of a big function for all workers of a host.

The worker that receives it does so into anonymous memory that has a descriptor
(``memfd_create``). The others open that descriptor through ``/proc`` and map it. All map
it copy-on-write, so a page is shared until a function writes into it. The memory has no
name: when the last process has closed it, or died in whatever way, it is gone, and nothing
is ever left behind.

Only workers of one user, kernel and process namespace can do so; elsewhere every worker
gets a copy of its own.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Sequence

from seppo.place import namespace_of

ALIGNMENT = 64  # bytes; with these, vector instructions are fastest


def sharing_domain() -> str | None:
    """Return a name for those processes that can open each other's descriptors."""
    if sys.platform != "linux" or not hasattr(os, "memfd_create"):
        return None
    try:
        return f"{namespace_of('pid')}/{os.geteuid()}"
    except OSError:
        return None


class SharedBlock:
    """Memory for the parts of one message, which other processes can map.

    Args:
        sizes: The sizes of the parts, in bytes.

    Raises:
        OSError: If the system cannot provide such memory.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._fd = os.memfd_create("seppo", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._fd, max(1, _offsets(self._sizes)[-1]))
            memory = memoryview(mmap.mmap(self._fd, 0))
        except BaseException:
            os.close(self._fd)
            raise
        self.parts = _cut(memory, self._sizes)  # what is written here, all processes see

    @property
    def location(self) -> str:
        """Where another process finds the block."""
        return json.dumps({"pid": os.getpid(), "fd": self._fd, "sizes": self._sizes})

    def private_parts(self) -> list[memoryview]:
        """Return the parts again; what is written into these, no other process sees."""
        return _map_private(self._fd, self._sizes)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


def open_shared(location: str) -> list[memoryview]:
    """Return the parts of a block of another process, mapped copy-on-write.

    Raises:
        OSError: If it is not there any more, or may not be opened.
        ValueError: If there is something else.
    """
    place = json.loads(location)
    sizes = [int(size) for size in place["sizes"]]
    fd = os.open(f"/proc/{int(place['pid'])}/fd/{int(place['fd'])}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _map_private(fd, sizes)
    finally:
        os.close(fd)


def _map_private(fd: int, sizes: list[int]) -> list[memoryview]:
    if os.fstat(fd).st_size < _offsets(sizes)[-1]:
        raise ValueError("the block is smaller than it should be")
    return _cut(memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)), sizes)


def _offsets(sizes: list[int]) -> list[int]:
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + -(-size // ALIGNMENT) * ALIGNMENT)
    return offsets


def _cut(memory: memoryview, sizes: list[int]) -> list[memoryview]:
    return [memory[at : at + size] for at, size in zip(_offsets(sizes), sizes, strict=False)]
