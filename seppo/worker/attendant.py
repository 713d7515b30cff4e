"""The attendant: the thread of a worker process that watches over the main thread.

It listens to the control line, watches for hang-up, and, while the main thread is inside a
long item, reads and answers for it.

An item can only be ended together with its process. That is done to a cancelled item that
does not end by itself within ``PATIENCE``, to one over its time limit, and to any item when
the client is gone. All that is finished is sent first. Then SIGTERM raises ``Interrupted`` in the
item, so that its ``finally`` clauses run, and the process ends. If the item goes on for longer
than ``GRACE``, the process exits at once. (While C code holds the interpreter none of this can
happen: then the supervisor kills the process.) No other item ever runs in a process in which
user code was interrupted. SIGTERM from anybody else has its usual effect.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

from seppo.values.outcome import Interrupted
from seppo.wire.lastgasp import LastGasp
from seppo.wire.line import Line
from seppo.wire.stream import Waker
from seppo.worker.channel import Channel
from seppo.worker.run import ChunkRun

log = logging.getLogger(__name__)

TICK = 0.25  # seconds between the attendant's looks
LONG_BURST = 0.2  # seconds; then the attendant reads for the main thread
LONG_ITEM = 1.0  # seconds; then what has not begun goes back
PATIENCE = 1.0  # seconds in which an unwanted item may end by itself
GRACE = 1.0  # seconds that an interrupted item gets for its ``finally`` clauses
FINALIZER = 5.0  # seconds that a finalizer may take
FAREWELL = 2.0  # seconds that the client gets for reading what was sent
EXIT_INTERRUPTED = 75  # exit code when an item was ended with its process; EX_TEMPFAIL

_HANG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class Attendant:
    """Ends items that must end, and answers while the main thread cannot. Made in that thread.

    Args:
        channel: The client's.
        line: Our end of the control line.
        memory: Where it is marked what runs.
        waker: Wakes the main thread.

    Attributes:
        run: The chunk whose burst is under way in the main thread, if any.
        is_draining: Whether the process ends once nothing runs.
        status: The exit code.
    """

    def __init__(self, channel: Channel, line: Line, memory: LastGasp, waker: Waker) -> None:
        self.run: ChunkRun | None = None
        self.is_draining = False
        self.status = 0
        self._channel = channel
        self._line = line
        self._memory = memory
        self._waker = waker
        self._main = threading.get_ident()
        self._finishing_at: float | None = None  # since when finalizers run
        self._ending_at: float | None = None  # since when the process is to end

    @property
    def is_ending(self) -> bool:
        """Whether the process is to end now."""
        return self._ending_at is not None

    # --- for the main thread

    def watch(self, run: ChunkRun | None) -> None:
        """Take note that a burst of a chunk begins; None when it has ended."""
        self.run = run

    def begin_finalizers(self) -> None:
        """Take note that the main thread calls finalizers from now on."""
        self._finishing_at = time.monotonic()

    def end_finalizers(self) -> None:
        """Take note that the main thread has called all finalizers."""
        self._finishing_at = None
        if self._ending_at is not None:
            self._ending_at = time.monotonic()  # finalizers have had time of their own

    def on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM: our own interrupts an item, any other has its usual effect."""
        if self._ending_at is None:  # it is not our own signal
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.run is not None:
            raise Interrupted

    def fail(self) -> None:
        """Take note that the main thread cannot go on."""
        self.status = 1

    # --- the attendant's thread, or any

    def attend(self) -> None:
        """Watch over the main thread until the process ends."""
        try:
            poll = select.poll()
            line, channel = self._line.fileno(), self._channel.fileno()
            poll.register(line, select.POLLIN)
            poll.register(channel, _HANG_UP)
            while True:
                for fd, _ in poll.poll(1000 * self._tick()):
                    if fd == line:
                        self.obey()
                    else:
                        poll.unregister(channel)
                        self._channel.close()
                        self._end("the client has left")
                self.look()
        except BaseException as error:  # without it, what must end would go on for ever
            self.exit(f"the attendant has failed: {error!r}")

    def _tick(self) -> float:
        run = self.run
        overdue = float("-inf") if run is None else run.overdue
        return min(TICK, max(0.01, -overdue))

    def obey(self) -> None:
        """Do what the supervisor says, or end with it."""
        try:
            messages = self._line.hear()
        except (EOFError, OSError, ValueError):
            # The supervisor is gone, or user code has closed the line. Finalizers are not
            # called: nobody is left to end one that hangs.
            try:
                self._channel.remove_files()
            finally:
                os._exit(0)
        for message in messages:
            if "drain" in message:
                self.drain()
            if "end" in message:
                with self._channel.lock:
                    self._channel.drain()
                    self._end("the supervisor has asked for it")

    def look(self) -> None:
        """Look at the main thread, and do what is due: answer for it, or end it."""
        now = time.monotonic()
        finishing_at = self._finishing_at
        if finishing_at is not None:  # the item has ended: its time does not count any more
            if now - finishing_at >= TICK:
                self._look_after_finalizer(now - finishing_at)
            return
        if self._ending_at is not None:
            if now - self._ending_at >= GRACE:
                self.exit("an item was interrupted, but has not ended")
            return
        run = self.run
        began = run.burst_at if run is not None else None
        if run is None or began is None:
            return
        if run.overdue >= 0:
            self._end_overdue(run)
        elif run.is_unwanted:
            if time.perf_counter() - run.unwanted_at >= PATIENCE:
                self._end_unwanted(run)
        elif (lasted := time.perf_counter() - began) >= LONG_BURST:
            run.pause()
            if not self._channel.receive() and lasted >= LONG_ITEM:
                self._channel.give_back_all()  # else what waits behind it will begin soon
            if self._channel.wants_write:
                self._channel.flush()
            # The main thread may have come back meanwhile, and look at its sockets only.
            self._waker.wake()

    def _look_after_finalizer(self, lasted: float) -> None:
        try:
            self._line.say(finalizer=True)  # else the supervisor would kill us early
        except OSError:
            pass  # it is gone; this process ends in a moment
        if lasted >= FINALIZER:
            self.exit(f"a finalizer took more than {FINALIZER:g} s")

    def _end_overdue(self, run: ChunkRun) -> None:
        """End the process, unless the item that takes too long has ended in this very moment."""
        with self._channel.lock:
            if self._channel.give_up_item(run):
                self._channel.drain()
                self._memory.clear()  # no item is to be blamed for this end
                self._flush()
                self._end("an item has exceeded its time limit", EXIT_INTERRUPTED)

    def _end_unwanted(self, run: ChunkRun) -> None:
        """End the process, unless the unwanted item has ended in this very moment."""
        with self._channel.lock:
            if self._channel.running is run and self.run is run:
                self._channel.drain()
                self._memory.clear()
                self._flush()
                self._end("the item that runs was cancelled", EXIT_INTERRUPTED)

    def _flush(self) -> None:
        deadline = time.monotonic() + FAREWELL
        while self._channel.wants_write and time.monotonic() < deadline:
            self._channel.flush()
            time.sleep(0.01)

    def _end(self, why: str, status: int = 0) -> None:
        """Have the main thread leave the item that runs, and then the process."""
        if self._ending_at is None:
            log.info("%s: this process ends", why)
            self.status = status
            self._ending_at = time.monotonic()
            signal.pthread_kill(self._main, signal.SIGTERM)
            self._waker.wake()

    def exit(self, why: str) -> NoReturn:
        """End the process at once, whatever the main thread does."""
        try:
            # Not in this thread: the item may hold a lock that logging needs.
            message = f"{why}: this process exits at once"
            writer = threading.Thread(target=log.warning, args=(message,), daemon=True)
            writer.start()
            writer.join(TICK)
        finally:
            os._exit(EXIT_INTERRUPTED)

    def drain(self) -> None:
        """Have the main thread finish the item that runs and then leave; give back the rest."""
        self.is_draining = True
        self._channel.drain()
        self._waker.wake()
