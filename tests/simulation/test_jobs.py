"""Simulated jobs that are not alike, and what share of the workers' time each had."""

import pytest
from simulated import SimulatedCluster, SimulatedJob, SimulationError
from simulated.shares import ShareRecord

from seppo.core.events import Policy


def test_jobs_have_items_costs_and_beginnings_of_their_own():
    jobs = [SimulatedJob(10, lambda index: 1.0), SimulatedJob(4, lambda index: 0.5, opens_at=20.0)]
    report = SimulatedCluster(jobs=jobs, n_workers=2).run()
    assert (report.n_delivered, report.n_runs) == (14, 14)
    assert 21.0 <= report.makespan < 21.1


def test_calls_come_in_bursts_and_the_next_when_all_are_answered():
    policy = Policy(ordered=False, taken_on_delivery=True)
    executor = SimulatedJob(12, lambda index: 1.0, policy, burst=4, pause=5.0)
    report = SimulatedCluster(jobs=[executor], n_workers=4).run()
    assert report.n_delivered == 12
    assert 13.0 <= report.makespan < 13.1


def test_callers_leave_at_a_time():
    day = SimulatedCluster(10**6, lambda index: 1.0, n_workers=4, leave_at=10.5)
    report = day.run()
    assert (report.makespan, report.n_delivered) == (10.5, 40)


class Asking:
    """A caller that always has work."""

    is_waiting = True

    def __init__(self, job):
        self.job = job


def record(*shares, seconds=0.5, n_items=100):
    """Return the record of jobs that had these parts of one worker's time."""
    shared = ShareRecord([Asking(job) for job, _ in enumerate(shares)])
    for number in range(n_items):
        now = (number + 1) * seconds
        shared.pass_to(now)
        for job, part in enumerate(shares):
            if (number + 1) * part % 1 < part:
                shared.ran(job, now, seconds)
    return shared


def raise_error(what):
    raise SimulationError(what, 0, ())


def test_even_shares_are_not_complained_about():
    assert record(0.5, 0.5, 0.4).check(1, raise_error) > 100


def test_uneven_shares_are():
    with pytest.raises(SimulationError, match="jobs 0 and 1 had"):
        record(0.8, 0.3).check(1, raise_error)


def test_who_did_not_always_have_work_is_not_compared():
    shared = record(0.8, 0.3)
    for caller in shared._callers:
        caller.is_waiting = caller.job != 1
    shared._now = 0.0
    shared.pass_to(50.0)
    assert shared.check(1, raise_error) == 0


def test_long_items_may_make_a_difference_of_one():
    assert record(1.0, 0.0, seconds=10.0, n_items=5).check(1, raise_error) > 0
    with pytest.raises(SimulationError):
        record(1.0, 0.0, seconds=7.0, n_items=8).check(1, raise_error)
