import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.core.spans import SpanSet

SPANS = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda s: (s[0], s[0] + s[1]))
ACTIONS = st.lists(st.tuples(st.sampled_from(["add", "discard", "missing"]), SPANS), max_size=40)


def indexes(spans):
    return [index for start, stop in spans for index in range(start, stop)]


def are_apart(spans):
    """Whether the spans are in order, not empty, and do not touch."""
    return all(a < b for a, b in spans) and all(
        spans[i][1] < spans[i + 1][0] for i in range(len(spans) - 1)
    )


@given(ACTIONS)
def test_does_what_a_set_does(actions):
    spans, oracle = SpanSet(), set()
    for action, (start, stop) in actions:
        inside = set(range(start, stop))
        if action == "add":
            assert indexes(spans.add(start, stop)) == sorted(inside - oracle)
            oracle |= inside
        elif action == "discard":
            spans.discard(start, stop)
            oracle -= inside
        else:
            assert indexes(spans.missing(start, stop)) == sorted(inside - oracle)
        assert indexes(spans) == sorted(oracle)
        assert are_apart(list(spans))
        assert len(spans) == len(oracle)
        assert bool(spans) == bool(oracle)
        assert all((index in spans) == (index in oracle) for index in range(-1, 54))
        if oracle:
            assert spans.first() == next(iter(spans))


def test_neighbours_become_one_span():
    spans = SpanSet()
    spans.add(0, 2)
    spans.add(4, 6)
    spans.add(2, 4)
    assert list(spans) == [(0, 6)]


def test_taking_out_of_the_middle_leaves_two_spans():
    spans = SpanSet()
    spans.add(0, 9)
    spans.discard(3, 5)
    assert list(spans) == [(0, 3), (5, 9)]


def test_an_empty_set_has_no_first_span():
    with pytest.raises(IndexError):
        SpanSet().first()


def test_clear_takes_everything_out():
    spans = SpanSet()
    spans.add(0, 3)
    spans.add(7, 9)
    spans.clear()
    assert (list(spans), len(spans), bool(spans)) == ([], 0, False)
