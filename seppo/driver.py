"""The driver: one thread that owns an engine and the schedulers of its worlds.

    any thread                         driver thread
    ----------                         -------------
    JobHandle.offer/take/end/close --> inbox --> Scheduler.handle --> commands
    JobHandle.sink  <------------------ Deliver, Finish, Fail          |
                                       Engine.wait <-- Engine.execute <+

Jobs of different worlds never share a worker: each world has a scheduler of its own, which
the engine's events name by the world's number.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from seppo.core.commands import Command, Deliver, FailJob, FinishJob, LostItem, RunHere
from seppo.core.events import (
    Event,
    InputEnded,
    InputOffered,
    JobClosed,
    JobOpened,
    Policy,
    ResultsTaken,
    Wakeup,
)
from seppo.core.scheduler import Scheduler
from seppo.engines.base import Engine, Told, WorldOver
from seppo.errors import InternalError
from seppo.place import enter_worker_thread
from seppo.values.function import PackedFunction
from seppo.values.source import ItemSource

log = logging.getLogger(__name__)

FAREWELL = 1.0  # seconds that the end of the process waits for the driver to let go

_job_numbers = itertools.count(1)


class Broken:
    """The driver has ended, because it failed or the process ends: goes to every job."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class MoreRoom:
    """The caller may offer more items: goes to a job whose caller waits for that."""


Outcome = Deliver | FinishJob | FailJob | Broken | MoreRoom


class JobHandle:
    """A job, as seen from the thread of its caller.

    The counters only grow, and each has one writer: ``offered`` and ``taken`` the
    caller, ``window`` and ``completed`` the driver. The caller may assign ``offered``,
    ``taken`` and ``ended`` in one statement with state of its own, which Ctrl-C cannot tear
    apart; it calls ``tell`` afterwards, and ``remind`` before it waits.

    Attributes:
        offered: Items offered so far.
        taken: Results taken so far.
        ended: Whether no more items will be offered.
        window: Items that should be offered beyond those taken.
        completed: Items that have a result or have failed.
    """

    def __init__(self, driver: Driver, source: ItemSource, sink: Callable[[Outcome], None]) -> None:
        self.number = next(_job_numbers)
        self.source = source
        self.sink = sink
        self.offered = 0
        self.taken = 0
        self.ended = False
        self.window = 1
        self.world = driver.engine.open_job(self.number, source)
        self.completed = 0
        self.is_over = False  # written by the driver
        self.awaits_room = False  # set by the caller, cleared by the driver
        self.is_watched = False  # set by a caller who reads ``window`` or ``completed``
        self._driver = driver
        self._pid = os.getpid()
        self._closed = False
        self._is_posted = False  # whether it is in the driver's inbox, or about to be
        self._is_sure = False  # that it is, if it is posted; else Ctrl-C may have come in between
        self._seen_offered = self._seen_taken = 0
        self._seen_ended = False

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process is the one that opened the job, not a fork of it."""
        return self._pid == os.getpid()

    def admits(self, function: PackedFunction) -> bool:
        """Whether another function can run in the job's world."""
        return self._driver.engine.admits(self.number, function)

    def offer(self, count: int) -> None:
        """Say that ``count`` more items can be had from the source."""
        self.offered += count
        self.tell()

    def end(self) -> None:
        """Say that no more items will be offered."""
        self.ended = True
        self.tell()

    def take(self, count: int) -> None:
        """Say that the consumer took ``count`` more results."""
        self.taken += count
        self.tell()

    def close(self) -> None:
        """Give the job up: nobody will take another result."""
        self._closed = True
        if not self.is_over and self.is_of_this_process:
            self._driver.post(self)

    def tell(self) -> None:
        """Have the driver look at what has changed."""
        if not self._is_posted:
            self._is_sure, self._is_posted = False, True
            self._driver.post(self)
            self._is_sure = True

    def remind(self) -> None:
        """Have the driver look, if there is anything that it has not seen.

        Ctrl-C may come between a change and ``tell``, or in the middle of that: call this
        before waiting for the driver.
        """
        if self._is_posted and self._is_sure:
            return
        if (
            self.offered != self._seen_offered
            or self.taken != self._seen_taken
            or self.ended != self._seen_ended
        ):
            self._driver.post(self)

    def news(self) -> list[InputOffered | InputEnded | ResultsTaken | JobClosed]:
        """Return what the caller did since the last call; for the driver."""
        self._is_posted = False  # before the counters are read: later changes post again
        events: list[InputOffered | InputEnded | ResultsTaken | JobClosed] = []
        ended = self.ended
        if self.offered > self._seen_offered:
            count = self.offered - self._seen_offered
            self._seen_offered += count
            # The end is told together with the last items: chunks are cut to fit it.
            self._seen_ended = ended
            events.append(InputOffered(self.number, count, last=ended))
        if self.taken > self._seen_taken:
            count = self.taken - self._seen_taken
            self._seen_taken += count
            events.append(ResultsTaken(self.number, count))
        if ended and not self._seen_ended:
            self._seen_ended = True
            events.append(InputEnded(self.number))
        if self._closed:
            events.append(JobClosed(self.number))
        return events


