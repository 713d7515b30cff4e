from hypothesis import given
from hypothesis import strategies as st

from seppo.core.cost import Cost
from seppo.core.events import Policy
from seppo.core.items import Items


def open_items(offered=100, cost=None, **policy):
    items = Items(Policy(**policy), cost or Cost())
    items.offer(offered, last=False, now=0.0)
    return items


def cut_all(items, n_workers=2):
    chunks = []
    while items.has_work(n_workers):
        chunks.append(items.cut(n_workers)[:2])
    return chunks


def test_a_job_is_finished_when_no_more_comes_and_all_is_delivered():
    items = open_items(2)
    items.deliver(0, 2, "ab")
    assert not items.is_finished
    items.end()
    assert items.is_finished


def test_a_result_that_waits_for_the_head_does_not_finish_the_job():
    items = open_items(2)
    items.end()
    items.deliver(1, 1, "b")
    assert not items.is_finished


def test_fixed_chunksize_is_kept_to_the_end():
    assert cut_all(open_items(10, chunksize=4)) == [(0, 4), (4, 8), (8, 10)]


def test_the_first_chunks_are_single_items():
    assert cut_all(open_items(3)) == [(0, 1), (1, 2), (2, 3)]


def test_suspects_come_first_and_alone_then_the_lowest_index():
    items = open_items(20, chunksize=5)
    assert [items.cut(2)[:2] for _ in range(3)] == [(0, 5), (5, 10), (10, 15)]
    items.put_back(0, 3, suspect=True)
    items.put_back(5, 10)
    assert cut_all(items) == [(0, 1), (1, 2), (2, 3), (5, 10), (15, 20)]


def test_items_whose_result_is_known_are_not_put_back():
    items = open_items(10, chunksize=10)
    items.cut(1)
    items.deliver(2, 3, "cde")
    items.put_back(0, 6)
    items.put_back(6, 10, suspect=True)
    assert list(items.retry) == [(0, 2), (5, 6)]
    assert list(items.suspects) == [(6, 10)]


def test_no_more_than_max_ahead_items_are_handed_out_beyond_those_taken():
    items = open_items(100, chunksize=1, max_ahead=3)
    assert cut_all(items) == [(0, 1), (1, 2), (2, 3)]
    items.take(2)
    assert cut_all(items) == [(3, 4), (4, 5)]


def test_lost_items_are_admitted_beyond_max_ahead():
    items = open_items(100, chunksize=4, max_ahead=4)
    assert cut_all(items) == [(0, 4)]
    items.put_back(0, 4)
    assert cut_all(items) == [(0, 4)]


def test_results_that_wait_count_by_their_weight():
    cost = Cost()
    items = open_items(100, cost, chunksize=1, max_ahead_bytes=1000)
    items.cut(2)
    cost.weigh(1, 0)
    cost.measure(1, 0.01, 300, returned=1)
    items.deliver(0, 1, "a")
    assert cut_all(items) == [(1, 2), (2, 3)]
    items.take(1)
    assert cut_all(items) == [(3, 4)]


def test_items_on_their_way_count_by_their_weight():
    cost = Cost()
    items = open_items(100, cost, chunksize=1, max_ahead_bytes=1000)
    items.cut(2)
    cost.weigh(1, 400)
    assert cut_all(items) == [(1, 2)]


def test_one_item_is_admitted_however_heavy_when_nothing_is_undelivered():
    cost = Cost()
    items = open_items(3, cost, chunksize=1, max_ahead_bytes=10)
    items.cut(1)
    cost.weigh(1, 1 << 40)
    items.deliver(0, 1, "a")
    cost.measure(1, 0.1, 1 << 40, returned=1)
    assert not items.has_work(1)
    items.take(1)
    assert cut_all(items, 1) == [(1, 2)]


def test_one_item_for_each_worker_is_admitted_however_heavy():
    cost = Cost()
    items = open_items(100, cost, chunksize=1, max_ahead_bytes=64)
    cost.weigh(1, 40 << 20)
    cost.measure(1, 0.1, 7, returned=1)
    assert cut_all(items, 4) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    items.deliver(1, 3, "bcd")  # which weigh little, and wait for the first one
    assert cut_all(items, 4) == [(4, 5), (5, 6)]


