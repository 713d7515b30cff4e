"""How many items make a burst."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from seppo.worker.pace import BURST_SECONDS, LARGEST_BURST, Pace


def test_quick_bursts_grow_by_four_up_to_a_bound():
    pace = Pace()
    sizes = []
    for _ in range(12):
        sizes.append(pace.items)
        pace.learn(pace.items, 0.0)
    assert sizes[:4] == [1, 4, 16, 64]
    assert pace.items == LARGEST_BURST


def test_a_burst_cut_short_does_not_teach_growth():
    pace = Pace(64)
    pace.learn(3, 0.0)
    assert pace.items == 64


def test_a_slow_burst_shrinks_at_once():
    pace = Pace(1000)
    pace.learn(1000, 1000 * BURST_SECONDS)
    assert pace.items == 1
    pace = Pace(1000)
    pace.learn(1000, 10 * BURST_SECONDS)
    assert pace.items == 100


@given(st.integers(1, LARGEST_BURST), st.integers(1, LARGEST_BURST), st.floats(0, 1e6))
@settings(max_examples=50)
def test_the_pace_stays_within_its_bounds(items, ran, seconds):
    pace = Pace(items)
    pace.learn(ran, seconds)
    assert 1 <= pace.items <= LARGEST_BURST


def test_a_fitting_pace_stays():
    pace = Pace(50)
    pace.learn(50, BURST_SECONDS)
    assert pace.items == 50
