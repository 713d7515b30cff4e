import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.core.events import Policy
from seppo.core.job import Attempt, Job


def open_job(offered=100, **policy):
    job = Job(1, Policy(**policy))
    job.offered = offered
    return job


def cut_all(job, n_workers=2):
    chunks = []
    while job.has_work(n_workers):
        chunks.append(job.cut(n_workers)[:2])
    return chunks


def test_a_job_is_finished_when_no_more_comes_and_all_is_delivered():
    job = open_job(2)
    job.reorder.add(0, 2, "ab")
    assert not job.is_finished
    job.ended = True
    assert job.is_finished


def test_a_result_that_waits_for_the_head_does_not_finish_the_job():
    job = open_job(2)
    job.ended = True
    job.reorder.add(1, 1, "b")
    assert not job.is_finished


def test_fixed_chunksize_is_kept_to_the_end():
    assert cut_all(open_job(10, chunksize=4)) == [(0, 4), (4, 8), (8, 10)]


def test_the_first_chunks_are_single_items():
    assert cut_all(open_job(3)) == [(0, 1), (1, 2), (2, 3)]


def test_suspects_come_first_and_alone_then_the_lowest_index():
    job = open_job(20, chunksize=5)
    assert [job.cut(2)[:2] for _ in range(3)] == [(0, 5), (5, 10), (10, 15)]
    job.put_back(0, 3, suspect=True)
    job.put_back(5, 10)
    assert cut_all(job) == [(0, 1), (1, 2), (2, 3), (5, 10), (15, 20)]


def test_items_whose_result_is_known_are_not_put_back():
    job = open_job(10, chunksize=10)
    job.cut(1)
    job.reorder.add(2, 3, "cde")
    job.put_back(0, 6)
    job.put_back(6, 10, suspect=True)
    assert list(job.retry) == [(0, 2), (5, 6)]
    assert list(job.suspects) == [(6, 10)]


def test_no_more_than_max_ahead_items_are_handed_out_beyond_those_taken():
    job = open_job(100, chunksize=1, max_ahead=3)
    assert cut_all(job) == [(0, 1), (1, 2), (2, 3)]
    job.taken = 2
    assert cut_all(job) == [(3, 4), (4, 5)]


def test_lost_items_are_admitted_beyond_max_ahead():
    job = open_job(100, chunksize=4, max_ahead=4)
    assert cut_all(job) == [(0, 4)]
    job.put_back(0, 4)
    assert cut_all(job) == [(0, 4)]


def test_results_that_wait_count_by_their_weight():
    job = open_job(100, chunksize=1, max_ahead_bytes=1000)
    job.cut(2)
    job.weigh(1, 0)
    job.measure(1, 0.01, 300)
    job.reorder.add(0, 1, "a")
    assert cut_all(job) == [(1, 2), (2, 3)]
    job.taken = 1
    assert cut_all(job) == [(3, 4)]


def test_items_on_their_way_count_by_their_weight():
    job = open_job(100, chunksize=1, max_ahead_bytes=1000)
    job.cut(2)
    job.weigh(1, 400)
    assert cut_all(job) == [(1, 2)]


def test_one_item_is_admitted_however_heavy_when_nothing_is_undelivered():
    job = open_job(3, chunksize=1, max_ahead_bytes=10)
    job.cut(1)
    job.weigh(1, 1 << 40)
    job.reorder.add(0, 1, "a")
    job.measure(1, 0.1, 1 << 40)
    assert not job.has_work(1)
    job.taken = 1
    assert cut_all(job, 1) == [(1, 2)]


def test_one_item_for_each_worker_is_admitted_however_heavy():
    job = open_job(100, chunksize=1, max_ahead_bytes=64)
    job.weigh(1, 40 << 20)
    job.measure(1, 0.1, 7)
    assert cut_all(job, 4) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    job.reorder.add(1, 3, "bcd")  # which weigh little, and wait for the first one
    assert cut_all(job, 4) == [(4, 5), (5, 6)]


def test_no_more_heavy_items_are_admitted_than_workers_may_work():
    job = open_job(100, chunksize=1, max_ahead_bytes=64, max_workers=2)
    job.weigh(1, 40 << 20)
    assert cut_all(job, 9) == [(0, 1), (1, 2)]


def test_heavy_results_that_nobody_takes_are_as_many_as_workers_at_most():
    job = open_job(100, chunksize=1, max_ahead_bytes=64)
    job.measure(1, 0.1, 40 << 20)
    assert len(cut_all(job, 3)) == 3
    job.reorder.add(0, 3, "abc")
    assert cut_all(job, 3) == []


def test_items_that_lie_in_memory_anyway_are_not_counted():
    job = open_job(100, chunksize=1, max_ahead_bytes=1000, keeps_input=True)
    job.weigh(1, 40 << 20)
    job.measure(1, 0.1, 100)
    assert len(cut_all(job)) == 10


@given(
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 8),
)
def test_bounds_never_stop_a_job_for_good(n_items, max_ahead, limit, weight_in, weight_out, n):
    job = open_job(n_items, max_ahead=max_ahead, max_ahead_bytes=limit)
    job.ended = True
    for _ in range(n_items):
        chunks = cut_all(job, n)
        assert job.next_index - job.taken <= max_ahead
        for start, stop in reversed(chunks):
            job.weigh(stop - start, weight_in * (stop - start))
            job.measure(stop - start, 0.001, weight_out * (stop - start))
            job.largest_returned = max(job.largest_returned, stop - start)
            job.reorder.add(start, stop - start, None)
        job.taken = job.reorder.released
        if job.is_finished:
            break
    assert job.is_finished


def test_max_workers_lets_only_so_many_in():
    job = open_job(max_workers=2)
    assert job.takes_worker("a")
    job.chunks_at = {"a": 1, "b": 2}
    assert job.takes_worker("a")
    assert not job.takes_worker("c")


def test_chunks_are_shared_among_max_workers_only():
    job = open_job(1000, max_workers=2)
    job.ended = True
    job.largest_returned = 1000
    assert job.cut(500)[:2] == (0, 250)


def test_long_items_are_not_queued_behind_each_other():
    job = open_job()
    assert not job.is_quick  # nothing is known yet
    job.measure(10, 0.1, 0)
    assert job.is_quick
    job.measure(1, 5.0, 0)
    assert not job.is_quick


def test_costs_are_running_means():
    job = open_job()
    job.measure(2, 4.0, 200)
    job.largest_returned = 2
    job.measure(1, 1.0, 200)
    job.weigh(4, 40)
    assert (job.seconds_per_item, job.bytes_out, job.bytes_in) == (1.5, 150.0, 10.0)


def test_the_largest_chunk_yet_decides_what_an_item_costs():
    job = open_job()
    job.measure(1, 0.1, 10)
    job.largest_returned = 1
    job.measure(8, 0.0008, 80)
    assert job.seconds_per_item == pytest.approx(0.0001)


def test_a_few_microseconds_say_little_about_an_item():
    job = open_job()
    job.measure(10_000, 0.001, 10)
    job.largest_returned = 10_000
    job.measure(1, 0.00001, 10)
    assert job.seconds_per_item == pytest.approx(1e-7, rel=0.6)


def test_an_attempt_is_as_large_as_what_is_missing_of_it():
    attempt = Attempt(1, open_job(), "a", 10, 20, position=14, progress_at=0.0)
    assert attempt.size == 6
