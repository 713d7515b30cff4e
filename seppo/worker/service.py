"""The main loop of a leased worker process, and the attendant thread beside it.

    main thread                                   attendant
    -----------                                   ---------
    receives chunks, runs bursts of items,        listens to the control line, watches for
    sends results                                 hang-up, and, while the main thread is inside
                                                  a long item, reads and answers for it

User code runs in the main thread, because signal handlers, matplotlib and many C
libraries expect it. Between two bursts the main thread looks at its channel. When one item
runs for long, the attendant sends what is finished and gives back what has not begun.

An item can only be ended together with its process. So ends one that is not wanted any more
and does not end by itself within ``PATIENCE``, one over its time limit, and any item when the
client is gone. All that is finished is sent first. Then SIGTERM raises ``Interrupted`` in the
item, so that its ``finally`` clauses run, and the process ends. If the item goes on for longer
than ``GRACE``, the process exits at once. (While C code holds the interpreter none of this can
happen: then the supervisor kills the process.) No other item ever runs in a process in which
user code was interrupted. SIGTERM from anybody else has its usual effect.
"""

from __future__ import annotations

import logging
import os
import select
import selectors
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

from seppo.errors import ProtocolError
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
REPORT_LIMITS = 1.0  # seconds between two messages to the supervisor about time limits
EXIT_INTERRUPTED = 75  # exit code when an item was ended with its process; EX_TEMPFAIL

