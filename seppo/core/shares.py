"""Fair sharing of workers between jobs: which job is next.

The job that has had least of the workers' time is next (see ``account``). So jobs that
always have work share it evenly, whatever the sizes of their items and chunks. A job that
begins to ask for workers, because it is new or had nothing to hand out for a while, starts
level with those that ask already: with the time that they have had by then, without what
they have under way. Idle time gives no credit; a debt stays.

Source: start-time fair queueing, Goyal, Vin & Cheng, SIGCOMM 1996; what an item is
estimated to take stands for the length of a packet, until it is known.
"""

from __future__ import annotations

from collections.abc import Iterable

from seppo.core.job import Job
from seppo.core.ledger import Ledger

PAUSE = 0.02  # seconds from one look at what has run for too long to the next
LATE = 3.0  # seconds; wakeups come every 2 s: a later one means that the client stood still


class Shares:
    """Keeps the accounts of jobs comparable.

    Attributes:
        asking: Jobs that had work left when the last workers were given theirs.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.asking: list[Job] = []
        self._ledger = ledger
        self._looked_at = self._due = 0.0

    def look(self, ready: list[Job], now: float) -> None:
        """Bring accounts up to date before the work of these jobs is handed out."""
        if now > self._looked_at + LATE:
            self._due = now + PAUSE  # answers that came meanwhile are read first
        self._looked_at = now
        if now >= self._due:
            self._due = now + PAUSE
            if ready and self._is_shared(ready):
                self._charge_overdue(now)
        if new := [job for job in ready if job not in self.asking]:
            level = self._level([job for job in ready if job in self.asking], now)
            for job in new:
                job.account.raise_to(level)

    def note(self, ready: list[Job]) -> None:
        """Take note of the jobs that have work left after chunks were handed out."""
        self.asking = [job for job in ready if not job.is_at_limit]

    def next_for(self, worker: str, jobs: list[Job]) -> Job | None:
        """Return the one of these jobs that is next among those that may have a worker."""
        if len(jobs) == 1:
            return jobs[0] if jobs[0].takes_worker(worker) else None
        return min((job for job in jobs if job.takes_worker(worker)), key=_served, default=None)

    def poorest(self, jobs: Iterable[Job]) -> Job:
        """Return the job that is next."""
        return min(jobs, key=_served)

    def used(self, job: Job, now: float) -> float:
        """Return what a job has had by now, without what it has under way."""
        workers, account = self._ledger.crew.workers, job.account
        running = (
            attempt for attempt in job.attempts.values() if workers[attempt.worker].first is attempt
        )
        return account.spent + sum(
            min(max(0.0, now - attempt.progress_at), account.charge_of(attempt.number))
            for attempt in running
        )

    def _is_shared(self, ready: list[Job]) -> bool:
        """Whether more than one job wants workers, or has them."""
        jobs = self._ledger.jobs.values()
        return len(ready) > 1 or any(job.attempts and job is not ready[0] for job in jobs)

    def _level(self, asking: list[Job], now: float) -> float:
        if asking:
            return min(self.used(job, now) for job in asking)
        return max(job.account.spent for job in self._ledger.jobs.values())

    def _charge_overdue(self, now: float) -> None:
        """Let the charges of chunks grow that run for longer than was estimated."""
        for worker in self._ledger.crew.workers.values():
            first = worker.first
            if first is not None and not worker.is_silent:
                account, seconds = first.job.account, now - first.progress_at
                if seconds > account.charge_of(first.number):
                    account.charge(first.number, seconds)


def _served(job: Job) -> float:
    return job.account.served
