import pytest

from seppo.core.events import Policy
from seppo.core.job import Attempt, Job


def begin(job, number, worker, start, stop):
    attempt = Attempt(number, job, worker, start, stop, position=start, progress_at=0.0)
    job.begin(attempt)
    return attempt


def test_max_workers_lets_only_so_many_in():
    job = Job(1, Policy(max_workers=2))
    assert job.takes_worker("a")
    for number, worker in enumerate("abb"):
        begin(job, number, worker, number, number + 1)
    assert job.is_at_limit
    assert job.takes_worker("a")
    assert not job.takes_worker("c")


def test_a_worker_counts_until_its_last_chunk_has_ended():
    job = Job(1, Policy())
    first, second = begin(job, 1, "a", 0, 5), begin(job, 2, "a", 5, 9)
    job.end(first)
    assert job.chunks_at == {"a": 1}
    job.end(second)
    assert job.chunks_at == {}
    assert job.account.served == 0.0


def test_what_a_silent_worker_holds_is_neither_counted_nor_charged():
    job = Job(1, Policy())
    first, second = begin(job, 1, "a", 0, 5), begin(job, 2, "b", 5, 9)
    charged = job.account.charge_of(2)
    job.discount(first)
    assert job.chunks_at == {"b": 1}
    assert job.account.served == charged
    job.end(first)
    assert job.chunks_at == {"b": 1}
    job.discount(second)
    job.count(second)  # it was heard again
    assert job.chunks_at == {"b": 1}
    assert job.account.served == charged


def test_a_shadow_that_ends_is_forgotten():
    job = Job(1, Policy())
    attempt = begin(job, 1, "a", 0, 1)
    job.shadow(attempt)
    assert attempt.is_shadow
    job.restore(attempt)
    assert (attempt.is_shadow, job.shadows) == (False, {})
    job.shadow(attempt)
    job.end(attempt)
    assert (job.attempts, job.shadows) == ({}, {})


def test_a_job_wants_a_worker_for_each_item_without_a_result():
    job = Job(1, Policy(max_workers=3))
    job.items.offer(5, last=False, now=0.0)
    assert job.demand == 3
    job.items.deliver(0, 4, "abcd")
    assert job.demand == 1


def test_an_attempt_is_as_large_as_what_is_missing_of_it():
    attempt = Attempt(1, Job(1, Policy()), "a", 10, 20, position=14, progress_at=0.0)
    assert attempt.size == 6
    attempt.advance(2, now=3.0)
    attempt.shorten(18)
    assert (attempt.size, attempt.progress_at) == (2, 3.0)


def test_what_is_reckoned_to_be_unbegun_shrinks_while_the_chunk_runs():
    job = Job(1, Policy())
    attempt = Attempt(1, job, "a", 0, 10, position=0, progress_at=0.0)
    job.cost.measure(1, 1.0, 0, returned=1)
    assert [attempt.seconds_unbegun(now) for now in (0.0, 2.5, 9.5)] == [9.0, 7.0, 0.0]
    assert attempt.seconds_unbegun(30.0) == 30.0  # slower than expected
    assert attempt.seconds_overdue(9.0) == 0.0
    assert attempt.seconds_overdue(12.0) == pytest.approx(2.0)
