"""The scheduler: which worker runs which items, as pure decisions.

``handle(event, now)`` takes what happened and returns what to do; ``next_deadline()``
says when to come again if nothing happens. The caller executes the commands; when one
fails, that comes back as an event. There is no lock, clock, socket, thread or pickle
here, so that every decision can be proved by a dialogue or by a simulation of thousands
of workers that never sleeps.

The life of a worker::

    joined --> idle --SendChunk--> busy --SendChunk--> busy, one chunk waiting
                ^                    |                      |
                +-----ItemsDone------+------ItemsDone-------+     any --WorkerLost--> gone

The life of a chunk: it is *cut* from what the job has left, *sent* as an attempt, and
ends when all its items are done, when its worker gives back the rest (asked by
``RecallChunk`` or of its own accord), when its worker is lost, or when the job closes.
What it leaves undone goes back to the job. Results of attempts that have ended are
ignored by their number.

The parts, each with a file of its own::

    ledger      jobs, workers (crew) and attempts: who has what; results out, each once
    items       of one job: where each one is, and which go into the next chunk
    cost        of one job: seconds and bytes per item, as measured
    incidents   of one job: losses and moves of single items
    shares      which job is next, when several want the workers
    assignment  which worker gets the next chunk
    recall      which chunks are called back for idle workers, or for jobs that wait
    watch       silent workers and stragglers, and copies of their items
    losses      lost workers: which item is to blame (decided in recovery), what runs again
    ends        jobs that fail: no worker is left, or no time

The scheduler refuses to know what an item is, how it travels, and what a worker is made of.
"""

from __future__ import annotations

from seppo.core.assignment import Assignment
from seppo.core.commands import Command
from seppo.core.crew import STUCK_PAUSE
from seppo.core.ends import Ends
from seppo.core.events import (
    ChunkSent,
    Event,
    InputEnded,
    InputOffered,
    ItemsDone,
    JobClosed,
    JobOpened,
    RestReturned,
    ResultsTaken,
    Wakeup,
    WorkerDrains,
    WorkerJoined,
    WorkerLost,
    WorkersJoining,
)
from seppo.core.ledger import Ledger
from seppo.core.losses import Losses
from seppo.core.recall import Recalls
from seppo.core.shares import Shares
from seppo.core.watch import Watch

GRACE = 20.0  # seconds without any worker before jobs fail