def test_no_more_heavy_items_are_admitted_than_workers_may_work():
    cost = Cost()
    items = open_items(100, cost, chunksize=1, max_ahead_bytes=64, max_workers=2)
    cost.weigh(1, 40 << 20)
    assert cut_all(items, 9) == [(0, 1), (1, 2)]


def test_heavy_results_that_nobody_takes_are_as_many_as_workers_at_most():
    cost = Cost()
    items = open_items(100, cost, chunksize=1, max_ahead_bytes=64)
    cost.measure(1, 0.1, 40 << 20, returned=1)
    assert len(cut_all(items, 3)) == 3
    items.deliver(0, 3, "abc")
    assert cut_all(items, 3) == []


def test_items_that_lie_in_memory_anyway_are_not_counted():
    cost = Cost()
    items = open_items(100, cost, chunksize=1, max_ahead_bytes=1000, keeps_input=True)
    cost.weigh(1, 40 << 20)
    cost.measure(1, 0.1, 100, returned=1)
    assert len(cut_all(items)) == 10


@given(
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(1, 8),
)
def test_bounds_never_stop_a_job_for_good(n_items, max_ahead, limit, weight_in, weight_out, n):
    cost = Cost()
    items = open_items(n_items, cost, max_ahead=max_ahead, max_ahead_bytes=limit)
    items.end()
    for _ in range(n_items):
        chunks = cut_all(items, n)
        assert items.next_index - items.taken <= max_ahead
        for start, stop in reversed(chunks):
            cost.weigh(stop - start, weight_in * (stop - start))
            cost.measure(stop - start, 0.001, weight_out * (stop - start), returned=stop - start)
            items.deliver(start, stop - start, None)
        items.take(items.results.released - items.taken)
        if items.is_finished:
            break
    assert items.is_finished


def test_chunks_are_shared_among_max_workers_only():
    cost = Cost()
    items = open_items(1000, cost, max_workers=2)
    items.end()
    cost.measure(1000, 0.0, 0, returned=1000)
    assert items.cut(500)[:2] == (0, 250)


def test_the_wait_of_a_job_begins_when_an_item_is_offered_and_none_was_left():
    items = Items(Policy(), Cost(), now=1.0)
    items.offer(2, last=False, now=5.0)
    items.offer(2, last=False, now=6.0)
    assert items.pending_since == 5.0
    items.cut(1)
    items.deliver(0, 4, "abcd")
    assert not items.is_pending
    items.offer(1, last=True, now=7.0)
    assert items.pending_since == 7.0


def test_doubtful_items_come_last_and_are_no_certain_work():
    items = open_items(6, chunksize=2)
    items.cut(1)
    items.put_back(0, 2, doubtful=True)
    assert cut_all(items) == [(2, 4), (4, 6), (0, 2)]
    items.put_back(0, 2, doubtful=True)
    assert items.has_work(1)
    assert not items.has_certain_work(1)
    assert items.n_waiting(1) == 2


def test_items_are_taken_back_together_or_not_at_all():
    items = open_items(6, chunksize=6)
    items.cut(1)
    items.put_back(0, 6, doubtful=True)
    items.deliver(1, 1, "b")
    items.drop_waiting(1, 2)
    assert items.take_back(0, 3)  # of the one whose result is here nothing is needed
    assert list(items.doubtful) == [(3, 6)]
    assert not items.take_back(2, 4)
    assert list(items.doubtful) == [(3, 6)]


def test_what_is_left_to_the_caller_is_not_handed_out():
    items = open_items(4, chunksize=1)
    items.cut(1)
    items.put_back(0, 1)
    items.leave_to_caller()
    assert items.runs_here
    assert not items.has_work(1)


def test_results_that_count_as_taken_on_delivery_make_room_at_once():
    items = open_items(4, chunksize=1, max_ahead=1, taken_on_delivery=True)
    assert cut_all(items) == [(0, 1)]
    items.deliver(0, 1, "a")
    assert cut_all(items) == [(1, 2)]
