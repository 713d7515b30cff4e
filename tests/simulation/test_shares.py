"""Days of several jobs: those that always have work share the workers evenly.

Items of a job take microseconds or seconds, alike, mixed or changing; jobs come late, and
executors are idle for a while. What a rule of sharing is good for is shown by leaving it out:
some day tells.
"""

import pytest
from days import shared_day
from mutants import with_part
from simulated import SimulationError

from seppo.core.account import Account
from seppo.core.assignment import Assignment
from seppo.core.recall import Recalls
from seppo.core.scheduler import Scheduler
from seppo.core.shares import Shares

SEEDS = 30  # within which a mistake must show


@pytest.mark.parametrize("block", range(10))
def test_jobs_that_always_have_work_have_even_shares(block):
    n_compared = 0
    for seed in range(3 * block, 3 * block + 3):
        day = shared_day(seed)
        day.run()
        n_compared += day.shares.check(day.n_workers, day.fail)
    assert n_compared > 20


class LeavesHalfBusyWorkersToShortItems(Assignment):
    def _fill_half(self, ready, now, commands):
        super()._fill_half([job for job in ready if job.cost.is_quick], now, commands)


class BeginsLevelWithTheIdle(Shares):
    def _level(self, asking, now):
        return min(job.account.spent for job in self._ledger.jobs.values())


class ForgetsWhatRunsOn(Shares):
    def _charge_overdue(self, now):
        pass


class LeavesLongChunksWhereTheyAre(Recalls):
    def _for_other_jobs(self, now, commands):
        pass


class BelievesEstimates(Scheduler):
    """Never learns what items took that are done."""

    def handle(self, event, now):
        for job in self._jobs.values():
            job.account.__class__ = BelievingAccount
        return super().handle(event, now)


class BelievingAccount(Account):
    def pay(self, seconds):
        pass

    def keep(self, attempt, part):
        pass

    def drop(self, attempt):
        self.spent += self.charge_of(attempt)
        super().drop(attempt)


class GivesBackAtTodaysPrice(Scheduler):
    def _rest_returned(self, event, now):
        attempt = self._attempts.get(event.attempt)
        if attempt is not None:
            account, number = attempt.job.account, attempt.number
            charge, size = account.charge_of(number), attempt.size
        super()._rest_returned(event, now)
        if attempt is not None:
            given_back = charge - account.charge_of(number)
            account.spent += given_back - (size - attempt.size) * attempt.job.cost.seconds


MUTANTS = [
    with_part("_assignment", LeavesHalfBusyWorkersToShortItems),
    with_part("_shares", BeginsLevelWithTheIdle),
    with_part("_shares", ForgetsWhatRunsOn),
    with_part("_recall", LeavesLongChunksWhereTheyAre),
    BelievesEstimates,
    GivesBackAtTodaysPrice,
]


def complaints(mutant):
    """Give what some days say about a mutant."""
    for seed in range(SEEDS):
        day = shared_day(seed, scheduler=mutant())
        if day.n_workers < 6:  # the others take long
            day.run()
            try:
                day.shares.check(day.n_workers, day.fail)
            except SimulationError as error:
                yield error


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_without_any_of_the_rules_shares_are_uneven(mutant):
    assert "had" in next(complaints(mutant)).what
