"""The ledger of jobs, workers, and attempts: which worker has which items, and results out.

An attempt *begins* with the ``SendChunk`` that is returned for it, and *ends* once. In
between it may become a *shadow*: its items get another place, because it straggles or its
worker is silent, but its answers still count when they come first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from seppo.core.commands import CancelAttempt, Command, Deliver, FinishJob, SendChunk
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
        """Begin a job, with the cost of the last one of its likeness."""
        known = self._costs.get(policy.likeness)
        cost = None if known is None else known.carried_over()
        self.jobs[number] = Job(number, policy, now, cost)

    def close(self, number: int, now: float, commands: list[Command]) -> None:
        """End a job; its workers drop what they have of it, and its cost is remembered."""
        job = self.jobs.pop(number, None)
        if job is None:
            return
        if (likeness := job.policy.likeness) is not None and job.cost.is_known:
            self._costs.pop(likeness, None)
            self._costs[likeness] = job.cost.carried_over()
            if len(self._costs) > LIKENESSES:
                self._costs.popitem(last=False)
        for attempt in list(job.attempts.values()):
            commands.append(self.cancel(attempt, now))

    # --- attempts

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
        self.crew.give(worker, attempt)
        timeout = job.policy.task_timeout
        return SendChunk(worker.name, number, job.number, start, stop, timeout, suspect)

    def advance(self, attempt: Attempt, count: int, seconds: float, now: float) -> None:
        """Take note that the next items of an attempt are done, and what they took."""
        account = attempt.job.account
        account.pay(seconds)
        account.keep(attempt.number, 1 - count / attempt.size)
        attempt.advance(count, now)

    def shorten(self, attempt: Attempt, stop: int) -> None:
        """Take the items from ``stop`` on, which have not begun, out of an attempt."""
        self.recallable.pop(attempt.number, None)
        if stop < attempt.stop:
            left = stop - attempt.position
            attempt.job.account.keep(attempt.number, left / attempt.size)
            attempt.shorten(stop)

    def end(self, attempt: Attempt, now: float) -> None:
        """Forget an attempt; the caller gives items without a result another place."""
        number = attempt.number
        del self.attempts[number]
        self.recallable.pop(number, None)
        attempt.job.end(attempt)
        if (worker := self.crew.workers.get(attempt.worker)) is not None:
            self.crew.take(worker, attempt, now)

    def cancel(self, attempt: Attempt, now: float) -> Command:
        """End an attempt whose answers are not wanted, and return the command for that."""
        self.end(attempt, now)
        if (worker := self.crew.workers.get(attempt.worker)) is not None:
            worker.interrupt(now)
        return CancelAttempt(attempt.worker, attempt.number)

    # --- results

    def deliver(
        self, job: Job, index: int, count: int, payload: object, commands: list[Command]
    ) -> None:
        """Deliver what is new of these results, and all that waited for it."""
        for part in job.items.deliver(index, count, payload):
            commands.append(Deliver(job.number, part.index, part.count, part.payload, part.offset))

    def drop_twins(
        self,
        job: Job,
        start: int,
        stop: int,
        now: float,
        commands: list[Command],
        is_shadow: bool = True,
    ) -> None:
        """Cancel the other attempts at these items: the first answer has won.

        Args:
            job: Whose items.
            start: The first item.
            stop: Behind the last one.
            now: The time.
            commands: What to do besides.
            is_shadow: Whether a shadow may have answered. Else only shadows can have
                these items, too, and there are few: any other attempt has its own.
        """
        job.items.drop_waiting(start, stop)
        others = job.attempts if is_shadow else job.shadows
        for attempt in list(others.values()):
            overlaps = attempt.position < stop and start < attempt.stop
            if overlaps and job.items.is_known(attempt.position, attempt.stop):
                commands.append(self.cancel(attempt, now))

    def finish_if_done(self, job: Job, now: float, commands: list[Command]) -> None:
        """Finish the job with its last result."""
        if job.items.is_finished and job.number in self.jobs:
            commands.append(FinishJob(job.number))
            self.close(job.number, now, commands)

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
        """Take note that a worker is silent: its attempts do not count any more."""
        self.crew.hush(worker)
        for attempt in worker.attempts.values():
            attempt.job.discount(attempt)

    def heard(self, worker: Worker, now: float) -> None:
        """Take note of a sign of life: a worker that was silent keeps items that nobody took."""
        if self.crew.heard(worker, now):
            for attempt in worker.attempts.values():
                job = attempt.job
                job.count(attempt)
                if attempt.is_shadow and job.items.take_back(attempt.position, attempt.stop):
                    job.restore(attempt)
