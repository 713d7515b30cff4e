"""The main loop of a leased worker process, and the attendant thread beside it.

    main thread                                   attendant
    -----------                                   ---------
    receives chunks, runs bursts of items,        listens to the control line, watches for
    sends results                                 hang-up, and, while the main thread is inside
                                                  a long item, reads and answers for it

User code runs in the main thread, because signal handlers, matplotlib and many C
libraries expect it. Between two bursts the main thread looks at its channel. When one item
runs for long, the attendant sends what is finished and gives back what has not begun.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import threading
import time

from seppo.errors import ProtocolError
from seppo.values.outcome import Interrupted
from seppo.wire.lastgasp import LastGasp
from seppo.wire.line import Line
from seppo.wire.stream import Waker
from seppo.worker.attendant import FAREWELL, TICK, Attendant
from seppo.worker.channel import Channel

log = logging.getLogger(__name__)

REPORT_LIMITS = 1.0  # seconds between two messages to the supervisor about time limits


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
        self._attendant = Attendant(channel, line, memory, self._waker)
        self._is_over = False  # we have left, and the client has what was sent

    def serve(self) -> int:
        """Serve until the process is to end; return its exit code. For the main thread."""
        signal.signal(signal.SIGTERM, self._attendant.on_sigterm)
        os.register_at_fork(after_in_child=self.leave_to_parent)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._selector.register(self._channel, selectors.EVENT_READ)
        threading.Thread(target=self._attendant.attend, name="seppo-attendant", daemon=True).start()
        try:
            while not (self._attendant.is_ending or self._is_over or self._channel.is_closed):
                self._turn()
        except Interrupted:
            pass
        except Exception:  # a late alarm of user code, say, whose handler raises here
            # Something may be half done, so the client is to see a loss.
            log.exception("an exception outside of any item: this process ends")
            self._attendant.fail()
        self._finish()
        self._channel.leave()
        self._channel.remove_files()
        return self._attendant.status

    def _turn(self) -> None:
        is_idle = not self._channel.has_work
        self._poll((TICK if self._attendant.is_draining else None) if is_idle else 0.0)
        if self._attendant.is_draining and is_idle:
            self._leave_if_done()
        elif self._channel.has_work and not self._attendant.is_ending:
            self._run_burst()
            is_worn = self._max_items and self._channel.items_done >= self._max_items
            if is_worn or self._channel.is_outdated:
                self._attendant.drain()

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
        self._attendant.begin_finalizers()
        try:
            self._channel.finish()
        finally:
            self._attendant.end_finalizers()

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
            run = runner.run
            self._attendant.watch(run)
            if run.chunk.task_timeout:
                self._report_limits()
            if self._channel.enter_code():
                runner.run_burst()
        except ProtocolError as error:  # a chunk whose columns make no sense
            log.warning("the client is cut off: %s", error)
            self._channel.close()
        finally:
            self._attendant.watch(None)
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
        if self._attendant.run is not None:
            self._attendant.run.forked()
        self._memory.abandon()
        self._channel.abandon()
        self._line.close()
        self._selector.close()
        self._waker.close()
