"""Where items come from: slices in place, and streams packed as they come."""

from __future__ import annotations

import logging
import pickle
import weakref

import hostile
import numpy as np
import pytest

from seppo.values.batch import WHOLE, unpack_all
from seppo.values.function import pack_function
from seppo.values.outcome import Failure
from seppo.values.serialize import OUT_OF_BAND, load
from seppo.values.source import (
    PackedCall,
    SequenceSource,
    StreamSource,
    TaskSource,
    is_sliceable,
    run_task,
)
from seppo.wire.packed import Batch

FUNCTION = pack_function(len)


def values(batch: Batch) -> list:
    return unpack_all(batch, lambda i: f"number {i}")


def size(batch: Batch) -> int:
    return sum(map(len, batch.parts))


@pytest.mark.parametrize(
    "column",
    [[1, 2, 3, 4, 5], (1, "b", None, [4], 5), range(0, 50, 10), "abcde", b"abcde"],
    ids=["list", "tuple", "range", "str", "bytes"],
)
def test_slices_are_what_iterating_yields(column):
    assert is_sliceable(column)
    source = SequenceSource(FUNCTION, [column])
    expected = list(column)
    for start, stop in [(0, 5), (1, 3), (4, 5)]:
        (batch,) = source.pack(start, stop)
        assert batch.count == stop - start
        assert values(batch) == expected[start:stop]


def test_several_columns_give_a_batch_each():
    source = SequenceSource(FUNCTION, [[1, 2, 3], "abc", range(3)])
    assert [values(batch) for batch in source.pack(1, 3)] == [[2, 3], ["b", "c"], [1, 2]]


def test_a_slice_of_a_range_costs_the_same_however_long_it_is():
    source = SequenceSource(FUNCTION, [range(10**9)])
    (long,), (short,) = source.pack(0, 10**8), source.pack(0, 10)
    assert size(long) - size(short) < 10


@pytest.mark.parametrize("dtype", ["f8", "i4", "c16", "M8[s]", "S5", "U3", "bool"])
def test_a_block_of_an_array_gives_its_elements(dtype):
    array = np.arange(20).astype("i8").astype(dtype)
    assert is_sliceable(array)
    (batch,) = SequenceSource(FUNCTION, [array]).pack(5, 15)
    assert batch.kind == WHOLE
    got = values(batch)
    assert got == list(array[5:15])
    assert all(type(a) is type(b) for a, b in zip(got, array, strict=False))


def test_a_large_block_is_a_view_of_the_callers_memory():
    array = np.zeros((100, OUT_OF_BAND // 8))
    (batch,) = SequenceSource(FUNCTION, [array]).pack(10, 20)
    assert np.shares_memory(np.frombuffer(batch.parts[1]), array)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "b", None, [4]], dtype=object),
        np.array([(1, None), (2, "x")], dtype=[("a", "i4"), ("b", object)]),
    ],
    ids=["objects", "fields of objects"],
)
def test_arrays_of_objects_are_packed_element_by_element(array):
    (batch,) = SequenceSource(FUNCTION, [array]).pack(0, len(array))
    assert values(batch) == list(array)


def test_a_bad_object_in_an_array_costs_only_itself():
    array = np.array([1, hostile.RaisesAtPickling(), 3], dtype=object)
    (batch,) = SequenceSource(FUNCTION, [array]).pack(0, 3)
    got = values(batch)
    assert (got[0], got[2]) == (1, 3)
    assert "item 1" in got[1].text


def test_what_is_not_exactly_known_is_not_sliced():
    class MyList(list):
        def __iter__(self):
            return iter(["something else"])

    for column in (
        MyList([1]),
        iter([1]),
        {1: 2},
        {1, 2},
        np.array(5),
        np.ma.array([1]),
        bytearray(3),
    ):
        assert not is_sliceable(column)


def test_bad_items_are_named_by_their_place_in_the_input():
    source = SequenceSource(FUNCTION, [[0] * 10 + [hostile.RaisesAtPickling(), [1]]])
    (batch,) = source.pack(9, 12)
    got = values(batch)
    assert got[0] == 0
    assert "item 10" in got[1].text
    assert got[2] == [1]


def test_a_list_that_shrinks_under_way_fails_its_items_and_says_so():
    column = [1, 2, 3, 4]
    source = SequenceSource(FUNCTION, [column])
    del column[2:]
    (batch,) = source.pack(1, 4)
    got = values(batch)
    assert [type(value) for value in got] == [Failure] * 3
    assert "shrunk to 2 items" in str(got[0].to_exception(1, "w"))


class Slicing(list):
    """A column whose slicing runs user code."""

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__([1, 2])
        self.kind = kind

    def __getitem__(self, where):
        raise self.kind("when sliced")


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit])
def test_packing_never_raises(kind, caplog):
    with caplog.at_level(logging.INFO):
        (batch,) = SequenceSource(FUNCTION, [Slicing(kind)]).pack(0, 2)
    assert [value.text for value in values(batch)] == ["when sliced"] * 2


# --- streams


