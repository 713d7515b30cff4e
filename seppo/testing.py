"""Tools for tests: a simulated cluster that drives the real scheduler in virtual time.

    SimulatedCluster          Scheduler (the real one)      simulated workers
    ----------------          ------------------------      -----------------
    heap of happenings  -->   handle(event, now)
    clock, consumer     <--   commands  ---- latency --->   run items, give back the rest
    invariants                events    <--- latency ----   tell results once a second

One thread, no sleep, no socket: a day of a thousand workers passes in seconds, and the
same seed gives the same day. After every step the cluster checks what must always hold:
each result is delivered exactly once, and in order if that was asked for; no chunk goes
to a lost worker; no worker holds more than two; every item is in exactly one place; the
job ends within a fixed number of steps. What does not hold raises ``SimulationError``,
which tells the seed and the last events.

>>> faults = Faults(life=0.2, rejoin=0.1)
>>> day = SimulatedCluster(100, lambda index: 0.01, n_workers=4, faults=faults)
>>> report = day.run()
>>> report.n_delivered, report.lost_items, report.makespan < 2 * report.bound
(100, (), True)
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NoReturn

from seppo.core import commands as do
from seppo.core import events as on
from seppo.core.scheduler import Scheduler
from seppo.core.spans import SpanSet

__all__ = ["Faults", "SimulatedCluster", "SimulationError", "SimulationReport"]

JOB = 1  # a simulated cluster runs one job
PARTIAL_SECONDS = 1.0  # as in seppo.worker: results of a chunk that runs on are told so often
LONG_ITEM = 1.0  # seconds, as in seppo.worker: then all that has not begun is given back
LOG_LINES = 200  # events and commands kept for the error message


class SimulationError(AssertionError):
    """Something that must always hold did not.

    Args:
        what: What does not hold.
        seed: The seed of the run, to repeat it.
        log: The last events and commands, one a line, with their times.
    """

    def __init__(self, what: str, seed: int, log: tuple[str, ...]) -> None:
        super().__init__(what, seed, log)
        self.what = what
        self.seed = seed
        self.log = log

    def __str__(self) -> str:
        return "\n".join([f"{self.what} (seed {self.seed}); what happened last:", *self.log])


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a simulated cluster; by default nothing does.

    Attributes:
        life: Mean seconds until a worker is lost.
        undead: How many of the lost workers go on and answer too late, from 0 to 1.
        rejoin: Seconds until a new worker comes in place of a lost one; None for never.
        talk: Mean seconds until a worker falls silent.
        silence: Seconds for which it then holds back what it has to say.
        repeat: How many of the last answers to a chunk come twice, from 0 to 1.
        deadly: Items that kill whoever runs them.
    """

    life: float = math.inf
    undead: float = 0.0
    rejoin: float | None = None
    talk: float = math.inf
    silence: float = 0.0
    repeat: float = 0.0
    deadly: Collection[int] = ()


@dataclass(frozen=True)
class SimulationReport:
    """How a simulated job went.

    Attributes:
        makespan: Virtual seconds from opening the job to its end.
        bound: No schedule is shorter: all work spread evenly over the first workers,
            or the longest item on the fastest of them.
        n_delivered: Items delivered, with a result or as lost.
        n_runs: How often an item was begun.
        n_messages: Messages between client and workers, both ways.
        n_steps: Happenings.
        lost_items: Items that were given up, by index.
        failure: Why the job failed, or None.
    """

    makespan: float
    bound: float
    n_delivered: int
    n_runs: int
    n_messages: int
    n_steps: int
    lost_items: tuple[int, ...]
    failure: do.FailJob | None


@dataclass(eq=False)
class _Chunk:
    attempt: int
    start: int
    stop: int
    done: int  # the first item that is not finished
    told: int  # the first item whose result is not sent
    seconds: float = 0.0  # of work whose results are not sent


