from hypothesis import given
from hypothesis import strategies as st

from seppo.core.reorder import Part, Reorder

N = 30
RESULTS = st.lists(st.tuples(st.integers(0, N - 1), st.integers(1, 8)), max_size=40)


def values(parts):
    """The released items as (index, value); every payload is a list of values."""
    return [(p.index + i, p.payload[p.offset + i]) for p in parts for i in range(p.count)]


@given(RESULTS, st.booleans())
def test_each_item_is_released_once_with_its_first_result(results, ordered):
    reorder, oracle, released = Reorder(ordered), {}, []
    for number, (start, count) in enumerate(results):
        payload = [(number, start + i) for i in range(count)]
        for index, value in zip(range(start, start + count), payload, strict=True):
            oracle.setdefault(index, value)
        released += values(reorder.add(start, count, payload))
        if ordered:  # all that follow each other from 0 on, and no more
            head = next(index for index in range(N + 9) if index not in oracle)
            assert released == [(index, oracle[index]) for index in range(head)]
            assert reorder.head == head
        else:
            assert sorted(released) == sorted(oracle.items())
        assert reorder.released == len(released)
        assert len(reorder.known) == len(oracle)


def test_results_wait_for_the_head():
    reorder = Reorder()
    assert reorder.add(2, 2, "cd") == []
    assert reorder.add(0, 2, "ab") == [Part(0, 2, "ab", 0), Part(2, 2, "cd", 0)]


def test_unordered_results_do_not_wait():
    reorder = Reorder(ordered=False)
    assert reorder.add(2, 2, "cd") == [Part(2, 2, "cd", 0)]
    assert reorder.add(0, 2, "ab") == [Part(0, 2, "ab", 0)]


def test_a_twin_is_dropped():
    reorder = Reorder()
    assert reorder.add(0, 2, "ab") == [Part(0, 2, "ab", 0)]
    assert reorder.add(0, 2, "AB") == []


def test_a_twin_of_some_items_is_cut_down_to_the_others():
    reorder = Reorder()
    reorder.add(1, 2, "bc")
    assert reorder.add(0, 4, "ABCD") == [
        Part(0, 1, "ABCD", 0),
        Part(1, 2, "bc", 0),
        Part(3, 1, "ABCD", 3),
    ]
