"""Failure of jobs: no worker is left, or the time is up.

When all workers are gone, a job waits ``grace`` seconds for another one. Then it fails, or,
if the caller asked for that, the caller's process runs the rest: only items that cannot have
killed a worker. Items that may have are given up. When several items are known to kill
workers, the function is at fault, and the caller's process runs none of its items.
"""

from __future__ import annotations

from seppo.core.commands import Command, LostItem, RunHere
from seppo.core.job import Job
from seppo.core.ledger import Ledger
from seppo.core.losses import Losses

GUILTY = 2  # items that each lost every worker allowed: then it is not the item


class Ends:
    """Decides which jobs end before they are done.

    Args:
        ledger: Who has what.
        losses: Which workers were lost.
        grace: Seconds without any worker before jobs fail.
    """

    def __init__(self, ledger: Ledger, losses: Losses, grace: float) -> None:
        self.grace = grace
        self._ledger = ledger
        self._losses = losses

    def deadline(self, job: Job) -> float | None:
        """Return when this job ends if nothing happens, or None."""
        if self._is_stranded(job):
            patience = self._patience(job)
            return patience if job.deadline is None else min(patience, job.deadline)
        return job.deadline

    def _is_stranded(self, job: Job) -> bool:
        """Whether no worker works for a job, or will unless one joins."""
        return (
            self._ledger.crew.is_alone
            and job.items.is_pending
            and all(attempt.is_shadow for attempt in job.attempts.values())
        )

    def _patience(self, job: Job) -> float:
        return max(self._ledger.crew.alone_since, job.items.pending_since) + self.grace

    def look(self, now: float, commands: list[Command]) -> None:
        """End the jobs whose time has come."""
        for job in list(self._ledger.jobs.values()):
            if job.deadline is not None and now >= job.deadline:
                self._losses.fail(job, now, commands, timed_out=True)
            elif self._is_stranded(job) and now >= self._patience(job):
                if job.policy.finishes_here and job.incidents.n_guilty < GUILTY:
                    self.leave_to_caller(job, now, commands)
                else:
                    self._losses.fail(job, now, commands)

    def leave_to_caller(self, job: Job, now: float, commands: list[Command]) -> None:
        """Give up items that may have killed a worker, and leave the others to the caller."""
        items = job.items
        losses = tuple(self._losses.lines)
        worker, _, reason = losses[-1].partition(": ") if losses else ("", "", "")
        for start, stop in list(items.suspects):
            for index in range(start, stop):
                lost = LostItem(worker, reason, max(1, job.incidents.give_up(index)))
                self._ledger.deliver(job, index, 1, lost, commands)
        for start, stop in items.missing(0, items.offered):
            self._ledger.deliver(job, start, stop - start, RunHere(losses), commands)
        for attempt in list(job.attempts.values()):
            commands.append(self._ledger.cancel(attempt, now))
        items.leave_to_caller()
        self._ledger.finish_if_done(job, now, commands)