def test_a_stream_gives_what_was_added():
    source = StreamSource(FUNCTION, 2)
    rows = [(1, "a"), (2, [3]), ([4], None), (hostile.Oops, 5)]
    for index, row in enumerate(rows):
        source.add(index, row)
    first, second = source.pack(0, 4)
    assert values(first) == [1, 2, [4], hostile.Oops]
    assert values(second) == ["a", [3], None, 5]
    assert values(source.pack(1, 2)[0]) == [2]


def test_plain_rows_stay_cheap():
    source = StreamSource(FUNCTION, 1)
    for index in range(100):
        source.add(index, (index,))
    (batch,) = source.pack(0, 100)
    assert batch.kind == WHOLE


@pytest.mark.parametrize("length", [10, OUT_OF_BAND])
def test_a_buffer_that_is_used_again_is_safe(length):
    source = StreamSource(FUNCTION, 1)
    buffer = np.zeros(length)
    for index in range(3):
        buffer[:] = index
        source.add(index, (buffer,))
    buffer[:] = -1
    (batch,) = source.pack(0, 3)
    assert [array[0] for array in values(batch)] == [0, 1, 2]


def test_an_item_that_cannot_be_packed_costs_only_itself():
    source = StreamSource(FUNCTION, 1)
    for index, value in enumerate([[0], hostile.RaisesAtPickling(SystemExit), [2]]):
        source.add(index, (value,))
    got = values(source.pack(0, 3)[0])
    assert (got[0], got[2]) == ([0], [2])
    assert "item 1" in got[1].text


def test_items_can_be_packed_again_until_they_are_dropped():
    source = StreamSource(FUNCTION, 1)
    for index in range(4):
        source.add(index, ([index],))
    assert values(source.pack(1, 3)[0]) == values(source.pack(1, 3)[0]) == [[1], [2]]
    source.drop(0, 2)
    source.drop(0, 2)  # a second time is no harm
    assert values(source.pack(2, 4)[0]) == [[2], [3]]
    with pytest.raises(KeyError):
        source.pack(0, 1)


# --- single calls


def test_calls_are_packed_when_they_are_added():
    source = TaskSource(lambda index: True)
    numbers = [1, 2]
    source.add(0, PackedCall.of(sum, (numbers,), {"start": 10}))
    numbers.append(3)
    (task,) = values(source.pack(0, 1)[0])
    assert run_task(task) == 13
    assert load(source.function.packed) is run_task


def test_a_call_that_was_cancelled_is_a_failure():
    asked: list[int] = []

    def begin(index: int) -> bool:
        asked.append(index)
        return index != 1

    source = TaskSource(begin)
    for index in range(3):
        source.add(index, PackedCall.of(abs, (-index,), {}))
    got = values(source.pack(0, 3)[0])
    assert asked == [0, 1, 2]
    assert type(got[1]) is Failure
    assert run_task(got[2]) == 2


def test_a_call_that_cannot_travel_raises_where_it_is_packed():
    with pytest.raises(hostile.Oops):
        PackedCall.of(abs, (hostile.RaisesAtPickling(),), {})


def test_a_call_may_be_packed_while_another_one_is():
    class Nested:
        def __reduce__(self):
            inner = PackedCall.of(len, ([1, 2, 3],), {})
            return tuple, ([inner.task.data],)

    outer = PackedCall.of(abs, (Nested(), [4]), {})
    source = TaskSource(lambda index: True)
    source.add(0, outer)
    (_, args, _) = values(source.pack(0, 1)[0])[0]
    assert args[1] == [4]
    assert run_task(pickle.loads(args[0][0])) == 3


def test_nothing_that_was_packed_is_kept():
    class Thing:
        def method(self):
            return 1

    thing = Thing()
    stream = StreamSource(FUNCTION, 1)
    stream.add(0, (thing,))
    PackedCall.of(thing.method, ([thing],), {})
    reference = weakref.ref(thing)
    del thing
    assert reference() is None


# --- items that no worker runs


def test_the_arguments_of_an_item_come_as_on_a_worker():
    source = SequenceSource(FUNCTION, [[[1], [2]], "ab"])
    args = source.arguments(1)
    assert args == [[2], "b"]
    assert args[0] is not source._columns[0][1]
    stream = StreamSource(FUNCTION, 2)
    stream.add(0, ([3], "c"))
    assert stream.arguments(0) == [[3], "c"]


def test_arguments_that_cannot_be_had_are_failures():
    source = SequenceSource(FUNCTION, [[hostile.RaisesAtPickling()]])
    assert type(source.arguments(0)[0]) is Failure


def test_items_are_described_shortly():
    source = SequenceSource(FUNCTION, [["x" * 1000], [7]])
    text = source.describe(0)
    assert text.endswith(", 7")
    assert len(text) <= 80
    assert source.describe(5) is None


def test_an_item_whose_repr_raises_is_not_described():
    class Odd:
        def __repr__(self):
            raise ZeroDivisionError

    text = SequenceSource(FUNCTION, [[Odd()]]).describe(0)
    assert text is None or "Odd" in text


def test_only_plain_items_of_a_stream_are_described():
    stream = StreamSource(FUNCTION, 1)
    stream.add(0, (7,))
    stream.add(1, ([7],))  # packed: unpacking may be what killed its workers
    assert [stream.describe(index) for index in (0, 1, 2)] == ["7", None, None]
    assert TaskSource(lambda index: True).describe(0) is None
