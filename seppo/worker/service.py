"""One worker process: its main thread runs the items and serves the data channels.

    Pyro's accept thread    a Pyro thread for each client        main thread
    --------------------    -----------------------------        -----------
    attach() comes in  -->  hands its socket over            --> receives chunks, runs
                            and stays as the *attendant*:        bursts of items, sends
                            watches for hang-up, and, while      results; clients in turn
                            the main thread is inside a long
                            item, reads and answers for it

User code runs in the main thread, because signal handlers, matplotlib and many C
libraries expect it. Between two bursts the main thread looks at its channels. When one
item lasts, the attendants send what is finished, give back what has not begun, and
interrupt the item if it is not wanted any more: a signal, whose handler raises only if
that very item is still running. An item over its time limit is interrupted in the same
way, and goes on record as a failure; when that does not help, the worker ends.
"""

from __future__ import annotations

import itertools
import logging
import os
import select
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from seppo.errors import ProtocolError
from seppo.payload.frames import MAX_FRAME
from seppo.payload.outcome import Interrupted
from seppo.payload.protocol import Welcome
from seppo.payload.runner import ChunkRun
from seppo.transport.stream import Waker
from seppo.worker.channel import Channel
from seppo.worker.code import CodeStore
from seppo.worker.functions import FunctionCache, Known
from seppo.worker.lastgasp import LastGasp

log = logging.getLogger(__name__)

TICK = 0.25  # seconds between an attendant's looks
LONG_BURST = 0.2  # seconds; then the attendants read for the main thread
LONG_ITEM = 1.0  # seconds; then what has not begun goes back
SWALLOWED = 5.0  # seconds; an unwanted item that runs on for so long takes its process along
UNRESPONSIVE = 2.0  # seconds that an item may go on after it was interrupted for its time
FAREWELL = 2.0  # seconds that clients get for reading what was sent, before the process ends
TELL_LIMITS = 1.0  # seconds between two words to the supervisor about time limits
EXIT_STUCK = 75  # exit code for that; EX_TEMPFAIL of sysexits.h
INTERRUPT = signal.SIGURG  # ignored by default, and rarely used by anybody

