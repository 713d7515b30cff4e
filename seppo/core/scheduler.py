"""The scheduler: who runs what, decided without doing anything.

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

The scheduler refuses to know what an item is, how it travels, and what a worker is made of.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from seppo.core.commands import (
    CancelAttempt,
    Command,
    Deliver,
    FailJob,
    FinishJob,
    LostItem,
    RecallChunk,
    SendChunk,
)
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
    WorkerJoined,
    WorkerLost,
)
from seppo.core.job import Attempt, Job

GRACE = 20.0  # seconds without any worker before jobs fail
RECALL_GAIN = 0.01  # seconds of work; less is not worth a recall (a round trip is 0.1 ms)
RECALL_PAUSE = 0.02  # seconds until an idle worker looks again for a chunk to recall
LOSSES_TOLD = 20  # lines about lost workers that are kept for error messages


@dataclass
class _Worker:
    name: str
    attempts: dict[int, Attempt] = field(default_factory=dict)  # in the order of sending
    stuck: bool = False  # gave back the rest of its own accord: one item takes long


class Scheduler:
    """Decides for all jobs of one process and one group of workers.

    Args:
        grace: Seconds without any worker before jobs fail.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._jobs: dict[int, Job] = {}
        self._workers: dict[str, _Worker] = {}
        self._attempts: dict[int, Attempt] = {}
        # Workers with no chunk and with one: those that can take more, longest waiting first.
        self._idle: OrderedDict[str, _Worker] = OrderedDict()
        self._half: OrderedDict[str, _Worker] = OrderedDict()
        self._last_attempt = 0
        self._alone_since: float | None = None
        self._losses: list[str] = []
        self._look_again: float | None = None

    # --- what the outside may ask

    @property
    def n_workers(self) -> int:
        """Workers that are connected."""
        return len(self._workers)

    def next_deadline(self) -> float | None:
        """Return the time at which a ``Wakeup`` is due, or None."""
        deadlines = []
        if self._jobs and not self._workers and self._alone_since is not None:
            deadlines.append(self._alone_since + self.grace)
        if self._look_again is not None:
            deadlines.append(self._look_again)
        return min(deadlines, default=None)

    def completed(self, job: int) -> int:
        """Return how many items of the job have a result or have failed."""
        state = self._jobs.get(job)
        return 0 if state is None else len(state.reorder.known)

    def window(self, job: int) -> int:
        """Return how many items beyond those taken the job's input should be read ahead.

        Enough for every worker to hold two full chunks while two more lie ready.
        """
        state = self._jobs.get(job)
        if state is None:
            return 0
        n_workers = max(1, len(self._workers))
        if state.policy.chunksize is not None:
            full = state.policy.chunksize
        elif state.largest_returned == 0:
            full = 1
        else:
            full = state._chunksize(1 << 30, n_workers)
        wanted = 4 * n_workers * full
        weight = state.bytes_in + state.bytes_out
        if weight > 0:
            wanted = min(wanted, max(2 * n_workers, int(state.policy.max_ahead_bytes / weight)))
        return min(wanted, state.policy.max_ahead)

    # --- what happens

    def handle(self, event: Event, now: float) -> list[Command]:
        """Return what to do about ``event``, which happened at ``now`` (monotonic seconds)."""
        commands: list[Command] = []
        match event:
            case ItemsDone():
                self._items_done(event, now, commands)
            case ChunkSent(attempt=number, nbytes=nbytes):
                if (attempt := self._attempts.get(number)) is not None:
                    attempt.job.weigh(attempt.stop - attempt.start, nbytes)
                return commands
            case ResultsTaken(job=number, count=count):
                if (job := self._jobs.get(number)) is not None:
                    job.taken += count
            case InputOffered(job=number, count=count):
                if (job := self._jobs.get(number)) is not None:
                    job.offered += count
            case InputEnded(job=number):
                if (job := self._jobs.get(number)) is not None:
                    job.ended = True
                    self._finish_if_done(job, commands)
            case JobOpened(job=number, policy=policy):
                served = min((job.served for job in self._jobs.values()), default=0.0)
                if not self._workers and not self._jobs:
                    self._alone_since = now  # not when the last worker left: nobody waited
                self._jobs[number] = Job(number, policy, served)
            case JobClosed(job=number):
                self._close(number, commands)
            case RestReturned():
                self._rest_returned(event)
            case WorkerJoined(worker=name):
                self._worker_joined(name)
            case WorkerLost(worker=name, reason=reason):
                self._worker_lost(name, reason, now, commands)
            case _:
                pass
        self._fail_when_alone(now, commands)
        self._assign(now, commands)
        self._recall(now, commands)
        return commands

    def _items_done(self, event: ItemsDone, now: float, commands: list[Command]) -> None:
        attempt = self._attempts.get(event.attempt)
        if attempt is None:
            return  # late: cancelled, or its worker was given up
        job = attempt.job
        count = min(event.count, attempt.size)
        if count <= 0:
            return
        start, attempt.position = attempt.position, attempt.position + count
        attempt.progress_at = now
        self._workers[attempt.worker].stuck = False
        job.measure(count, event.seconds, event.nbytes)
        job.largest_returned = max(job.largest_returned, attempt.position - attempt.start)
        if attempt.size == 0:
            self._end_attempt(attempt)
        for index in [i for i in job.losses if start <= i < start + count]:
            del job.losses[index]
        for part in job.reorder.add(start, count, event.payload):
            commands.append(Deliver(job.number, part.index, part.count, part.payload, part.offset))
        self._finish_if_done(job, commands)

    def _rest_returned(self, event: RestReturned) -> None:
        attempt = self._attempts.get(event.attempt)
        if attempt is None:
            return
        stop = min(max(attempt.start + event.kept, attempt.position), attempt.stop)
        if not attempt.recalled:
            self._workers[attempt.worker].stuck = True
        attempt.recalled = False
        rest = (stop, attempt.stop)
        attempt.stop = stop
        if attempt.size == 0:
            self._end_attempt(attempt)
        attempt.job.put_back(*rest)

    def _worker_joined(self, name: str) -> None:
        if name not in self._workers:
            self._workers[name] = worker = _Worker(name)
            self._alone_since = None
            self._place(worker)

    def _worker_lost(self, name: str, reason: str, now: float, commands: list[Command]) -> None:
        worker = self._workers.pop(name, None)
        if worker is None:
            return
        self._losses = [*self._losses, f"{name}: {reason}"][-LOSSES_TOLD:]
        if not self._workers:
            self._alone_since = now
        running = True  # only the first of its chunks can have been begun
        for attempt in list(worker.attempts.values()):
            self._end_attempt(attempt)
            if running and attempt.size == 1:
                self._blame(attempt, name, reason, commands)
            else:
                attempt.job.put_back(attempt.position, attempt.stop, suspect=running)
            running = False
        self._idle.pop(name, None)
        self._half.pop(name, None)

    def _blame(self, attempt: Attempt, name: str, reason: str, commands: list[Command]) -> None:
        """The item ran alone when its worker was lost: count it, and give up in time."""
        job, index = attempt.job, attempt.position
        tries = job.losses.get(index, 0) + 1
        job.losses[index] = tries
        if tries <= job.policy.retries_on_loss:
            job.put_back(index, index + 1, suspect=True)
            return
        del job.losses[index]
        for part in job.reorder.add(index, 1, LostItem(name, reason, tries)):
            commands.append(Deliver(job.number, part.index, part.count, part.payload, part.offset))
        self._finish_if_done(job, commands)

    # --- ends

    def _end_attempt(self, attempt: Attempt) -> None:
        del self._attempts[attempt.number]
        job = attempt.job
        del job.attempts[attempt.number]
        left = job.chunks_at[attempt.worker] - 1
        if left:
            job.chunks_at[attempt.worker] = left
        else:
            del job.chunks_at[attempt.worker]
        worker = self._workers.get(attempt.worker)
        if worker is not None:
            del worker.attempts[attempt.number]
            self._place(worker)

    def _finish_if_done(self, job: Job, commands: list[Command]) -> None:
        if job.is_finished and job.number in self._jobs:
            commands.append(FinishJob(job.number))
            self._close(job.number, commands)

    def _close(self, number: int, commands: list[Command]) -> None:
        job = self._jobs.pop(number, None)
        if job is None:
            return
        for attempt in list(job.attempts.values()):
            commands.append(CancelAttempt(attempt.worker, attempt.number))
            self._end_attempt(attempt)

    def _fail_when_alone(self, now: float, commands: list[Command]) -> None:
        if self._workers or self._alone_since is None or not self._jobs:
            return
        if now < self._alone_since + self.grace:
            return
        for job in list(self._jobs.values()):
            undone = job.offered - len(job.reorder.known) if job.ended else None
            commands.append(FailJob(job.number, job.reorder.released, undone, tuple(self._losses)))
            self._close(job.number, commands)

    # --- handing out

    def _place(self, worker: _Worker) -> None:
        """Put the worker into the queue that fits the number of its chunks."""
        self._idle.pop(worker.name, None)
        self._half.pop(worker.name, None)
        if len(worker.attempts) == 0:
            self._idle[worker.name] = worker
        elif len(worker.attempts) == 1:
            self._half[worker.name] = worker

    def _assign(self, now: float, commands: list[Command]) -> None:
        ready = [job for job in self._jobs.values() if job.has_work()]
        if not ready:
            return
        for worker in list(self._idle.values()):
            if not self._send_next(worker, ready, now, commands) and not ready:
                return
        quick = [job for job in ready if job.may_prefetch]
        if not quick:
            return
        for worker in list(self._half.values()):
            if not worker.stuck:
                self._send_next(worker, quick, now, commands)
                if not quick:
                    return

    def _send_next(
        self, worker: _Worker, ready: list[Job], now: float, commands: list[Command]
    ) -> bool:
        """Send the worker a chunk of the job that got least so far; forget jobs run dry."""
        fitting = [job for job in ready if job.takes_worker(worker.name)]
        if not fitting:
            return False
        job = min(fitting, key=lambda job: job.served)
        start, stop = job.cut(len(self._workers))
        self._last_attempt += 1
        attempt = Attempt(self._last_attempt, job, worker.name, start, stop, start, now)
        self._attempts[attempt.number] = attempt
        job.attempts[attempt.number] = attempt
        job.chunks_at[worker.name] = job.chunks_at.get(worker.name, 0) + 1
        job.served += (stop - start) * (job.seconds_per_item or 0.001)
        worker.attempts[attempt.number] = attempt
        self._place(worker)
        commands.append(SendChunk(worker.name, attempt.number, job.number, start, stop))
        if not job.has_work():
            ready.remove(job)
        return True

    # --- calling back

    def _recall(self, now: float, commands: list[Command]) -> None:
        """When workers are idle and nothing waits, call back chunks from the slowest."""
        self._look_again = None
        if not self._idle or not self._attempts:
            return
        asked = sum(attempt.recalled for attempt in self._attempts.values())
        wanted = len(self._idle) - asked
        if wanted <= 0:
            return
        idle = next(iter(self._idle))  # none of them has a chunk of any job: any will do
        found = []
        hopeful = False
        for worker in self._workers.values():
            finish = 0.0
            for attempt in worker.attempts.values():
                rest, seconds = self._unbegun(attempt, worker, now)
                finish += seconds
                if rest and not attempt.recalled and attempt.job.takes_worker(idle):
                    hopeful = True
                    if finish >= RECALL_GAIN:
                        found.append((finish, attempt))
        found.sort(key=lambda pair: (-pair[0], pair[1].number))
        for _, attempt in found[:wanted]:
            attempt.recalled = True
            commands.append(RecallChunk(attempt.worker, attempt.number))
        if hopeful and len(found) < wanted:
            self._look_again = now + RECALL_PAUSE

    def _unbegun(self, attempt: Attempt, worker: _Worker, now: float) -> tuple[int, float]:
        """Return the items that are probably not begun, and the seconds all will take."""
        waited = max(0.0, now - attempt.progress_at)
        cost = attempt.job.seconds_per_item
        if cost is None:
            cost = waited
        if attempt is not next(iter(worker.attempts.values())):
            return attempt.size, attempt.size * cost
        if cost > 0:
            begun = min(attempt.size, 1 + int(waited / cost))
        else:  # too quick for the worker's clock, so that waiting at all is slow
            begun = attempt.size if waited > 0 else 1
        if begun == attempt.size and attempt.size > 1:
            # Slower than expected: nobody knows how far it is. At least one item is running.
            return attempt.size - 1, (attempt.size - 1) * max(cost, waited)
        return attempt.size - begun, (attempt.size - begun) * cost