@dataclass(eq=False)
class _Worker:
    """A worker as the real ones behave, seen from outside."""

    cluster: SimulatedCluster
    name: str
    speed: float
    chunks: deque[_Chunk] = field(default_factory=deque)  # the first one runs
    is_dead: bool = False
    silent_until: float = 0.0
    told_at: float = 0.0

    def receive(self, command: do.SendChunk | do.RecallChunk | do.CancelAttempt) -> None:
        if self.is_dead:
            return
        if isinstance(command, do.SendChunk):
            start = command.start
            self.chunks.append(_Chunk(command.attempt, start, command.stop, start, start))
            if len(self.chunks) > 2:
                self.cluster.fail(f"worker {self.name} holds more than two chunks")
            if len(self.chunks) == 1:
                self._begin_chunk()
            return
        for chunk in self.chunks:
            if chunk.attempt == command.attempt:
                if isinstance(command, do.RecallChunk):
                    self._give_back(chunk)
                else:
                    self._drop(chunk)
                return

    def die(self) -> None:
        self.is_dead = True
        self.chunks.clear()

    def _begin_chunk(self) -> None:
        if self.chunks:
            self.told_at = self.cluster.now
            self._begin_item()

    def _begin_item(self) -> None:
        chunk, cluster = self.chunks[0], self.cluster
        cluster.n_runs += 1
        seconds = cluster.cost(chunk.done) / self.speed
        if chunk.done in cluster.faults.deadly:
            cluster.after(seconds / 2, self._stumble, chunk, chunk.done)
        if seconds > LONG_ITEM:
            cluster.after(LONG_ITEM, self._give_back_all, chunk, chunk.done)
        cluster.after(seconds, self._finish_item, chunk, chunk.done, seconds)

    def _runs(self, chunk: _Chunk, index: int) -> bool:
        return bool(self.chunks) and self.chunks[0] is chunk and chunk.done == index

    def _stumble(self, chunk: _Chunk, index: int) -> None:
        if self._runs(chunk, index):
            self.die()
            self.cluster.lose(self, f"item {index} killed it")

    def _finish_item(self, chunk: _Chunk, index: int, seconds: float) -> None:
        if not self._runs(chunk, index):
            return
        chunk.done += 1
        chunk.seconds += seconds
        if chunk.done >= chunk.stop:
            self._tell(chunk)
            self._drop(chunk)
        else:
            if self.cluster.now - self.told_at >= PARTIAL_SECONDS:
                self._tell(chunk)
            self._begin_item()

    def _give_back_all(self, chunk: _Chunk, index: int) -> None:
        if self._runs(chunk, index):
            for each in list(self.chunks):
                self._give_back(each)

    def _give_back(self, chunk: _Chunk) -> None:
        if chunk is self.chunks[0]:
            self._tell(chunk)
            chunk.stop = min(chunk.stop, chunk.done + 1)
            self.cluster.tell(self, on.RestReturned(chunk.attempt, chunk.stop - chunk.start))
        else:
            self.cluster.tell(self, on.RestReturned(chunk.attempt, 0))
            self._drop(chunk)

    def _drop(self, chunk: _Chunk) -> None:
        was_running = chunk is self.chunks[0]
        self.chunks.remove(chunk)
        if was_running:
            self._begin_chunk()

    def _tell(self, chunk: _Chunk) -> None:
        self.told_at = self.cluster.now
        results = range(chunk.told, chunk.done)  # the result of an item is its index
        if results:
            answer = on.ItemsDone(chunk.attempt, len(results), chunk.seconds, 0, results)
            chunk.told, chunk.seconds = chunk.done, 0.0
            self.cluster.tell(self, answer)
            is_last = chunk.done >= chunk.stop
            if is_last and self.cluster.random.random() < self.cluster.faults.repeat:
                self.cluster.tell(self, answer)


