"""The client's data channel on the worker's side: what came, what waits, what goes back.

Two threads use it, under ``lock``: the main thread, which runs the items, and the
attendant, which takes over while the main thread is inside a long item. All calls to the
process's ``World`` are made here, or by the ``Supply``.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from functools import partial
from typing import Any

from seppo.errors import ProtocolError
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.frames import MAX_FRAME, Frame
from seppo.wire.lastgasp import LastGasp
from seppo.wire.messages import (
    Cancel,
    Chunk,
    File,
    Function,
    FunctionAt,
    LeftBehind,
    Message,
    Recall,
    Results,
    Returned,
    Welcome,
)
from seppo.wire.stream import Stream
from seppo.worker.functions import Known
from seppo.worker.run import ChunkRun
from seppo.worker.runner import Runner
from seppo.worker.supply import Supply
from seppo.worker.world import World

log = logging.getLogger(__name__)

PARTIAL_SECONDS = 1.0  # seconds between the results of a chunk that runs on
CONGESTED = 8 << 20  # bytes unsent; then its items wait until the client reads


class Channel:
    """The chunks of the client, and the messages to it.

    Args:
        sock: The connection.
        memory: Where it is marked what runs; None for nowhere.
        max_frame_bytes: The largest message accepted.
        world: What this process has of its client; None for one without limits.

    Attributes:
        lock: Guards everything.
        running: The chunk that has begun, if any.
        waiting: Chunks that have not begun, oldest first, with their functions.
        items_done: Items whose outcomes were sent.
        is_outdated: Whether a chunk waits that only a fresh process can run.
        is_closed: Whether the client has left.
    """

    def __init__(
        self,
        sock: socket.socket,
        memory: LastGasp | None = None,
        max_frame_bytes: int = MAX_FRAME,
        world: World | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.running: ChunkRun | None = None
        self._runner: Runner | None = None  # of the chunk that has begun last
        self._function: Known | None = None  # of that chunk
        self.waiting: deque[tuple[Chunk, Known]] = deque()
        self.items_done = 0
        self.is_outdated = False
        self.is_closed = False
        self._world = world or World()
        self._supply = Supply(self._world, self._send)
        self._stream = Stream(sock, max_frame_bytes, self._supply.allocate)
        self._left_behind: set[str] = set()  # files that were reported to the client
        self._sent_at = 0.0  # when results were sent last
        self._memory = memory
        self._is_draining = False
        self._is_leaving = False

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._stream.fileno()

    @property
    def has_work(self) -> bool:
        """Whether an item should run now."""
        if self.is_closed or self._stream.unsent > CONGESTED:
            return False
        return self.running is not None or bool(self.waiting)

    @property
    def wants_write(self) -> bool:
        """Whether something could not be sent yet."""
        return self._stream.unsent > 0

    def begin_next(self) -> Runner | None:
        """Return what runs the chunk that has begun, or the next; None if none can begin now."""
        with self.lock:
            if self.running is None or self.running.is_unwanted:
                self.running = None
                if not self.waiting:
                    return None
                chunk, known = self.waiting[0]
                if not self._world.fits(known):
                    self.is_outdated = True
                    return None
                if not self._supply.has_files(known, chunk):  # a cleaner has removed some meanwhile
                    self.waiting.popleft()
                    return None
                self._function = known
                run = ChunkRun(chunk, self._memory)
                self._runner = Runner(
                    run, partial(self._world.load, known, self._memory), known.pace
                )
                self.running = run
                self.waiting.popleft()  # last: another thread always finds the chunk somewhere
                self._sent_at = time.monotonic()
            return self._runner

    def greet(self, facts: dict[str, Any]) -> None:
        """Send the client the first message: who we are."""
        self.send(Welcome(facts))

    # --- code, in the main thread

    def enter_code(self) -> bool:
        """Have in place what the running chunk's function needs.

        Returns:
            Whether it all is there. Otherwise the rest of the chunk is given back: when it
            comes again, the files are asked for that a cleaner has removed meanwhile.
        """
        assert self._function is not None  # a chunk that has begun has one
        if self._world.enter(self._function):
            return True
        with self.lock:
            self.give_back_rest()
        return False

    def finish(self) -> None:
        """Call the finalizers: the process ends."""
        self._world.finish()

    def remove_files(self) -> None:
        """Remove all files: the process ends."""
        self._world.close()

    def _report_left_behind(self) -> None:
        """Send the names of files that functions have left where they will be lost, each once."""
        names = [n for n in self._world.left_behind() if n not in self._left_behind]
        if names:
            self._left_behind.update(names)
            self.send(LeftBehind(names))

    # --- receiving

    def receive(self) -> bool:
        """Handle what has come; return whether the running chunk is not wanted any more."""
        with self.lock:
            if self.is_closed:
                return False
            try:
                frames = self._stream.receive()
                interrupt = [self._handle(from_frame(frame), frame) for frame in frames]
                return any(interrupt)
            except (EOFError, OSError) as error:
                log.info("the client has left: %s", error)
            except ProtocolError as error:
                if not self._is_leaving:  # TLS may be cut short once we have left
                    log.warning("the client is cut off: %s", error)
            return self.close()

    def _handle(self, message: Message, frame: Frame) -> bool:
        match message:
            case Chunk():
                self._accept(message)
            case Function():
                self._accept(*self._supply.take_function(message, frame))
            case FunctionAt():
                self._accept(*self._supply.map_function(message))
            case File():
                self._accept(*self._supply.take_file(message))
            case Recall(attempt=attempt):
                self._give_back(attempt)
            case Cancel(attempt=attempt):
                return self._cancel(attempt)
            case _:
                raise ProtocolError(f"a client does not send {type(message).__name__}")
        return False

    def _accept(self, *chunks: Chunk) -> None:
        for chunk in chunks:
            if self._is_draining:
                self._send(Returned(chunk.attempt, 0))
            elif (known := self._supply.admit(chunk)) is not None:
                self.waiting.append((chunk, known))

    def _give_back(self, attempt: int) -> None:
        if self._forget(attempt):
            self._send(Returned(attempt, 0))
        elif self.running is not None and self.running.chunk.attempt == attempt:
            self.give_back_rest()

    def _cancel(self, attempt: int) -> bool:
        if not self._forget(attempt):
            run = self.running
            if run is not None and run.chunk.attempt == attempt:
                run.abandon()
                return True
        return False

    def _forget(self, attempt: int) -> bool:
        """Drop a chunk that has not begun; return whether there was one."""
        for entry in self.waiting:
            if entry[0].attempt == attempt:
                self.waiting.remove(entry)
                return True
        return self._supply.forget(attempt)

    # --- sending

    def _send_results(self, run: ChunkRun) -> None:
        """Send the outcomes that are not sent yet."""
        batch, seconds = run.take_results()
        self._sent_at = time.monotonic()
        if batch is not None:
            self.items_done += batch.count
            self._send(Results(run.chunk.attempt, seconds, batch))

    def finish_burst(self, run: ChunkRun) -> None:
        """Send the results that are due after a burst, and drop a chunk that is finished."""
        with self.lock:
            if self.is_closed or self.running is not run:
                return
            if run.is_finished:
                self.running = None
                self._send_results(run)
                if not self.waiting:
                    self._report_left_behind()
            elif run.chunk.alone or time.monotonic() - self._sent_at >= PARTIAL_SECONDS:
                self._send_results(run)

    def drop_running(self) -> None:
        """Drop the running chunk: it is not wanted any more."""
        with self.lock:
            self.running = None

    def give_back_rest(self) -> None:
        """Send what is finished of the running chunk, and give back what has not begun."""
        run = self.running
        if run is not None:
            kept = run.give_back()
            self._send_results(run)
            self._send(Returned(run.chunk.attempt, kept))

    def give_back_all(self) -> None:
        """Give back all items that have not begun: the main thread is inside a long item."""
        with self.lock:
            if self.is_closed:
                return
            if self.running is not None and not self.running.was_given_back:
                self.give_back_rest()
            while self.waiting:
                chunk, _ = self.waiting.popleft()
                self._send(Returned(chunk.attempt, 0))

    def drain(self) -> None:
        """Finish only the item that runs, and give back all else, now and from now on."""
        with self.lock:
            self._is_draining = True
            self.give_back_all()
            for chunk in self._supply.clear():
                self._send(Returned(chunk.attempt, 0))

    def give_up_item(self, run: ChunkRun) -> bool:
        """Send what is finished, and that the item that runs has exceeded its time limit.

        Only for a process that ends at once: the item still runs.

        Returns:
            Whether it does; otherwise nothing is sent, and nothing has to end.
        """
        with self.lock:
            if self.running is not run or self.is_closed:
                return False
            kept = run.give_up_item()
            if kept is None:
                return False
            self._send_results(run)
            self._send(Returned(run.chunk.attempt, kept))
            return True

    def leave(self) -> None:
        """Send nothing more; the client can still read what was sent."""
        with self.lock:
            self._is_leaving = True
            try:
                self._stream.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the client is gone

    def _send(self, message: Message) -> None:
        if self.is_closed or self._is_leaving:
            return
        try:
            self._stream.send(*to_parts(message))
        except OSError as error:
            log.info("the client has left: %s", error)
            self.close()

    def send(self, message: Message) -> None:
        """Queue a message; a client that is gone is noticed and forgotten."""
        with self.lock:
            self._send(message)

    def flush(self) -> None:
        """Send what could not be sent before."""
        with self.lock:
            try:
                self._stream.flush()
            except OSError as error:
                log.info("the client has left: %s", error)
                self.close()

    def abandon(self) -> None:
        """Close our copy of the socket: this is a forked child, which serves nobody."""
        self._stream.sock.close()

    def close(self) -> bool:
        """Forget the client; return whether a chunk of its runs, which nobody wants now."""
        with self.lock:
            self.is_closed = True
            self.waiting.clear()
            self._supply.clear()
            if self.running is not None:
                self.running.abandon()
                return True
            return False