class Scheduler:
    """Decides for all jobs of one process and one group of workers.

    Args:
        grace: Seconds without any worker before jobs fail.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._ledger = Ledger()
        self._jobs = self._ledger.jobs
        self._attempts = self._ledger.attempts
        self._workers = self._ledger.crew.workers
        self._shares = Shares(self._ledger)
        self._assignment = Assignment(self._ledger, self._shares)
        self._recall = Recalls(self._ledger, self._shares)
        self._watch = Watch(self._ledger, self._recall)
        self._losses = Losses(self._ledger)
        self._ends = Ends(self._ledger, self._losses, grace)

    # --- what the outside may ask

    @property
    def n_workers(self) -> int:
        """Workers that are connected."""
        return len(self._workers)

    @property
    def demand(self) -> int:
        """Workers that there is work for: one for each item without a result."""
        return sum(job.demand for job in self._jobs.values())

    def next_deadline(self) -> float | None:
        """Return the time at which a ``Wakeup`` is due, or None."""
        deadlines = [self._recall.due, self._assignment.due, self._watch.deadline]
        deadlines += [self._ends.deadline(job) for job in self._jobs.values()]
        return min((at for at in deadlines if at is not None), default=None)

    def completed(self, job: int) -> int:
        """Return how many items of the job have a result or have failed."""
        state = self._jobs.get(job)
        return 0 if state is None else state.items.n_done

    def window(self, job: int) -> int:
        """Return how many items beyond those taken the job's input should be read ahead."""
        state = self._jobs.get(job)
        return 0 if state is None else state.items.window(self._ledger.crew.strength)

    # --- what happens

    def handle(self, event: Event, now: float) -> list[Command]:
        """Return what to do about ``event``, which happened at ``now`` (monotonic seconds)."""
        commands: list[Command] = []
        match event:
            case ItemsDone():
                self._items_done(event, now, commands)
            case ChunkSent(attempt=number, nbytes=nbytes):
                if (attempt := self._attempts.get(number)) is not None:
                    attempt.job.cost.weigh(attempt.stop - attempt.start, nbytes)
                return commands
            case ResultsTaken(job=number, count=count):
                if (job := self._jobs.get(number)) is not None:
                    job.items.take(count)
            case InputOffered(job=number, count=count, last=last):
                if (job := self._jobs.get(number)) is not None:
                    job.items.offer(count, last, now)
                    if job.items.runs_here:
                        self._ends.leave_to_caller(job, now, commands)
            case InputEnded(job=number):
                if (job := self._jobs.get(number)) is not None:
                    job.items.end()
                    self._ledger.finish_if_done(job, now, commands)
            case JobOpened(job=number, policy=policy):
                if not self._jobs:
                    self._losses.forget()
                self._ledger.open(number, policy, now)
            case JobClosed(job=number):
                self._ledger.close(number, now, commands)
            case RestReturned():
                self._rest_returned(event, now)
            case WorkerJoined(worker=name):
                self._ledger.crew.join(name, now)
            case WorkersJoining(count=count):
                self._ledger.crew.expect(count, now)
            case WorkerDrains(worker=name):
                self._ledger.crew.drain(name, now)
            case WorkerLost():
                self._losses.worker_lost(event, now, commands)
            case Wakeup():
                self._watch.look(now, commands)
        self._ends.look(now, commands)
        self._assignment.look(now, commands)
        self._recall.look(now, commands)
        is_news = not isinstance(event, Wakeup)
        if not is_news:
            self._watch.copy(now, commands)
        self._watch.note(now, is_news)
        return commands

    def _items_done(self, event: ItemsDone, now: float, commands: list[Command]) -> None:
        attempt = self._attempts.get(event.attempt)
        if attempt is None:
            self._hear_echo(event.attempt, now)
            return  # late: cancelled, or its worker was given up
        worker = self._workers[attempt.worker]
        self._ledger.heard(worker, now)
        job = attempt.job
        count = min(event.count, attempt.size)
        if count <= 0:
            return
        start = attempt.position
        self._ledger.advance(attempt, count, event.seconds, now)
        worker.move_on()
        returned = attempt.position - attempt.start
        job.cost.measure(count, event.seconds, event.nbytes, returned)
        if attempt.size == 0:
            self._ledger.end(attempt, now)
        job.incidents.forget(start, start + count)
        self._ledger.deliver(job, start, count, event.payload, commands)
        if attempt.is_shadow or job.shadows:
            stop = start + count
            self._ledger.drop_twins(job, start, stop, now, commands, attempt.is_shadow)
        self._ledger.finish_if_done(job, now, commands)

    def _rest_returned(self, event: RestReturned, now: float) -> None:
        attempt = self._attempts.get(event.attempt)
        if attempt is None:
            self._hear_echo(event.attempt, now)
            return
        worker = self._workers[attempt.worker]
        self._ledger.heard(worker, now)
        stop = min(max(attempt.start + event.kept, attempt.position), attempt.stop)
        if attempt.recalled_at is None or now - attempt.progress_at >= STUCK_PAUSE:
            worker.give_back(now, is_untouched=stop <= attempt.start)
        rest = (stop, attempt.stop)
        self._ledger.shorten(attempt, stop)
        if attempt.size == 0:
            self._ledger.end(attempt, now)
        if not attempt.is_shadow:
            attempt.job.items.put_back(*rest, suspect=attempt.is_suspect)

    def _hear_echo(self, number: int, now: float) -> None:
        if (worker := self._ledger.crew.echo(number)) is not None:
            self._ledger.heard(worker, now)
