"""Results out, each once, and the end of a job that is done or not wanted any more."""

from __future__ import annotations

from seppo.core.commands import Command, Deliver, FinishJob
from seppo.core.job import Job
from seppo.core.ledger import Ledger


class Delivery:
    """Delivers results, and closes jobs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

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
        """The first answer has won: nobody else need work for these items.

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
                commands.append(self._ledger.cancel(attempt, now))

    def finish_if_done(self, job: Job, now: float, commands: list[Command]) -> None:
        """Finish the job with its last result."""
        if job.items.is_finished and job.number in self._ledger.jobs:
            commands.append(FinishJob(job.number))
            self.close(job.number, now, commands)

    def close(self, number: int, now: float, commands: list[Command]) -> None:
        """End a job; its workers drop what they have of it."""
        job = self._ledger.close(number)
        if job is not None:
            for attempt in list(job.attempts.values()):
                commands.append(self._ledger.cancel(attempt, now))
