"""Who has what: jobs, workers, and the attempts between them.

An attempt *begins* with the ``SendChunk`` that is returned for it, and *ends* once. In
between it may become a *shadow*: its items get another place, because it straggles or its
worker is silent, but its answers still count when they come first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from seppo.core.commands import CancelAttempt, Command, SendChunk
from seppo.core.cost import Cost
from seppo.core.crew import Crew, Worker
from seppo.core.events import Policy
from seppo.core.job import Attempt, Job

LIKENESSES = 256  # kinds of jobs whose costs are remembered


class Ledger:
    """All jobs, workers and live attempts of one scheduler.

    Attributes:
        jobs: Open jobs by number.
        crew: The workers.
        attempts: Live attempts by number.
        recallable: Those of which an item is probably not begun.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.crew = Crew()
        self.attempts: dict[int, Attempt] = {}
        self.recallable: dict[int, Attempt] = {}
        self._last_attempt = 0
        self._costs: OrderedDict[Hashable, Cost] = OrderedDict()  # by likeness

    def open(self, number: int, policy: Policy, now: float) -> None:
        """Begin a job, with what its like have learned."""
        known = self._costs.get(policy.likeness)
        cost = None if known is None else known.carried_over()
        self.jobs[number] = Job(number, policy, now, cost)

    def close(self, number: int) -> Job | None:
        """Forget a job and return it; remember what it has learned."""
        job = self.jobs.pop(number, None)
        if job is not None and job.policy.likeness is not None and job.cost.is_known:
            self._costs.pop(job.policy.likeness, None)
            self._costs[job.policy.likeness] = job.cost.carried_over()
            if len(self._costs) > LIKENESSES:
                self._costs.popitem(last=False)
        return job

    def begin(
        self, worker: Worker, job: Job, start: int, stop: int, now: float, suspect: bool = False
    ) -> SendChunk:
        """Give items to a worker and return the command that does it."""
        self._last_attempt += 1
        number = self._last_attempt
        attempt = Attempt(number, job, worker.name, start, stop, start, now, suspect)
        self.attempts[number] = attempt
        job.begin(attempt)
        if worker.attempts or stop - start > 1:
            self.recallable[number] = attempt
        worker.attempts[number] = attempt
        self.crew.place(worker)
        timeout = job.policy.task_timeout
        return SendChunk(worker.name, number, job.number, start, stop, timeout, suspect)

    def advance(self, attempt: Attempt, count: int, seconds: float, now: float) -> None:
        """The next items of an attempt are done, and took so long."""
        account = attempt.job.account
        account.pay(seconds)
        account.keep(attempt.number, 1 - count / attempt.size)
        attempt.advance(count, now)

    def shorten(self, attempt: Attempt, stop: int) -> None:
        """What is behind ``stop`` does not belong to an attempt any more: it has not begun."""
        self.recallable.pop(attempt.number, None)
        if stop < attempt.stop:
            left = stop - attempt.position
            attempt.job.account.keep(attempt.number, left / attempt.size)
            attempt.shorten(stop)

    def end(self, attempt: Attempt, now: float) -> None:
        """Forget an attempt; what it has not done is the caller's affair."""
        number = attempt.number
        del self.attempts[number]
        self.recallable.pop(number, None)
        attempt.job.end(attempt)
        worker = self.crew.workers.get(attempt.worker)
        if worker is None:
            return
        was_first = worker.first is attempt
        del worker.attempts[number]
        if was_first and (following := worker.first) is not None:
            following.move_up(now)
        self.crew.ended(worker, number)
        self.crew.place(worker)

    def cancel(self, attempt: Attempt, now: float) -> Command:
        """End an attempt whose answers are not wanted, and return the command for that."""
        self.end(attempt, now)
        if (worker := self.crew.workers.get(attempt.worker)) is not None:
            worker.interrupted_at = now
        return CancelAttempt(attempt.worker, attempt.number)

    # --- shadows

    def shadow(self, attempt: Attempt) -> None:
        """Make an attempt a shadow; its items must get another place in the same step."""
        attempt.job.shadow(attempt)
        self.recallable.pop(attempt.number, None)

    def put_back(
        self, job: Job, start: int, stop: int, suspect: bool = False, doubtful: bool = False
    ) -> None:
        """Give items another place: a straggler that still runs them, or a queue of the job."""
        for shadow in sorted(job.shadows.values(), key=lambda shadow: shadow.position):
            worker = self.crew.workers.get(shadow.worker)
            index = shadow.position
            if worker is None or worker.is_silent or shadow.size != 1:
                continue
            if start <= index < stop and not job.items.is_known(index, index + 1):
                job.restore(shadow)
                job.items.put_back(start, index, suspect, doubtful)
                start = index + 1
        job.items.put_back(start, stop, suspect, doubtful)

    def hush(self, worker: Worker) -> None:
        """A worker has fallen silent: where copies are allowed, its items may go elsewhere."""
        self.crew.hush(worker)
        for attempt in worker.attempts.values():
            attempt.job.discount(attempt)

    def heard(self, worker: Worker, now: float) -> None:
        """A worker has shown a sign of life; one that was silent may keep what nobody took."""
        if self.crew.heard(worker, now):
            for attempt in worker.attempts.values():
                job = attempt.job
                job.count(attempt)
                if attempt.is_shadow and job.items.take_back(attempt.position, attempt.stop):
                    job.restore(attempt)
