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
from collections.abc import Hashable
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
from seppo.core.job import Attempt, Experience, Job

GRACE = 20.0  # seconds without any worker before jobs fail
RECALL_GAIN = 0.01  # seconds of work; less is not worth a recall (a round trip is 0.1 ms)
RECALL_PAUSE = 0.02  # seconds until an idle worker looks again for a chunk to recall
RECALL_ANSWER = 1.0  # seconds; a worker that has not answered by then is not waited for
STUCK_PAUSE = 1.0  # seconds without a new chunk for a worker that returned one untouched
LIKENESSES = 256  # kinds of jobs whose costs are remembered
LOSSES_TOLD = 20  # lines about lost workers that are kept for error messages


@dataclass
class _Worker:
    name: str
    attempts: dict[int, Attempt] = field(default_factory=dict)  # in the order of sending
    is_stuck: bool = False  # gave back the rest of its own accord: one item takes long
    paused_until: float = 0.0  # returned a chunk untouched: another client's item takes long


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
        self._alone_since = 0.0  # when the last worker left
        self._losses: list[str] = []
        self._experience: OrderedDict[Hashable, Experience] = OrderedDict()
        # What may be called back: chunks of which an item is probably not begun.
        self._recallable: dict[int, Attempt] = {}
        self._look_again: float | None = None  # when to look for chunks to recall
        self._is_news = False  # whether a worker became idle since the last look
        self._resume_at: float | None = None  # when a paused worker may get work again

    # --- what the outside may ask

    @property
    def n_workers(self) -> int:
        """Workers that are connected."""
        return len(self._workers)

    def next_deadline(self) -> float | None:
        """Return the time at which a ``Wakeup`` is due, or None."""
        deadlines = [at for at in (self._look_again, self._resume_at) if at is not None]
        if not self._workers:
            deadlines += [self._patience(job) for job in self._jobs.values() if job.is_pending]
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
            case InputOffered(job=number, count=count, last=last):
                if (job := self._jobs.get(number)) is not None:
                    if not job.is_pending:
                        job.pending_since = now
                    job.offered += count
                    job.ended = job.ended or last
            case InputEnded(job=number):
                if (job := self._jobs.get(number)) is not None:
                    job.ended = True
                    self._finish_if_done(job, commands)
            case JobOpened(job=number, policy=policy):
                served = min((job.served for job in self._jobs.values()), default=0.0)
                if not self._jobs:
                    self._losses = []
                self._jobs[number] = job = Job(number, policy, served, now)
                if (known := self._experience.get(policy.likeness)) is not None:
                    job.begin_with(known)
            case JobClosed(job=number):
                self._close(number, commands)
            case RestReturned():
                self._rest_returned(event, now)
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
        self._workers[attempt.worker].is_stuck = False
        job.measure(count, event.seconds, event.nbytes)
        job.largest_returned = max(job.largest_returned, attempt.position - attempt.start)
        if attempt.size == 0:
            self._end_attempt(attempt)
        for index in [i for i in job.losses if start <= i < start + count]:
            del job.losses[index]
        self._deliver(job, start, count, event.payload, commands)

    def _rest_returned(self, event: RestReturned, now: float) -> None:
        attempt = self._attempts.get(event.attempt)
        if attempt is None:
            return
        stop = min(max(attempt.start + event.kept, attempt.position), attempt.stop)
        worker = self._workers[attempt.worker]
        if attempt.recalled_at is None:
            if stop > attempt.start:
                worker.is_stuck = True
            elif len(worker.attempts) == 1:
                worker.paused_until = now + STUCK_PAUSE
        rest = (stop, attempt.stop)
        attempt.stop = stop
        self._recallable.pop(attempt.number, None)  # the worker keeps only what has begun
        if attempt.size == 0:
            self._end_attempt(attempt)
        attempt.job.put_back(*rest, suspect=attempt.is_suspect)

    def _worker_joined(self, name: str) -> None:
        if name not in self._workers:
            self._workers[name] = worker = _Worker(name)
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
                suspect = running or attempt.is_suspect
                attempt.job.put_back(attempt.position, attempt.stop, suspect)
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
        self._deliver(job, index, 1, LostItem(name, reason, tries), commands)

    def _deliver(
        self, job: Job, index: int, count: int, payload: object, commands: list[Command]
    ) -> None:
        """Deliver results, and all that waited for them; finish the job with the last."""
        for part in job.reorder.add(index, count, payload):
            commands.append(Deliver(job.number, part.index, part.count, part.payload, part.offset))
        if job.policy.taken_on_delivery:
            job.taken = job.reorder.released
        self._finish_if_done(job, commands)

    # --- ends

    def _end_attempt(self, attempt: Attempt) -> None:
        del self._attempts[attempt.number]
        self._recallable.pop(attempt.number, None)
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
        if job.policy.likeness is not None and job.experience is not None:
            self._experience.pop(job.policy.likeness, None)
            self._experience[job.policy.likeness] = job.experience
            if len(self._experience) > LIKENESSES:
                self._experience.popitem(last=False)
        for attempt in list(job.attempts.values()):
            commands.append(CancelAttempt(attempt.worker, attempt.number))
            self._end_attempt(attempt)

    def _patience(self, job: Job) -> float:
        """Return until when a job waits for workers, if there are none."""
        return max(self._alone_since, job.pending_since) + self.grace

    def _fail_when_alone(self, now: float, commands: list[Command]) -> None:
        if self._workers:
            return
        for job in list(self._jobs.values()):
            if job.is_pending and now >= self._patience(job):
                undone = job.offered - len(job.reorder.known) if job.ended else None
                commands.append(
                    FailJob(job.number, job.reorder.released, undone, tuple(self._losses))
                )
                self._close(job.number, commands)

    # --- handing out

    def _place(self, worker: _Worker) -> None:
        """Put the worker into the queue that fits the number of its chunks."""
        self._idle.pop(worker.name, None)
        self._half.pop(worker.name, None)
        if len(worker.attempts) == 0:
            self._idle[worker.name] = worker
            self._is_news = True
        elif len(worker.attempts) == 1:
            self._half[worker.name] = worker

    def _assign(self, now: float, commands: list[Command]) -> None:
        self._resume_at = None
        ready = [job for job in self._jobs.values() if job.has_work()]
        if not ready:
            return
        for worker in list(self._idle.values()):
            if worker.paused_until > now:
                if self._resume_at is None or worker.paused_until < self._resume_at:
                    self._resume_at = worker.paused_until
                continue
            if not self._send_next(worker, ready, now, commands):
                break  # idle workers are alike: no other fits either
            if not ready:
                return
        quick = [job for job in ready if job.may_prefetch]
        for worker in list(self._half.values()) if quick else ():
            if not worker.is_stuck:
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
        start, stop, is_suspect = job.cut(len(self._workers))
        self._last_attempt += 1
        number = self._last_attempt
        attempt = Attempt(number, job, worker.name, start, stop, start, now, is_suspect)
        self._attempts[number] = job.attempts[number] = attempt
        job.chunks_at[worker.name] = job.chunks_at.get(worker.name, 0) + 1
        job.served += (stop - start) * job.cost
        if worker.attempts or attempt.size > 1:
            self._recallable[number] = attempt
        worker.attempts[number] = attempt
        self._place(worker)
        commands.append(SendChunk(worker.name, number, job.number, start, stop))
        if not job.has_work():
            ready.remove(job)
        return True

    # --- calling back

    def _recall(self, now: float, commands: list[Command]) -> None:
        """When workers are idle and nothing waits, call back chunks from the slowest."""
        if not self._idle or not self._recallable:
            self._look_again = None
            return
        if self._look_again is not None and now < self._look_again and not self._is_news:
            return
        self._is_news = False
        self._look_again = None
        asked = sum(
            attempt.recalled_at is not None and now - attempt.recalled_at < RECALL_ANSWER
            for attempt in self._recallable.values()
        )
        wanted = sum(worker.paused_until <= now for worker in self._idle.values()) - asked
        idle = next(iter(self._idle))  # none of them has a chunk of any job: any will do
        found = [
            (self._seconds_ahead(attempt, now), attempt)
            for attempt in self._recallable.values()
            if attempt.recalled_at is None and attempt.job.takes_worker(idle)
        ]
        worthwhile = [pair for pair in found if pair[0] >= RECALL_GAIN]
        worthwhile.sort(key=lambda pair: (-pair[0], pair[1].number))
        for _, attempt in worthwhile[: max(0, wanted)]:
            attempt.recalled_at = now
            commands.append(RecallChunk(attempt.worker, attempt.number))
        if found:
            self._look_again = now + RECALL_PAUSE

    def _seconds_ahead(self, attempt: Attempt, now: float) -> float:
        """Return how much work, in seconds, the worker begins until it ends the attempt."""
        first = next(iter(self._workers[attempt.worker].attempts.values()))
        seconds = first.seconds_unbegun(now)
        if attempt is not first:
            seconds += first.seconds_overdue(now) + attempt.size * attempt.job.cost
        return seconds
