import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.core.chunking import (
    GROWTH,
    LARGEST_BYTES,
    LARGEST_ITEMS,
    TARGET_SECONDS,
    UNDIVIDED_SECONDS,
    guided_chunksize,
    measured_chunksize,
)

REMAINING = st.integers(1, 10**7)
WORKERS = st.integers(1, 2000)
COST = st.one_of(st.just(0.0), st.floats(1e-9, 1e4))
WEIGHT = st.one_of(st.just(0.0), st.floats(1e-3, 1e10))


def size(remaining, n_workers, largest_returned=1 << 20, seconds=0.0, weight=0.0, ended=True):
    return measured_chunksize(
        remaining,
        n_workers,
        largest_returned=largest_returned,
        seconds_per_item=seconds,
        bytes_per_item=weight,
        ended=ended,
    )


@given(REMAINING, WORKERS, st.integers(1, 10**6))
def test_guided_size_is_half_a_share_but_at_least_the_smallest(remaining, n_workers, smallest):
    n = guided_chunksize(remaining, n_workers, smallest)
    half_share = -(-remaining // (2 * n_workers))
    assert n == min(remaining, max(smallest, half_share))


@given(st.integers(1, 10**5), st.integers(1, 50))
def test_guided_chunks_shrink_and_use_everything_up(remaining, n_workers):
    sizes = []
    while remaining:
        sizes.append(guided_chunksize(remaining, n_workers))
        remaining -= sizes[-1]
    assert remaining == 0
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_guided_size_of_nothing_is_refused(arguments):
    with pytest.raises(ValueError, match="1 or more"):
        guided_chunksize(*arguments)


@given(REMAINING, WORKERS, st.integers(0, 10**6), COST, WEIGHT, st.booleans())
def test_measured_size_keeps_every_bound(remaining, n_workers, returned, seconds, weight, ended):
    n = size(remaining, n_workers, returned, seconds, weight, ended)
    assert 1 <= n <= min(remaining, LARGEST_ITEMS)
    assert n <= max(1, GROWTH * returned)
    assert n == 1 or n * seconds <= TARGET_SECONDS * (1 + 1e-9)
    assert n == 1 or n * weight <= LARGEST_BYTES * (1 + 1e-9)
    assert n <= -(-remaining // n_workers) or not ended or n * seconds <= UNDIVIDED_SECONDS


def test_the_first_chunk_is_one_item():
    assert size(10**6, 2, largest_returned=0) == 1


def test_chunks_grow_by_at_most_eight_times():
    returned, sizes = 0, []
    for _ in range(6):
        returned = size(10**9, 2, returned, seconds=1e-7)
        sizes.append(returned)
    assert sizes == [1, 8, 64, 512, 4096, 32768]


def test_chunks_aim_at_a_tenth_of_a_second():
    assert size(10**6, 2, seconds=0.001) == 100


def test_an_item_that_lasts_is_sent_alone():
    assert size(10**6, 2, seconds=0.4) == 1


def test_heavy_items_make_small_chunks():
    assert size(10**6, 2, weight=1 << 20) == 4
    assert size(10**6, 2, weight=1 << 30) == 1


def test_chunks_shrink_toward_the_end():
    assert [size(n, 4, seconds=0.001) for n in (1600, 800, 80, 8, 1)] == [100, 100, 10, 2, 1]


def test_tiny_items_are_not_sent_one_by_one():
    assert size(1000, 4, seconds=1e-5) == 200  # 2 ms of work, rather than half a share
    assert size(200, 4, seconds=1e-5) == 50  # a share: less than half a millisecond each
    assert size(30, 4, seconds=1e-5) == 30  # not worth a second frame


def test_while_more_is_to_come_a_worker_may_take_its_share():
    assert size(100, 4, seconds=1e-3, ended=True) == 13
    assert size(100, 4, seconds=1e-3, ended=False) == 25