@dataclass(eq=False)
class SimulatedCluster:
    """A client, its scheduler and its workers in one thread and in virtual time.

    Args:
        n_items: Items of the job; their results are their indexes.
        cost: Seconds that the item of an index takes on a worker of speed 1.
        n_workers: Workers at the beginning.
        seed: Decides everything that is random.
        policy: What the caller asks for.
        speed: The speed of each worker, by its number from 0.
        latency: Seconds from a message to its answer when the other side is quick.
        take: Seconds that the consumer spends on each result.
        leave_after: Results after which the consumer closes the job; None for never.
        reads_ahead: Whether input is offered as ``Scheduler.window`` asks for it, one
            item at a time, instead of all at once.
        faults: What goes wrong.
        scheduler: The scheduler to try; a new one by default.
        max_steps: Happenings within which the job must end; None for a number that is
            ample for the items and workers.
        audit_every: Events from one check that every item is in one place to the next;
            the check costs time in proportion to the chunks under way.

    Attributes:
        now: Virtual seconds since the beginning.
        random: The source of all that is random.
        n_runs: How often an item was begun.
        n_messages: Messages between client and workers, both ways.
    """

    n_items: int
    cost: Callable[[int], float]
    _: KW_ONLY
    n_workers: int = 4
    seed: int = 0
    policy: on.Policy = field(default_factory=on.Policy)
    speed: Callable[[int], float] = lambda number: 1.0
    latency: float = 0.0002
    take: float = 0.0
    leave_after: int | None = None
    reads_ahead: bool = False
    faults: Faults = Faults()
    scheduler: Scheduler = field(default_factory=Scheduler)
    max_steps: int | None = None
    audit_every: int = 1

    def __post_init__(self) -> None:
        self.now = 0.0
        self.random = random.Random(self.seed)
        self.n_runs = self.n_messages = self._n_steps = self._n_events = 0
        self._happenings: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._workers: dict[str, _Worker] = {}  # those that the scheduler may use
        self._names = itertools.count()
        self._offered = self._fresh = self._ready = self._taken = 0
        self._delivered = SpanSet()
        self._lost_items: list[int] = []
        self._has_ended = self._is_over = False
        self._failure: do.FailJob | None = None
        self._log: deque[tuple[float, on.Event | do.Command]] = deque(maxlen=LOG_LINES)

    def run(self) -> SimulationReport:
        """Run the job to its end and return how it went.

        Raises:
            SimulationError: If something does not hold that must.
        """
        self._handle(on.JobOpened(JOB, self.policy))
        for _ in range(self.n_workers):
            self._join()
        self._offer()
        while not self._is_over:
            self._step()
            self._offer()
        return SimulationReport(
            makespan=self.now,
            bound=self._bound(),
            n_delivered=len(self._delivered),
            n_runs=self.n_runs,
            n_messages=self.n_messages,
            n_steps=self._n_steps,
            lost_items=tuple(self._lost_items),
            failure=self._failure,
        )

    def _bound(self) -> float:
        costs = [self.cost(index) for index in range(self.n_items)]
        speeds = [self.speed(number) for number in range(self.n_workers)]
        if not costs or not speeds:
            return 0.0
        return max(sum(costs) / sum(speeds), max(costs) / max(speeds))

    def fail(self, what: str) -> NoReturn:
        """Raise ``SimulationError``."""
        log = tuple(f"{when:12.6f}  {entry}" for when, entry in self._log)
        raise SimulationError(what, self.seed, log)

    # --- time

    def after(self, seconds: float, action: Callable[..., None], *args: object) -> None:
        """Have something happen after a while; what is infinitely far away never does."""
        if seconds < math.inf:
            entry = (self.now + seconds, next(self._numbers), action, args)
            heapq.heappush(self._happenings, entry)

    def _step(self) -> None:
        self._n_steps += 1
        most = self.max_steps or 10_000 + 50 * self.n_items + 20 * self.n_workers
        if self._n_steps > most:
            self.fail(f"the job has not ended after {most} steps")
        deadline = self.scheduler.next_deadline()
        if deadline is not None and not (self._happenings and self._happenings[0][0] < deadline):
            self.now = max(self.now, deadline)
            self._handle(on.Wakeup())
        elif self._happenings:
            self.now, _, action, args = heapq.heappop(self._happenings)
            action(*args)
        else:
            self.fail("nothing will ever happen again, and the job has not ended")

    # --- workers

    def _join(self) -> None:
        number = next(self._names)
        worker = _Worker(self, f"w{number}", self.speed(number))
        self._workers[worker.name] = worker
        self.after(self._wait(self.faults.life), self._lose_by_chance, worker)
        self.after(self._wait(self.faults.talk), self._hush, worker)
        self._handle(on.WorkerJoined(worker.name))

    def _wait(self, mean: float) -> float:
        return self.random.expovariate(1 / mean) if mean < math.inf else mean

    def _hush(self, worker: _Worker) -> None:
        if worker.name in self._workers:
            worker.silent_until = self.now + self.faults.silence
            self.after(self.faults.silence + self._wait(self.faults.talk), self._hush, worker)

    def _lose_by_chance(self, worker: _Worker) -> None:
        if self.random.random() >= self.faults.undead:
            worker.die()
        self.lose(worker, "lost by chance")

    def lose(self, worker: _Worker, reason: str) -> None:
        """Tell the scheduler that a worker is lost; what it has said may still come."""
        if self._workers.pop(worker.name, None) is not None:
            if self.faults.rejoin is not None:
                self.after(self.faults.rejoin, self._join)
            self._handle(on.WorkerLost(worker.name, reason))

    def tell(self, worker: _Worker, event: on.ItemsDone | on.RestReturned) -> None:
        """Send an event from a worker to the scheduler."""
        self.n_messages += 1
        held_back = max(0.0, worker.silent_until - self.now)
        self.after(held_back + self.latency / 2, self._handle, event)

    # --- the caller: input and consumer

    def _offer(self) -> None:
        while self._offered < self.n_items and not self._is_over:
            count = self.n_items - self._offered
            if self.reads_ahead:
                count = 1
                if self._offered - self._taken >= self.scheduler.window(JOB):
                    return
            self._offered += count
            self._handle(on.InputOffered(JOB, count))
        if self._offered == self.n_items and not (self._is_over or self._has_ended):
            self._has_ended = True
            self._handle(on.InputEnded(JOB))

    def _consume(self) -> None:
        count = 1 if self.take > 0 else self._ready
        self._ready -= count
        self._taken += count
        if self._ready:
            self.after(self.take, self._consume)
        if self._is_over:
            return
        if self.leave_after is not None and self._taken >= self.leave_after:
            self._is_over = True
            self._handle(on.JobClosed(JOB))
            self._check_that_nothing_is_left()
        else:
            self._handle(on.ResultsTaken(JOB, count))

    # --- the scheduler's events and commands

    def _handle(self, event: on.Event) -> None:
        self._log.append((self.now, event))
        try:
            commands = self.scheduler.handle(event, self.now)
        except Exception as error:  # a mistake of any kind is to be told with its seed
            self.fail(f"the scheduler raised {error!r}")
        for command in commands:
            self._log.append((self.now, command))
            self._carry_out(command)
        self._n_events += 1
        if self._n_events % self.audit_every == 0:
            self._audit()

    def _carry_out(self, command: do.Command) -> None:
        match command:
            case do.SendChunk() | do.RecallChunk() | do.CancelAttempt():
                worker = self._workers.get(command.worker)
                if worker is None:
                    self.fail(f"{command} is for a worker that is not there")
                if isinstance(command, do.SendChunk):
                    self._check_bounds(command)
                self.n_messages += 1
                self.after(self.latency / 2, worker.receive, command)
            case do.Deliver():
                self._receive(command)
            case do.FinishJob():
                self._is_over = True
                if len(self._delivered) < self.n_items:
                    self.fail(f"finished with {len(self._delivered)} of {self.n_items} results")
                self._check_that_nothing_is_left()
            case do.FailJob():
                self._is_over = True
                self._failure = command
                if self._workers:
                    self.fail("the job failed though there are workers")

    def _check_bounds(self, command: do.SendChunk) -> None:
        start, stop = command.start, command.stop
        if self._is_over or not 0 <= start < stop <= self._offered:
            self.fail(f"{command} is for items that cannot be had")
        if stop > self._fresh:
            self._fresh = stop
            if stop - self._taken > self.policy.max_ahead:
                self.fail(f"{command} is too far ahead of the {self._taken} results taken")

    def _receive(self, command: do.Deliver) -> None:
        start, stop = command.index, command.index + command.count
        if self._is_over:
            self.fail(f"{command} comes after the end")
        if self.policy.ordered and start != len(self._delivered):
            self.fail(f"{command} is out of order")
        if self._delivered.add(start, stop) != [(start, stop)]:
            self.fail(f"{command} delivers an item twice")
        if isinstance(command.payload, do.LostItem):
            self._lost_items.extend(range(start, stop))
        else:
            assert isinstance(command.payload, range)
            if command.payload[command.offset :][: command.count] != range(start, stop):
                self.fail(f"{command} delivers results of other items")
        if not self._ready:
            self.after(self.take, self._consume)
        self._ready += command.count

    # --- what must hold

    def _check_that_nothing_is_left(self) -> None:
        if self.scheduler._attempts or any(w.attempts for w in self.scheduler._workers.values()):
            self.fail("the job has ended, but chunks of it are still counted as under way")

    def _audit(self) -> None:
        """Every item that was handed out is in a chunk, to be run again, or has a result."""
        job = self.scheduler._jobs.get(JOB)
        if job is None:
            return
        chunks = ((attempt.position, attempt.stop) for attempt in job.attempts.values())
        end = 0
        for start, stop in sorted([*job.reorder.known, *job.retry, *job.suspects, *chunks]):
            if start != end:
                self.fail(f"item {min(start, end)} is {'nowhere' if start > end else 'twice'}")
            end = stop
        if end != job.next_index:
            self.fail(f"item {end} is nowhere")
