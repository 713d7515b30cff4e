"""Batches: both forms, one bad value that costs only itself, and tables that lie."""

from __future__ import annotations

import pickle
import struct
import threading
from array import array

import hostile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.errors import ProtocolError, SerializationError
from seppo.values.batch import (
    EACH,
    WHOLE,
    Unpacker,
    count_ready,
    join,
    pack_values,
    pack_whole,
    unpack_all,
)
from seppo.values.outcome import Failure
from seppo.values.serialize import OUT_OF_BAND, dump
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.frames import FrameReader, encode
from seppo.wire.messages import Results
from seppo.wire.packed import Batch, Packed


def item(position: int) -> str:
    return f"item {position}"


def over_the_wire(batch: Batch) -> Batch:
    """Send a batch through frames, as between processes."""
    data = b"".join(map(bytes, encode(*to_parts(Results(1, 0.0, batch)))))
    reader, at = FrameReader(), 0
    while True:
        n = 0
        for buffer in reader.buffers():
            some = data[at + n : at + n + len(buffer)]
            buffer[: len(some)] = some
            n += len(some)
        frames = reader.received(n)
        at += n
        if frames:
            message = from_frame(frames[0])
            assert isinstance(message, Results)
            return message.batch


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner))


@given(st.lists(values, max_size=20))
def test_values_come_back_equal(sent):
    batch = over_the_wire(pack_values(sent, item))
    assert batch.count == len(sent)
    assert unpack_all(batch, item) == sent


@given(st.lists(values, max_size=20), st.lists(st.integers(0, 7), max_size=10))
def test_values_can_be_taken_a_few_at_a_time(sent, sizes):
    unpacker = Unpacker(pack_values(sent, item), item)
    got = []
    for size in [*sizes, len(sent)]:
        got += unpacker.take(size)
    assert got == sent
    assert unpacker.take(1) == []
    assert not unpacker.has_failures


def test_what_is_ready_is_packed_while_another_thread_packs_user_objects():
    """That may last: whoever sends what is finished must not wait for it."""
    ready = [1, dump([2]), Failure("X", "x")]
    packing, go_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self):
            packing.set()
            assert go_on.wait(30)
            return int, ()

    thread = threading.Thread(target=pack_values, args=([Slow()], item))
    thread.start()
    try:
        assert packing.wait(20)
        packed = []
        other = threading.Thread(target=lambda: packed.append(pack_values(ready, item)))
        other.start()
        other.join(10)
        assert packed
    finally:
        go_on.set()
        thread.join(20)
    other.join(20)
    assert unpack_all(over_the_wire(packed[0]), item) == [1, [2], Failure("X", "x")]


def test_values_are_ready_up_to_the_first_that_needs_user_code():
    class NotHashable(type):
        def __eq__(cls, other):
            return cls is other

    class Odd(metaclass=NotHashable):
        pass

    ready = [1, "a", dump([2]), Failure("X", "x"), None]
    for other in ([], Odd(), object()):
        assert count_ready([*ready, other, 1]) == 5
    assert count_ready(ready) == 5
    assert count_ready([1, 2]) == 2
    assert count_ready([]) == 0


@given(st.lists(values, min_size=1, max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_nothing_is_unpacked_beyond_the_limit(sent, limit, first):
    unpacker = Unpacker(join([dump(value) for value in sent]), item)
    got = unpacker.take(first)
    unpacker.limit = limit
    got += unpacker.take(len(sent))
    assert got == sent[: max(limit, first)]


def test_plain_values_share_one_pickle_and_others_do_not():
    assert pack_values([1, "a", None, 2.5, b"x", 1j, True], item).kind == WHOLE
    assert pack_values([1, [2]], item).kind == EACH


def test_a_range_travels_as_a_range():
    batch = pack_whole(range(10**9), 10**9)
    assert sum(map(len, batch.parts)) < 200
    unpacker = Unpacker(batch, item)
    assert unpacker.take(3) == [0, 1, 2]
    assert unpacker.take(2) == [3, 4]


@pytest.mark.parametrize("rows", [10, 5000])
def test_a_block_of_an_array_arrives_writable_as_its_rows(rows):
    block = np.arange(rows * 4, dtype="f8").reshape(rows, 4)
    got = unpack_all(over_the_wire(pack_whole(block, rows)), item)
    assert len(got) == rows
    assert all((a == b).all() for a, b in zip(got, block, strict=True))
    got[0][:] = -1.0  # memory of its own: the sender's is not touched
    assert block[0, 0] == 0.0


def test_an_array_that_is_read_only_stays_so():
    block = np.arange(OUT_OF_BAND)
    block.flags.writeable = False
    (got,) = unpack_all(over_the_wire(pack_values([block], item)), item)
    assert not got.flags.writeable


def test_large_arrays_stand_beside_the_pickles_and_arrive_writable():
    sent = [np.full(OUT_OF_BAND, i, dtype="u1") for i in range(3)]
    batch = pack_values(sent, item)
    assert len(batch.parts) == 2 + 3
    got = unpack_all(over_the_wire(batch), item)
    got[0][0] = 99
    assert [array_[-1] for array_ in got] == [0, 1, 2]


def test_a_value_that_cannot_be_packed_costs_only_itself():
    got = unpack_all(pack_values([1, hostile.CannotBePickled(), [3]], item), item)
    assert (got[0], got[2]) == (1, [3])
    error = got[1].to_exception(1, "w")
    assert isinstance(error, SerializationError)
    assert "item 1" in str(error)
    assert "lock" in str(error)


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit, MemoryError])
def test_a_value_that_raises_when_packed_costs_only_itself(kind):
    got = unpack_all(pack_values([[1], hostile.RaisesAtPickling(kind), [3]], item), item)
    assert (got[0], got[2]) == ([1], [3])
    assert "at pickling" in got[1].text


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit, MemoryError, RecursionError])
def test_a_value_that_raises_when_unpacked_costs_only_itself(kind):
    unpacker = Unpacker(pack_values([[1], hostile.RaisesAtUnpickling(kind), [3]], item), item)
    assert unpacker.take(1) == [[1]]
    assert not unpacker.has_failures
    bad, good = unpacker.take(2)
    assert unpacker.has_failures
    assert good == [3]
    assert type(bad) is Failure
    assert "item 1" in bad.text
    assert "at unpickling" in bad.text


