"""Lost workers: their items are sent again, run alone, or given up.

``recovery.judge`` decides, and ``Losses`` carries it out. An item that lost ``1 +
retries_on_loss`` workers is delivered as a ``LostItem``; all other items are finished.
A job that loses as many before any item runs fails: no item is to be blamed.
"""

from __future__ import annotations

from dataclasses import replace

from seppo.core.commands import Command, FailJob, LostItem, Unready
from seppo.core.events import WorkerLost
from seppo.core.job import Attempt, Job
from seppo.core.ledger import Ledger
from seppo.core.recovery import MISHAPS, Fate, Held, judge, may_try_again

LOSSES_TOLD = 20  # lines about lost workers that are kept for error messages


class Losses:
    """Deals with lost workers.

    Attributes:
        lines: One line for each lost worker, oldest first; the last ``LOSSES_TOLD``.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.lines: list[str] = []
        self._ledger = ledger

    def forget(self) -> None:
        """Forget the lines: the next job begins with none."""
        self.lines.clear()

    def worker_lost(self, event: WorkerLost, now: float, commands: list[Command]) -> None:
        """Forget a worker, and give everything that it held another place."""
        worker = self._ledger.crew.lose(event.worker, now)
        if worker is None:
            return
        verdict = event.verdict
        how = event.reason if verdict is None else verdict.how
        self.lines[:] = [*self.lines, f"{event.worker}: {how}"][-LOSSES_TOLD:]
        attempts = list(worker.attempts.values())
        for attempt in attempts:
            if attempt.is_shadow and attempt.job.items.take_back(attempt.position, attempt.stop):
                attempt.job.restore(attempt)  # nobody else has begun what it held
            self._ledger.end(attempt, now)
        nobody = verdict is not None and verdict.attempt is None
        if attempts and nobody and self._is_mishap_too_many(attempts[0]):
            verdict = None
        if verdict is not None and verdict.setup:
            verdict = replace(verdict, stop=verdict.first)  # none of these has begun
        held = [Held(a.number, a.position, a.stop, a.job.policy) for a in attempts]
        by_number = {attempt.number: attempt for attempt in attempts}
        for piece in judge(held, verdict):
            attempt = by_number[piece.attempt]
            lost = LostItem(event.worker, how, 1, piece.fate is Fate.TIMED_OUT)
            self._settle(attempt, piece.start, piece.stop, piece.fate, lost, now, commands)
        if verdict is not None and verdict.setup and verdict.attempt in by_number:
            job = by_number[verdict.attempt].job
            tries = job.incidents.count_unready()
            if not may_try_again(tries, job.policy) and job.number in self._ledger.jobs:
                unready = Unready(event.worker, verdict.setup, how, tries)
                self.fail(job, now, commands, unready=unready)

    def _is_mishap_too_many(self, attempt: Attempt) -> bool:
        """Count a loss with nothing running; return whether there were too many for chance.

        A function that kills workers while it is unpacked, say, is never seen running.
        """
        return attempt.job.incidents.count_mishap(attempt.position) > MISHAPS

    def _settle(
        self,
        attempt: Attempt,
        start: int,
        stop: int,
        fate: Fate,
        lost: LostItem,
        now: float,
        commands: list[Command],
    ) -> None:
        """Carry out the fate of items of a lost worker."""
        job = attempt.job
        if fate is Fate.TIMED_OUT or fate is Fate.BEGUN:
            for index in range(start, stop):
                tries = job.incidents.give_up(index) + 1
                self._give_up(job, index, replace(lost, tries=tries), now, commands)
        elif attempt.is_shadow:
            pass  # another attempt runs the items, and counts: see ``watch``
        elif fate is Fate.TRIED:
            for index in range(start, stop):
                self._blame(job, index, lost, now, commands)
        else:
            self._ledger.put_back(job, start, stop, suspect=fate is Fate.ALONE)

    def _blame(
        self, job: Job, index: int, lost: LostItem, now: float, commands: list[Command]
    ) -> None:
        """Count the loss of an item that was running; give it up after too many."""
        if job.items.is_known(index, index + 1):
            return
        tries = job.incidents.count_loss(index)
        if may_try_again(tries, job.policy):
            self._ledger.put_back(job, index, index + 1, suspect=True)
        else:
            job.incidents.give_up(index, is_guilty=True)
            self._give_up(job, index, replace(lost, tries=tries), now, commands)

    def fail(
        self,
        job: Job,
        now: float,
        commands: list[Command],
        timed_out: bool = False,
        unready: Unready | None = None,
    ) -> None:
        """End a job that cannot go on."""
        items, losses = job.items, tuple(self.lines)
        undone = items.offered - items.n_done if items.ended else None
        delivered = items.results.released
        commands.append(FailJob(job.number, delivered, undone, losses, timed_out, unready))
        self._ledger.close(job.number, now, commands)

    def _give_up(
        self, job: Job, index: int, lost: LostItem, now: float, commands: list[Command]
    ) -> None:
        if job.items.is_known(index, index + 1):
            return
        self._ledger.deliver(job, index, 1, lost, commands)
        self._ledger.drop_twins(job, index, index + 1, now, commands)
        self._ledger.finish_if_done(job, now, commands)
