"""Functions and their files on the way to this worker, and the chunks that wait for them.

A chunk names its function by digest. What is not here, the function or files of its bundle,
is asked for once, and the chunk waits until all of it has come. A big function is received
into memory that the other workers of the host can map, so only one of them gets it sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from seppo.wire.buffers import BufferPool
from seppo.wire.codec import FUNCTION, read_function
from seppo.wire.frames import Frame
from seppo.wire.messages import (
    Chunk,
    Differs,
    File,
    Function,
    FunctionAt,
    Message,
    NeedFiles,
    NeedFunction,
    Stored,
)
from seppo.wire.packed import SHARED_FROM
from seppo.worker.functions import FunctionCache, Known
from seppo.worker.sharing import SharedBlock, open_shared, sharing_domain
from seppo.worker.world import World

log = logging.getLogger(__name__)


@dataclass
class _Request:
    """A request: for the files of a function that is here, or for the function itself."""

    known: Known | None = None
    files: set[bytes] = field(default_factory=set)
    chunks: list[Chunk] = field(default_factory=list)  # which wait for it


class Supply:
    """Provides what chunks need, or requests it. Guarded by the lock of the channel.

    Calls that add something return the chunks that have waited for it, to be admitted again.

    Args:
        world: Keeps the files.
        send: Sends a message to the client.
    """

    def __init__(self, world: World, send: Callable[[Message], None]) -> None:
        self._world = world
        self._send = send
        self._functions = FunctionCache()
        self._requests: dict[bytes, _Request] = {}  # by the digest of the function
        self._pool = BufferPool()
        self._may_share = sharing_domain() is not None
        self._blocks: list[SharedBlock] = []  # of functions that are being received

    def admit(self, chunk: Chunk) -> Known | None:
        """Return the function of a chunk that can run; None if the chunk waits here."""
        known = self._functions.get(chunk.digest)
        if known is not None:
            return known if self.has_files(known, chunk) else None
        request = self._requests.get(chunk.digest)
        if request is None:
            request = self._requests[chunk.digest] = _Request()
            self._send(NeedFunction(chunk.attempt, chunk.digest))
        request.chunks.append(chunk)
        return None

    def has_files(self, known: Known, chunk: Chunk) -> bool:
        """Return whether the files of a chunk's function are here; otherwise it waits here."""
        request = self._requests.get(chunk.digest)
        if request is None:
            missing = self._world.missing(known)
            if not missing:
                return True
            request = self._requests[chunk.digest] = _Request(known, set(missing))
            self._send(NeedFiles(chunk.digest, missing))
        request.chunks.append(chunk)
        return False

    def take_file(self, file: File) -> list[Chunk]:
        """Keep a file of a bundle; or have functions fail that need it and cannot get it."""
        problem = file.problem
        if not problem:
            try:
                self._world.add(file.digest, file.content)
            except OSError as error:
                problem = f"this worker cannot keep it: {error}"
        ready = []
        for digest, request in list(self._requests.items()):
            if request.known is None or file.digest not in request.files:
                continue
            request.files.discard(file.digest)
            if problem:
                self._world.refuse(request.known, "a file", problem)
            if problem or not request.files:
                ready += self._requests.pop(digest).chunks
        return ready

    def take_function(self, function: Function, frame: Frame) -> list[Chunk]:
        """Keep a function that was sent to us."""
        block = self._block_of(frame)
        if block is not None:
            # Its own copy-on-write view: what user code writes is nobody else's.
            function = read_function(block.private_parts())
            block.parts = []
        known = self._functions.add(function, block)
        if function.packed.nbytes >= SHARED_FROM:
            self._send(Stored(function.digest, known.location))
        return self._compare(function.digest, known)

    def map_function(self, message: FunctionAt) -> list[Chunk]:
        """Keep a function that another worker of this host has received."""
        try:
            function = read_function(open_shared(message.location))
            if function.digest != message.digest:
                raise ValueError("another function is stored there")
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            log.info("a shared function cannot be mapped: %s", error)
            self._send(NeedFunction(0, message.digest))
            return []
        return self._compare(message.digest, self._functions.add(function))

    def _compare(self, digest: bytes, known: Known) -> list[Chunk]:
        """Say which versions here are not those of a new function's caller."""
        differences = self._world.differences(known)
        if differences:
            self._send(Differs(digest, differences))
        request = self._requests.get(digest)
        if request is None or request.known is not None:
            return []
        del self._requests[digest]
        return request.chunks

    def forget(self, attempt: int) -> bool:
        """Drop a chunk that waits; return whether there was one."""
        for digest, request in self._requests.items():
            for chunk in request.chunks:
                if chunk.attempt == attempt:
                    request.chunks.remove(chunk)
                    if not request.chunks:  # so that the next one asks again
                        del self._requests[digest]
                    return True
        return False

    def clear(self) -> list[Chunk]:
        """Drop all chunks that wait, and return them."""
        requests, self._requests = self._requests, {}
        return [chunk for request in requests.values() for chunk in request.chunks]

    # --- memory

    def allocate(self, kind: int, sizes: Sequence[int]) -> list[memoryview]:
        """Return memory for a large frame: for a function, what other workers can map."""
        if kind == FUNCTION and self._may_share and sum(sizes) >= SHARED_FROM:
            try:
                block = SharedBlock(sizes)
                self._blocks.append(block)
                return list(block.parts)
            except OSError as error:
                log.info("no shared memory: %s", error)
        return self._pool.allocate(kind, sizes)

    def _block_of(self, frame: Frame) -> SharedBlock | None:
        """Return the shared memory that a frame was received into, if any."""
        memory = frame.parts[0].obj if frame.parts else None
        for block in self._blocks:
            if block.parts[0].obj is memory:
                self._blocks.remove(block)
                return block
        return None