_HANG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class WorkerService:
    """Runs the items of one client, in the thread that calls ``serve``.

    Args:
        channel: The client's.
        line: Our end of the control line.
        memory: Where it is marked what runs.
        max_items: Items after which the process ends; 0 for never.
    """

    def __init__(self, channel: Channel, line: Line, memory: LastGasp, max_items: int = 0) -> None:
        self._channel = channel
        self._line = line
        self._memory = memory
        self._max_items = max_items
        self._limits_reported_at = float("-inf")
        self._is_writing = False  # whether the channel is watched for writing, too
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._main = threading.get_ident()
        self._current: ChunkRun | None = None  # set by the main thread only
        self._finishing_at: float | None = None  # since when finalizers run
        self._is_draining = False
        self._is_over = False  # we have left, and the client has what was sent
        self._ending_at: float | None = None  # since when the process is to end
        self._status = 0  # the exit code

    # --- the attendant

    def _attend(self) -> None:
        """Watch over the main thread until the process ends."""
        try:
            poll = select.poll()
            line, channel = self._line.fileno(), self._channel.fileno()
            poll.register(line, select.POLLIN)
            poll.register(channel, _HANG_UP)
            while True:
                for fd, _ in poll.poll(1000 * self._tick()):
                    if fd == line:
                        self._obey()
                    else:
                        poll.unregister(channel)
                        self._channel.close()
                        self._end("the client has left")
                self._look_after()
        except BaseException as error:  # without it, what must end would go on for ever
            self._exit(f"the attendant has failed: {error!r}")

    def _tick(self) -> float:
        run = self._current
        overdue = float("-inf") if run is None else run.overdue
        return min(TICK, max(0.01, -overdue))

    def _obey(self) -> None:
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
                    self._end("the supervisor has said so")

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._finishing_at is not None and now - self._finishing_at >= TICK:
            self._look_after_finalizer(now - self._finishing_at)
            return
        if self._ending_at is not None:
            if now - self._ending_at >= GRACE:
                self._exit("an item was interrupted and goes on")
            return
        run = self._current
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
            self._exit(f"a finalizer runs for more than {FINALIZER:g} s")

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
            if self._channel.running is run and self._current is run:
                self._channel.drain()
                self._memory.clear()
                self._flush()
                self._end("an item is not wanted any more", EXIT_INTERRUPTED)

    def _flush(self) -> None:
        deadline = time.monotonic() + FAREWELL
        while self._channel.wants_write and time.monotonic() < deadline:
            self._channel.flush()
            time.sleep(0.01)

    def _end(self, why: str, status: int = 0) -> None:
        """Have the main thread leave the item that runs, and then the process."""
        if self._ending_at is None:
            log.info("%s: this process ends", why)
            self._status = status
            self._ending_at = time.monotonic()
            signal.pthread_kill(self._main, signal.SIGTERM)
            self._waker.wake()

    def _exit(self, why: str) -> NoReturn:
        try:
            # Not in this thread: the item may hold a lock that logging needs.
            message = f"{why}: this process exits at once"
            writer = threading.Thread(target=log.warning, args=(message,), daemon=True)
            writer.start()
            writer.join(TICK)
        finally:
            os._exit(EXIT_INTERRUPTED)

    def drain(self) -> None:
        """Finish the item that runs, give back the rest, and then have ``serve`` return."""
        self._is_draining = True
        self._channel.drain()
        self._waker.wake()

    # --- the main thread

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if self._ending_at is None:  # it is not our own signal
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._current is not None:
            raise Interrupted

    def serve(self) -> int:
        """Serve until the process is to end; return its exit code. For the main thread."""
        self._main = threading.get_ident()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        os.register_at_fork(after_in_child=self.leave_to_parent)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._selector.register(self._channel, selectors.EVENT_READ)
        threading.Thread(target=self._attend, name="seppo-attendant", daemon=True).start()
        try:
            while self._ending_at is None and not (self._is_over or self._channel.is_closed):
                self._turn()
        except Interrupted:
            pass
        except Exception:  # a late alarm of user code, say, whose handler raises here
            # Something may be half done, so the client is to see a loss.
            log.exception("an exception outside of any item: this process ends")
            self._status = 1
        self._finish()
        self._channel.leave()
        self._channel.remove_files()
        return self._status

    def _turn(self) -> None:
        is_idle = not self._channel.has_work
        self._poll((TICK if self._is_draining else None) if is_idle else 0.0)
        if self._is_draining and is_idle:
            self._leave_if_done()
        elif self._channel.has_work and self._ending_at is None:
            self._run_burst()
            is_worn = self._max_items and self._channel.items_done >= self._max_items
            if is_worn or self._channel.is_outdated:
                self.drain()

    def _poll(self, timeout: float | None) -> None:
        if self._channel.wants_write != self._is_writing:
            self._is_writing = not self._is_writing
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._is_writing else 0)
            self._selector.modify(self._channel, events)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._waker:
                self._waker.drain()
                continue
            if events & selectors.EVENT_READ and self._channel.receive():
                self._channel.drop_running()
            if events & selectors.EVENT_WRITE:
                self._channel.flush()

    def _finish(self) -> None:
        """Call the finalizers, while the attendant watches how long they take."""
        self._finishing_at = time.monotonic()
        try:
            self._channel.finish()
        finally:
            self._finishing_at = None
            if self._ending_at is not None:
                self._ending_at = time.monotonic()  # finalizers have had time of their own

    def _leave_if_done(self) -> None:
        """Leave the client, once no item of it runs and all was sent."""
        self._channel.drain()  # give back what has just come, too
        if self._channel.running is not None or self._channel.wants_write:
            return
        self._channel.leave()
        deadline = time.monotonic() + FAREWELL
        while not self._channel.is_closed and time.monotonic() < deadline:
            self._poll(TICK)
        self._is_over = True

    def _run_burst(self) -> None:
        runner = None
        try:
            runner = self._channel.begin_next()
            if runner is None:
                return
            run = self._current = runner.run
            if run.chunk.task_timeout:
                self._report_limits()
            self._channel.enter_code()
            runner.run_burst()
        except ProtocolError as error:  # a chunk whose columns make no sense
            log.warning("the client is cut off: %s", error)
            self._channel.close()
        finally:
            self._current = None
        if runner is None or run.is_unwanted:
            self._channel.drop_running()
        else:
            self._channel.finish_burst(run)

    def _report_limits(self) -> None:
        """Have the supervisor watch the time limits, too: C code may hold this interpreter."""
        now = time.monotonic()
        if now - self._limits_reported_at >= REPORT_LIMITS:
            self._limits_reported_at = now
            try:
                self._line.say(limits=True)
            except OSError:
                pass  # the supervisor is gone; this process ends in a moment

    def leave_to_parent(self) -> None:
        """Close everything: user code has forked this child, which serves nobody.

        A socket that stayed open here would keep others from noticing the worker's death.
        """
        if self._current is not None:
            self._current.forked()
        self._memory.abandon()
        self._channel.abandon()
        self._line.close()
        self._selector.close()
        self._waker.close()
