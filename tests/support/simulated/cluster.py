"""The simulated cluster: a client, its scheduler and its workers in virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NoReturn

from seppo.core import commands as do
from seppo.core import events as on
from seppo.core.recovery import MISHAPS, is_at_most_once
from seppo.core.scheduler import Scheduler
from simulated.audit import audit_books, audit_copies, audit_places
from simulated.caller import Caller
from simulated.facts import (
    NO_FAULTS,
    Faults,
    SimulatedJob,
    SimulationError,
    SimulationReport,
)
from simulated.shares import ShareRecord
from simulated.worker import SimulatedWorker

LOG_LINES = 200  # events and commands kept for the error message


@dataclass(eq=False)
class SimulatedCluster:
    """A client, its scheduler and its workers in one thread and in virtual time.

    Args:
        n_items: Items of each job; their results are their indexes.
        cost: Seconds that the item of an index takes on a worker of speed 1.
        n_workers: Workers at the beginning.
        n_jobs: Jobs that the client runs side by side, all alike.
        jobs: Jobs that are not alike, instead of the ones above.
        seed: Decides everything that is random.
        policy: What the caller of jobs that are alike asks for.
        speed: The speed of each worker, by its number from 0.
        latency: Seconds from a message to its answer when the other side is quick.
        take: Seconds that the consumer spends on each result.
        leave_after: Results after which the consumer closes its job; None for never.
        leave_at: When all consumers close their jobs.
        reads_ahead: Whether input is offered as ``Scheduler.window`` asks for it, one
            item at a time, instead of all at once.
        faults: What goes wrong.
        scheduler: The scheduler to try; a new one by default.
        max_steps: Happenings within which the jobs must end; None for a number that is
            ample for the items and workers.
        audit_every: Events from one check that every item is in one place to the next;
            the check costs time in proportion to the chunks under way.

    Attributes:
        now: Virtual seconds since the beginning.
        random: The source of all that is random.
        n_runs: How often an item was begun.
        n_messages: Messages between client and workers, both ways.
        shares: Who had how much of the workers' time, and when.
    """

    n_items: int = 0
    cost: Callable[[int], float] = lambda index: 0.0
    _: KW_ONLY
    n_workers: int = 4
    n_jobs: int = 1
    jobs: Sequence[SimulatedJob] = ()
    seed: int = 0
    policy: on.Policy = field(default_factory=on.Policy)
    speed: Callable[[int], float] = lambda number: 1.0
    latency: float = 0.0002
    take: float = 0.0
    leave_after: int | None = None
    leave_at: float = math.inf
    reads_ahead: bool = False
    faults: Faults = NO_FAULTS
    scheduler: Scheduler = field(default_factory=Scheduler)
    max_steps: int | None = None
    audit_every: int = 1

    def __post_init__(self) -> None:
        self.now = 0.0
        self.random = random.Random(self.seed)
        self.n_runs = self.n_messages = self._n_steps = self._n_events = self._n_kills = 0
        self._n_mishaps = 0  # workers lost without running anything, so that no item is named
        self._happenings: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._workers: dict[str, SimulatedWorker] = {}  # those that the scheduler knows
        self._names = itertools.count()
        alike = SimulatedJob(self.n_items, self.cost, self.policy)
        jobs = self.jobs or [alike] * self.n_jobs
        self._callers = {n: Caller(n, job, self.fail) for n, job in enumerate(jobs, 1)}
        self.shares = ShareRecord(self._callers.values())
        self._begun: Counter[tuple[int, int]] = Counter()
        # How many workers were lost while they may have been running an item.
        self._killed: Counter[tuple[int, int]] = Counter()
        self._log: deque[tuple[float, on.Event | do.Command]] = deque(maxlen=LOG_LINES)

    def run(self) -> SimulationReport:
        """Run the jobs to their ends and return how it went.

        Raises:
            SimulationError: If something does not hold that must.
        """
        for caller in self._callers.values():
            if caller.task.opens_at > 0:
                self.after(caller.task.opens_at, self._open, caller)
            else:
                self._open(caller)
        for _ in range(self.n_workers):
            self._join()
        for caller in self._callers.values():
            self.after(self.leave_at, self._leave, caller)
        self._offer()
        while not all(caller.is_over for caller in self._callers.values()):
            self._step()
            self._offer()
        callers = self._callers.values()
        return SimulationReport(
            makespan=self.now,
            bound=self._bound(),
            n_delivered=sum(len(caller.delivered) for caller in callers),
            n_runs=self.n_runs,
            n_messages=self.n_messages,
            n_steps=self._n_steps,
            lost_items=tuple(index for caller in callers for index in caller.lost_items),
            failure=next((caller.failure for caller in callers if caller.failure), None),
            n_kills=self._n_kills,
        )

    def _bound(self) -> float:
        if self.leave_at < math.inf:
            return self.leave_at
        tasks = [caller.task for caller in self._callers.values()]
        costs = [task.cost(index) for task in tasks for index in range(task.n_items)]
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
            self._at(self.now + seconds, action, *args)

    def _at(self, when: float, action: Callable[..., None], *args: object) -> None:
        heapq.heappush(self._happenings, (when, next(self._numbers), action, args))

    def _step(self) -> None:
        self._n_steps += 1
        n_items = sum(caller.n_items for caller in self._callers.values())
        most = self.max_steps or 10_000 + 50 * n_items + 20 * self.n_workers
        if self._n_steps > most:
            self.fail(f"the job has not ended after {most} steps")
        deadline = self.scheduler.next_deadline()
        if deadline is not None and not (self._happenings and self._happenings[0][0] < deadline):
            self.now = max(self.now, deadline)
            self.shares.pass_to(self.now)
            self._handle(on.Wakeup())
        elif self._happenings:
            self.now, _, action, args = heapq.heappop(self._happenings)
            self.shares.pass_to(self.now)
            action(*args)
        else:
            self.fail("nothing will ever happen again, and the job has not ended")

    # --- workers

    def _join(self) -> None:
        number = next(self._names)
        worker = SimulatedWorker(self, f"w{number}", self.speed(number))
        self._workers[worker.name] = worker
        self.after(self._wait(self.faults.life), self._lose_by_chance, worker)
        self.after(self._wait(self.faults.talk), self._hush, worker)
        self.after(self._wait(self.faults.freeze), self._freeze, worker)
        self.after(self._wait(self.faults.drain), self._drain, worker)
        self._handle(on.WorkerJoined(worker.name))

    def _wait(self, mean: float) -> float:
        return self.random.expovariate(1 / mean) if mean < math.inf else mean

    def _hush(self, worker: SimulatedWorker) -> None:
        if worker.name in self._workers:
            worker.was_quiet = True
            worker.silent_until = self.now + self.faults.silence
            self.after(self.faults.silence + self._wait(self.faults.talk), self._hush, worker)

    def _freeze(self, worker: SimulatedWorker) -> None:
        others = [w for w in self._workers.values() if w is not worker and not w.is_draining]
        if worker.name in self._workers and any(not w.is_frozen_for_ever for w in others):
            worker.freeze(self.faults.thaw)
            self.after(self.faults.thaw + self._wait(self.faults.freeze), self._freeze, worker)

    def _drain(self, worker: SimulatedWorker) -> None:
        if worker.name in self._workers and not worker.is_draining:
            self._handle(on.WorkerDrains(worker.name))
            self.after(self.latency / 2, worker.drain)
            worker.is_draining = True
            self._replace()

    def leaves(self, worker: SimulatedWorker) -> None:
        """A worker that drains has finished what it had begun."""
        worker.die()
        # What it has said comes before the end of its connection.
        arrives_at = max(self.now, worker.silent_until) + self.latency / 2
        verdict = on.Verdict("exit code 0", None)
        end = max(arrives_at, worker.arrives_at)
        self._at(end, self._lose, worker, "it has left", verdict)

    def _lose_by_chance(self, worker: SimulatedWorker) -> None:
        if worker.name not in self._workers or worker.is_dead:
            return
        if self.random.random() < self.faults.undead:
            self._lose(worker, "lost by chance", None)
        else:
            self.dies(worker, "killed by chance")

    def dies(self, worker: SimulatedWorker, reason: str) -> None:
        """A worker dies; perhaps its supervisor can tell what it ran."""
        verdict = None
        if self.random.random() < self.faults.told:
            verdict = worker.verdict(reason, self.random.random() < self.faults.vague)
        if worker.running is not None:
            self._killed[worker.running] += 1
        else:
            self._n_mishaps += 1
        worker.die()
        self._lose(worker, reason, verdict)

    def _lose(self, worker: SimulatedWorker, reason: str, verdict: on.Verdict | None) -> None:
        """Tell the scheduler that a worker is lost; what it has said may still come."""
        if self._workers.pop(worker.name, None) is not None:
            if not worker.is_draining:
                self._replace()
            self._handle(on.WorkerLost(worker.name, reason, verdict))

    def _replace(self) -> None:
        if self.faults.rejoin is not None:
            self.after(self.faults.rejoin, self._join)

    def _kill(self, worker: SimulatedWorker) -> None:
        """A supervisor is asked to end a worker: it does so if that is frozen."""
        if worker.name in self._workers and worker.is_frozen and not worker.is_dead:
            self._n_kills += 1
            self.dies(worker, "SIGKILL")

    def begins(self, worker: SimulatedWorker, job: int, index: int) -> None:
        """Take note that a worker begins an item."""
        self.n_runs += 1
        self._begun[job, index] += 1
        if is_at_most_once(self._callers[job].policy) and self._begun[job, index] > 1:
            self.fail(f"worker {worker.name} begins item {index} of job {job} a second time")

    def ran(self, job: int, seconds: float) -> None:
        """Take note that an item, which is done now, has taken so long."""
        self.shares.ran(job, self.now, seconds)

    def tell(self, worker: SimulatedWorker, event: on.ItemsDone | on.RestReturned) -> None:
        """Send an event from a worker to the scheduler."""
        self.n_messages += 1
        arrives_at = max(self.now, worker.silent_until) + self.latency / 2
        worker.arrives_at = max(arrives_at, worker.arrives_at)  # a connection keeps the order
        self._at(worker.arrives_at, self._handle, event)

    # --- the callers: input and consumers

    def _offer(self) -> None:
        for caller in self._callers.values():
            self._offer_of(caller)

    def _open(self, caller: Caller) -> None:
        caller.is_open = True
        caller.allow_more()
        self._handle(on.JobOpened(caller.job, caller.policy))

    def _offer_of(self, caller: Caller) -> None:
        while caller.offered < caller.allowed and not caller.is_over:
            count = caller.allowed - caller.offered
            if self.reads_ahead:
                count = 1
                if caller.offered - caller.taken >= self.scheduler.window(caller.job):
                    return
            caller.offered += count
            self._handle(on.InputOffered(caller.job, count))
        is_done = caller.offered == caller.n_items and caller.is_open
        if is_done and not (caller.is_over or caller.has_ended):
            caller.has_ended = True
            self._handle(on.InputEnded(caller.job))

    def _consume(self, caller: Caller) -> None:
        count = 1 if self.take > 0 else caller.ready
        caller.ready -= count
        caller.taken += count
        if caller.ready:
            self.after(self.take, self._consume, caller)
        if caller.is_over:
            return
        if self.leave_after is not None and caller.taken >= self.leave_after:
            self._leave(caller)
        else:
            if not caller.policy.taken_on_delivery:
                self._handle(on.ResultsTaken(caller.job, count))
            if caller.taken == caller.allowed < caller.n_items:
                self.after(caller.task.pause, caller.allow_more)

    def _leave(self, caller: Caller) -> None:
        if not caller.is_over:
            caller.is_over = True
            self._handle(on.JobClosed(caller.job))
            self._check_that_nothing_is_left()

    def seconds_of(self, job: int, index: int) -> float:
        """Return the seconds of an item on a worker of speed 1."""
        return self._callers[job].task.cost(index)

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
            audit_places(self.scheduler, self.fail)
            audit_books(self.scheduler, self.fail)
            audit_copies(self.scheduler, self._workers, self.fail)

    def _carry_out(self, command: do.Command) -> None:
        match command:
            case do.SendChunk() | do.RecallChunk() | do.CancelAttempt() | do.KillWorker():
                worker = self._workers.get(command.worker)
                if worker is None:
                    self.fail(f"{command} is for a worker that is not there")
                self.n_messages += 1
                if isinstance(command, do.KillWorker):
                    self.after(self.latency / 2, self._kill, worker)
                    return
                if isinstance(command, do.SendChunk):
                    if worker.is_draining:
                        self.fail(f"{command} is for a worker that drains")
                    self._callers[command.job].check_bounds(command)
                self.after(self.latency / 2, worker.receive, command)
            case do.Deliver(job=job):
                caller = self._callers[job]
                if not caller.ready:
                    self.after(self.take, self._consume, caller)
                caller.receive(command)
                if isinstance(command.payload, do.LostItem):
                    self._check_blame(command, command.payload)
            case do.FinishJob(job=job):
                caller = self._callers[job]
                caller.is_over = True
                if len(caller.delivered) < caller.n_items:
                    self.fail(f"finished with {len(caller.delivered)} of {caller.n_items} results")
                self._check_that_nothing_is_left()
            case do.FailJob(job=job):
                caller = self._callers[job]
                caller.is_over = True
                caller.failure = command
                has_workers = any(not worker.is_draining for worker in self._workers.values())
                if has_workers and not command.timed_out:
                    self.fail("the job failed though there are workers")

    # --- what must hold

    def _check_blame(self, command: do.Deliver, lost: do.LostItem) -> None:
        policy = self._callers[command.job].policy
        if not 1 <= lost.tries <= 1 + policy.retries_on_loss:
            self.fail(f"{command}: item {command.index} was tried {lost.tries} times")
        is_exact = self.faults.told == 1.0 and self.faults.undead == 0.0
        is_exact = is_exact and self._n_mishaps <= MISHAPS
        may_begin_again = not is_at_most_once(policy)
        killed = self._killed[command.job, command.index]
        if is_exact and may_begin_again and lost.tries > killed:
            self.fail(f"{command}: item {command.index} is innocent, it killed {killed} workers")

    def _check_that_nothing_is_left(self) -> None:
        if all(caller.is_over for caller in self._callers.values()) and (
            self.scheduler._attempts or any(w.attempts for w in self.scheduler._workers.values())
        ):
            self.fail("the job has ended, but chunks of it are still counted as under way")