class Driver:
    """Runs jobs on an engine.

    Args:
        engine: Where chunks run.
        grace: Seconds without any worker before jobs fail.
    """

    def __init__(self, engine: Engine, grace: float = 20.0) -> None:
        self.engine = engine
        self._grace = grace
        self._schedulers: dict[int, Scheduler] = {}  # by world
        self._inbox: deque[tuple[JobHandle, Policy | None]] = deque()
        self._jobs: dict[int, JobHandle] = {}
        self._is_waiting = False
        self._stopping = False
        self.broken: BaseException | None = None  # why nothing is done any more
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self._thread.start()

    # --- any thread

    def open(
        self, source: ItemSource, sink: Callable[[Outcome], None], policy: Policy
    ) -> JobHandle:
        """Begin a job; its items are offered on the handle that is returned.

        Args:
            source: The function and the items.
            sink: Called in the driver's thread with what becomes of the job, in order;
                it must be quick.
            policy: What the caller asked for.
        """
        job = JobHandle(self, source, sink)
        try:
            job._is_posted = True
            self._inbox.append((job, policy))
            self._wake()
            if self.broken is not None:
                sink(Broken(self.broken))
        except BaseException:  # Ctrl-C: no caller holds the job, or can end it
            job.close()
            raise
        return job

    @property
    def n_workers(self) -> int:
        """Workers that a job may have, when the driver last looked; at least 1."""
        return max(1, self.engine.n_places)

    def post(self, job: JobHandle) -> None:
        """Have the driver look at a job's news."""
        self._inbox.append((job, None))
        self._wake()

    def _wake(self) -> None:
        # The driver says that it waits before it looks into the inbox for the last time.
        if self._is_waiting:
            self.engine.wake()

    def stop(self) -> None:
        """End the driver: jobs are closed, connections too. Waits ``FAREWELL`` at most."""
        self._stopping = True
        self.engine.wake()
        self._thread.join(FAREWELL)

    # --- the driver's thread

    def _run(self) -> None:
        enter_worker_thread("the driver")  # what pickling calls must not wait for us
        try:
            while not self._stopping:
                self._turn()
            for job in list(self._jobs.values()):
                self._handle(job.world, JobClosed(job.number))
            # Only daemon threads are left, and what runs at the exit. Such a thread ends without
            # a word upon SystemExit, as it would have done inside builtin map.
            self._end(SystemExit("the process is ending, and so are its maps"))
            self.engine.close()
        except BaseException as error:  # callers must not wait for a dead thread
            log.exception("the driver has failed")
            self._end(InternalError(f"the driver has failed: {error!r}"))
            with suppress(Exception):  # it may be what has failed
                self.engine.close()  # else our processes would stay for as long as we do

    def _end(self, error: BaseException) -> None:
        """Tell all jobs, also those that will come, that nothing will be done for them."""
        self.broken = error
        for job in [*self._jobs.values(), *(job for job, _ in self._inbox)]:
            job.is_over = True
            job.sink(Broken(error))

    def _turn(self) -> None:
        dues = {world: s.next_deadline() for world, s in self._schedulers.items()}
        deadline = min((due for due in dues.values() if due is not None), default=None)
        timeout = None if deadline is None else max(0.0, deadline - _now())
        n_waiting = len(self._inbox)  # before looking who is there: their jobs count on those
        self._is_waiting = True
        told = self.engine.wait(0.0 if self._inbox or self._stopping else timeout)
        self._is_waiting = False
        self._tell(told)
        for _ in range(n_waiting):
            job, policy = self._inbox.popleft()
            if policy is not None:
                self._open(job, policy)
            for news in job.news():
                self._handle(job.world, news)
                if isinstance(news, JobClosed):
                    self._forget(job)
                    job.source.clear()
        for world, due in dues.items():
            if due is not None and _now() >= due:
                self._handle(world, Wakeup())
        for world, scheduler in list(self._schedulers.items()):
            self._tell(self.engine.want(world, scheduler.demand))
        for job in self._jobs.values():
            if job.is_watched:
                self._publish(job)

    def _publish(self, job: JobHandle) -> None:
        scheduler = self._schedulers[job.world]
        job.completed = scheduler.completed(job.number)
        window = scheduler.window(job.number)
        if window != job.window:
            job.window = window
            if job.awaits_room:
                job.awaits_room = False
                job.sink(MoreRoom())

    def _open(self, job: JobHandle, policy: Policy) -> None:
        self._jobs[job.number] = job
        if job.world not in self._schedulers:
            self._schedulers[job.world] = Scheduler(self._grace)
        self._tell(self.engine.want(job.world, max(1, self._schedulers[job.world].demand)))
        self._handle(job.world, JobOpened(job.number, policy))
        self.engine.set_active(True)

    def _tell(self, told: Iterable[Told]) -> None:
        for world, event in told:
            self._handle(world, event)

    def _handle(self, world: int, event: Event | WorldOver) -> None:
        """Have a world's scheduler decide about an event, and about what its commands lead to."""
        pending: deque[Told] = deque([(world, event)])
        while pending:
            world, event = pending.popleft()
            if isinstance(event, WorldOver):
                self._schedulers.pop(world, None)
            elif world in self._schedulers:
                commands = self._schedulers[world].handle(event, _now())
                pending.extend(self._carry_out(commands))

    def _carry_out(self, commands: list[Command]) -> list[Told]:
        events: list[Told] = []
        for command in commands:
            match command:
                case Deliver(job=number, index=index, count=count, payload=payload):
                    job = self._jobs.get(number)
                    if job is not None:
                        if not isinstance(payload, (LostItem, RunHere)):
                            job.source.drop(index, index + count)  # else the caller needs it
                        job.sink(command)
                case FinishJob(job=number) | FailJob(job=number):
                    job = self._jobs.get(number)
                    if job is not None:
                        job.completed = job.offered
                        self._forget(job)
                        job.sink(command)
                case _:
                    events += self.engine.execute(command, self._source(command))
        return events

    def _source(self, command: Command) -> ItemSource | None:
        number = getattr(command, "job", None)
        job = self._jobs.get(number) if number is not None else None
        return job.source if job is not None else None

    def _forget(self, job: JobHandle) -> None:
        job.is_over = True
        if self._jobs.pop(job.number, None) is not None:
            self.engine.close_job(job.number)
            if not self._jobs:
                self.engine.set_active(False)


_now = time.monotonic
_THREAD = "seppo-driver"


def is_driver_thread() -> bool:
    """Whether this code runs in a driver's thread, which must never wait."""
    return threading.current_thread().name == _THREAD