_HANG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class WorkerService:
    """Runs items for any number of clients, in the thread that calls ``serve``.

    Args:
        facts: What clients are told about this worker.
        memory: Where it is marked what runs; None for memory of its own.
        on_limits: Called when items with a time limit begin, at most every ``TELL_LIMITS``.
        max_frame_bytes: The largest message accepted from a client.
        code: The bundles of code; None for a store without limits.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        memory: LastGasp | None = None,
        on_limits: Callable[[], None] | None = None,
        max_frame_bytes: int = MAX_FRAME,
        code: CodeStore | None = None,
    ) -> None:
        self._facts = dict(facts)
        self._max_frame_bytes = max_frame_bytes
        self._memory = memory or LastGasp()
        self._on_limits = on_limits
        self._limits_told_at = float("-inf")
        self._numbers = itertools.count(1)
        self._functions = FunctionCache()
        self._code = code or CodeStore()
        self._channels: list[Channel] = []  # served by the main thread
        self._attached: dict[int, Channel] = {}  # also those that it has not welcomed yet
        self._working: list[Channel] = []  # those that had work at the last turn
        self._level = 0.0  # seconds served to the one whose turn it was
        self._writing: set[Channel] = set()  # channels registered for writing, too
        self._arrivals: SimpleQueue[Channel] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._main = threading.get_ident()
        self._current: ChunkRun | None = None  # set by the main thread only
        self._items_before = 0  # of clients that have left
        self._stopping = False
        self._draining = False

    # --- control calls, from Pyro's threads

    def info(self) -> dict[str, Any]:
        """Return who this is and what it does now, as plain values."""
        channels = list(self._channels)
        # In this order: what stops waiting meanwhile is then found among what runs.
        n_waiting = sum(len(channel.waiting) for channel in channels)
        runs = [run for channel in channels if (run := channel.running) is not None]
        n_begun = sum(run.has_begun for run in runs)
        return {
            **self._facts,
            "busy": n_begun > 0,
            "clients": len(channels),
            "waiting": n_waiting + len(runs) - n_begun,
            "items_done": self._items_before + sum(channel.items_done for channel in channels),
        }

    def attach(self, sock: socket.socket) -> None:
        """Serve a data channel until its client leaves; the attendant's life."""
        if self._draining:
            return
        number = next(self._numbers)
        channel = Channel(
            sock, self._functions, number, self._memory, self._max_frame_bytes, self._code
        )
        self._attached[number] = channel
        channel.send(Welcome({**self._facts, "channel": number}))
        self._arrivals.put(channel)
        self._waker.wake()
        poll = select.poll()
        poll.register(sock, _HANG_UP)
        while not channel.is_closed:
            try:
                if poll.poll(1000 * TICK):
                    channel.close()
                self._look_after(channel)
            except Exception:  # nobody else would interrupt what runs for this client
                channel.close()
                log.exception("a client is cut off")
        self._waker.wake()
        while not channel.is_released.wait(TICK):
            self._look_after(channel)
        del self._attached[number]

    def _look_after(self, channel: Channel) -> None:
        run = self._current
        began = run.burst_at if run is not None else None
        if run is None or began is None:
            return
        now = time.perf_counter()
        lasted = now - began
        is_ours = channel.running is run
        if is_ours and run.overdue >= 0:
            if run.overdue >= UNRESPONSIVE:
                self._end_for(channel, run)
            self._interrupt(run)
        if run.is_unwanted and is_ours:
            if now - max(began, run.unwanted_at) >= SWALLOWED:
                self._end("an item cannot be interrupted")
            self._interrupt(run)
        elif lasted >= LONG_BURST:
            run.pause()
            if channel.receive():
                self._interrupt(run)  # what waits behind it will begin soon
            elif lasted >= LONG_ITEM:
                channel.give_back_all()
            if channel.wants_write:
                channel.flush()
            # The main thread may have come back meanwhile, and look at its sockets only.
            self._waker.wake()

    def _end(self, why: str) -> NoReturn:
        try:
            # Not in this thread: the item may hold a lock that logging needs.
            message = f"{why}: this worker ends"
            teller = threading.Thread(target=log.error, args=(message,), daemon=True)
            teller.start()
            teller.join(TICK)
        finally:
            os._exit(EXIT_STUCK)

    def _end_for(self, channel: Channel, run: ChunkRun) -> None:
        """End the process, if the item takes too long that runs and cannot be interrupted."""
        if not channel.give_up_item(run):
            return  # it has ended in this very moment
        for other in list(self._channels):
            other.drain()
        self._memory.clear()  # nobody is to be blamed any more
        deadline = time.monotonic() + FAREWELL
        while any(other.wants_write for other in self._channels) and time.monotonic() < deadline:
            for other in list(self._channels):
                other.flush()
            time.sleep(0.01)
        self._end("an item is over its time and cannot be interrupted")

    def _interrupt(self, run: ChunkRun) -> None:
        if run.interruptible:
            signal.pthread_kill(self._main, INTERRUPT)

    def _on_interrupt(self, _: int, frame: FrameType | None) -> None:
        run = self._current
        if run is None or not run.interruptible:
            return
        if (run.is_unwanted or run.overdue >= 0) and not _is_importing(frame):
            raise Interrupted

    # --- the supervisor's thread

    def drop(self, number: int) -> None:
        """Forget a client: it is known to be gone."""
        channel = self._attached.get(number)
        if channel is not None:
            channel.close()
            self._look_after(channel)
            self._waker.wake()

    def drain(self) -> None:
        """Finish the items that run, give back the rest, and then have ``serve`` return."""
        self._draining = True
        for channel in list(self._attached.values()):
            channel.drain()
        self._waker.wake()

    # --- the main thread

    def serve(self) -> None:
        """Serve until ``stop`` is called. Call it in the process's main thread."""
        self._main = threading.get_ident()
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # a late alarm of user code, say, whose handler raises here
                # Nobody knows what was half done: clients see a loss, and come again.
                log.exception("outside of any item; all clients are cut off")
                for channel in self._channels:
                    channel.close()
        for channel in self._channels:  # what maps have begun here is ended here
            self._code.release(channel)
        self._code.tidy(lambda _: False)

    def _turn(self) -> None:
        is_idle = not any(channel.has_work for channel in self._channels)
        self._poll((TICK if self._draining else None) if is_idle else 0.0)
        self._code.tidy(self._is_busy)
        if self._draining and is_idle:
            self._leave_if_done()
        workable = [channel for channel in self._channels if channel.has_work]
        for channel in workable:
            if channel not in self._working:
                # Who had no work starts level with the others, not with a right to all.
                channel.served = max(channel.served, self._level)
        self._working = workable
        if workable:
            channel = min(workable, key=lambda channel: channel.served)
            self._level = channel.served
            self._run_burst(channel)

    def _leave_if_done(self) -> None:
        """Leave the clients, once nothing of them runs and they have all that was sent."""
        for channel in self._channels:
            channel.drain()  # the newest ones, too
        if any(channel.running or channel.wants_write for channel in self._channels):
            return
        for channel in self._channels:
            channel.leave()
        deadline = time.monotonic() + FAREWELL
        while self._channels and time.monotonic() < deadline:
            self._poll(TICK)
        self.stop()

    def _is_busy(self, known: Known) -> bool:
        """Whether a chunk of this function runs or waits."""
        return any(
            (channel.running is not None and channel.function is known)
            or any(other is known for _, other in list(channel.waiting))
            for channel in self._channels
        )

    def leave_to_parent(self) -> None:
        """Let go of everything: user code has forked this child, which serves nobody.

        A socket that stays open here would keep clients from noticing the worker's death.
        """
        if self._current is not None:
            self._current.forked()
        self._memory.abandon()
        for channel in self._channels:
            channel.abandon()
        self._selector.close()
        self._waker.close()

    def stop(self) -> None:
        """Make ``serve`` return after the burst that runs; from any thread."""
        self._stopping = True
        self._waker.wake()

    def _poll(self, timeout: float | None) -> None:
        for channel in self._channels:
            if channel.wants_write != (channel in self._writing):
                self._watch_writing(channel, channel.wants_write)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._waker:
                self._waker.drain()
                self._welcome_arrivals()
                continue
            channel = key.data
            if events & selectors.EVENT_READ and channel.receive():
                channel.drop_running()
            if events & selectors.EVENT_WRITE:
                channel.flush()
        for channel in [channel for channel in self._channels if channel.is_closed]:
            self._release(channel)

    def _watch_writing(self, channel: Channel, wanted: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        self._selector.modify(channel, events, channel)
        (self._writing.add if wanted else self._writing.discard)(channel)

    def _welcome_arrivals(self) -> None:
        while True:
            try:
                channel = self._arrivals.get_nowait()
            except Empty:
                return
            self._selector.register(channel, selectors.EVENT_READ, channel)
            self._channels.append(channel)

    def _release(self, channel: Channel) -> None:
        self._selector.unregister(channel)
        self._channels.remove(channel)
        self._writing.discard(channel)
        self._items_before += channel.items_done
        channel.drop_running()
        channel.is_released.set()

    def _run_burst(self, channel: Channel) -> None:
        began = time.perf_counter()
        run = None
        if signal.getsignal(INTERRUPT) != self._on_interrupt:  # first time, or user code's
            signal.signal(INTERRUPT, self._on_interrupt)
        try:
            run = self._current = channel.begin_next()
            if run is None:
                return
            if run.chunk.task_timeout:
                self._tell_limits()
            self._code.enter(channel, channel.function)
            run.run_burst()
        except Interrupted:  # it is unwanted
            self._memory.clear()  # it may have come where the burst was to do that
        except ProtocolError as error:  # a batch that does not hold what it promises
            log.warning("a client is cut off: %s", error)
            channel.close()
        finally:
            self._current = None
        channel.served += time.perf_counter() - began
        if run is None or run.is_unwanted:
            channel.drop_running()
        else:
            channel.settle(run)

    def _tell_limits(self) -> None:
        """Have the supervisor look after the time limits: this process may be unable to."""
        now = time.monotonic()
        if self._on_limits is not None and now - self._limits_told_at >= TELL_LIMITS:
            self._limits_told_at = now
            self._on_limits()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether code of ours, or user code that we called, is in the middle of an import.

    A module that was left half imported stays so, and some cannot be imported again (numpy):
    the worker would fail from then on. Attendants ask again, until the import is over or the
    process is ended for it.
    """
    ours = WorkerService._run_burst.__code__  # a start script may import what calls us
    while frame is not None and frame.f_code is not ours:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