def test_a_value_after_a_bad_one_finds_its_own_buffers():
    big = np.full(OUT_OF_BAND, 7, dtype="u1")
    sent = [big, hostile.RaisesAtUnpickling(), big + 1, (big + 2, hostile.CannotBePickled()), big]
    got = unpack_all(over_the_wire(pack_values(sent, item)), item)
    assert (got[0][0], got[2][0], got[4][0]) == (7, 8, 7)
    assert type(got[1]) is type(got[3]) is Failure


def test_a_block_that_cannot_be_unpacked_fails_each_of_its_values():
    parts = (dump(hostile.RaisesAtUnpickling(SystemExit)).data,)
    unpacker = Unpacker(Batch(WHOLE, 3, parts), item)
    first = unpacker.take(1)
    rest = unpacker.take(5)
    assert [type(value) for value in [*first, *rest]] == [Failure] * 3
    assert unpacker.has_failures


def test_failures_among_the_values_are_noticed():
    unpacker = Unpacker(pack_values([1, Failure("X", "x")], item), item)
    unpacker.take(2)
    assert unpacker.has_failures


def test_no_values_are_a_batch_too():
    assert unpack_all(pack_values([], item), item) == []
    assert unpack_all(join([]), item) == []


def table(*rows: tuple[int, int]) -> bytes:
    return array("Q", [number for row in rows for number in row]).tobytes()


ONE = pickle.dumps([1])


@pytest.mark.parametrize(
    "batch",
    [
        Batch(7, 0, ()),
        Batch(WHOLE, 1, ()),
        Batch(EACH, 1, ()),
        Batch(EACH, 1, (table((len(ONE), 0)),)),
        Batch(EACH, 2, (table((len(ONE), 0)), ONE)),
        Batch(EACH, 1, (table((len(ONE) + 1, 0)), ONE)),
        Batch(EACH, 1, (table((len(ONE), 1)), ONE)),
        Batch(EACH, 1, (table((len(ONE), 0)), ONE, b"not told of")),
        Batch(EACH, 2, (table((1 << 63, 0), (1 << 63, 0)), b"")),
        Batch(EACH, 1, (struct.pack("3B", 1, 2, 3), ONE)),
        Batch(EACH, 1 << 60, (b"", b"")),
    ],
    ids=range(11),
)
def test_tables_that_lie_are_refused_at_once(batch):
    with pytest.raises(ProtocolError):
        Unpacker(batch, item)


@pytest.mark.parametrize("count", [0, 2, 4, 1 << 62])
def test_a_block_that_does_not_hold_what_it_promises_is_refused(count):
    batch = Batch(WHOLE, count, (pickle.dumps([1, 2, 3]),))
    with pytest.raises(ProtocolError):
        Unpacker(batch, item).take(max(1, count))


@given(st.data())
def test_mutated_batches_raise_nothing_but_protocol_errors(data):
    batch = pack_values([[1], (2, "b"), {"c": 3}], item)
    parts = [bytearray(part) for part in batch.parts]
    where = data.draw(st.sampled_from([0, 1]))
    # Only the table and the ends: inside a pickle any code may stand, and run.
    if where == 0:
        parts[0][data.draw(st.integers(0, len(parts[0]) - 1))] = data.draw(st.integers(0, 255))
    else:
        parts[1] = parts[1][: data.draw(st.integers(0, len(parts[1])))]
    try:
        got = unpack_all(Batch(EACH, 3, tuple(parts)), item)
    except ProtocolError:
        return
    assert len(got) == 3


def test_values_packed_one_by_one_can_be_joined():
    packed = [Packed(pickle.dumps(value)) for value in ("a", 2)]
    assert unpack_all(join(packed), item) == ["a", 2]
