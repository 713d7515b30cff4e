"""Many values as a few buffers: the items of a chunk, or their results.

Two forms::

    WHOLE   one pickle of a sized iterable: a range, a block of an array, a list of
            numbers and strings. Quickest; nothing in it can fail for one value alone.
    EACH    one pickle a value, so that a bad one costs only itself:
            [table: 2 x uint64 a value: bytes of its pickle, number of its buffers]
            [the pickles, one after the other] [buffer] [buffer] ...

A value that cannot be packed is replaced by the ``Failure`` that says so.
"""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from seppo.errors import ProtocolError
from seppo.values.main import Seen
from seppo.values.outcome import Failure, is_for_us, unsendable
from seppo.values.serialize import PLAIN_TYPES, Pickler, own_modules_by_value
from seppo.values.simple import Kept, are_simple
from seppo.wire.packed import Batch, Buffer, Packed

WHOLE, EACH = 0, 1

_READY_TYPES = PLAIN_TYPES | {Packed, Failure, Kept}


def is_plain(values: Sequence[Any]) -> bool:
    """Whether all values are of types that cannot fail to travel."""
    try:
        return PLAIN_TYPES.issuperset(map(type, values))
    except Exception:  # a type that cannot be hashed, or compared: its metaclass says how
        return False


def count_ready(values: Sequence[Any]) -> int:
    """Return how many of the first values can be packed without running user code."""
    if is_plain(values):
        return len(values)
    n = 0
    try:
        for value in values:
            if type(value) not in _READY_TYPES:
                break
            n += 1
    except Exception:  # as above
        pass
    return n


def pack_whole(values: Any, count: int, seen: Seen | None = None) -> Batch:
    """Return a sized iterable packed as one object; ``seen`` gets what it needs."""
    packed = Pickler(seen=seen).dump(values)
    return Batch(WHOLE, count, (packed.data, *packed.buffers))


def pack_plain(values: list[Any]) -> Batch:
    """Return values of plain types packed."""
    return Batch(WHOLE, len(values), (pickle.dumps(values, 5),))


def pack_values(
    values: Sequence[Any], name: Callable[[int], str], seen: Seen | None = None
) -> Batch:
    """Return the values packed, in the form that suits them.

    Args:
        values: The values; a ``Failure`` among them stands for an item without a value,
            and one that is ``Packed`` already stays so.
        name: What to call the value at a position, in the error of one that cannot travel.
        seen: Where to note what the pickles refer to; None if they go home.
    """
    if is_plain(values):
        return pack_plain(list(values))
    if count_ready(values) == len(values):
        # Past the lock of the user's modules: an item may hold it while its result is packed.
        objects = [value.value if type(value) is Kept else value for value in values]
        batch = _pack_simple(objects, seen) if len(objects) > 1 else None
        return batch or join([_pack_ready(value, name, i) for i, value in enumerate(objects)])
    if len(values) > 1 and are_simple(values):
        batch = _pack_simple(list(values), seen)
        if batch is not None:
            return batch
    with own_modules_by_value():
        pickler = Pickler(seen=seen)
        return join(
            [
                value if type(value) is Packed else pack_one(pickler, value, name, i)
                for i, value in enumerate(values)
            ]
        )


def _pack_simple(objects: list[Any], seen: Seen | None) -> Batch | None:
    """Return plain and simple values as one pickle; None if they cannot be."""
    kinds = frozenset(map(type, objects)) - PLAIN_TYPES
    if Packed in kinds or Failure in kinds:
        return None
    try:
        packed = Pickler(seen=seen, simple=kinds).dump(objects)
    except Exception:  # a class that cannot travel; then each is tried by itself
        return None
    return Batch(WHOLE, len(objects), (packed.data, *packed.buffers))


def _pack_ready(value: Any, name: Callable[[int], str], position: int) -> Packed:
    if type(value) is Packed:
        return value
    if type(value) is Failure or type(value) in PLAIN_TYPES:
        return Packed(pickle.dumps(value, 5))
    return pack_one(Pickler(), value, name, position)


def pack_one(pickler: Pickler, value: Any, name: Callable[[int], str], position: int) -> Packed:
    """Return one value packed, or, where that fails, the ``Failure`` that says why."""
    try:
        return pickler.dump(value)
    except BaseException as problem:  # user code, which must not end our thread
        if is_for_us(problem):
            raise
        return Packed(pickle.dumps(unsendable(name(position), problem), 5))


def join(values: Sequence[Packed]) -> Batch:
    """Return values that are packed already as one batch."""
    table = array("Q")
    buffers: list[Buffer] = []
    for value in values:
        table.append(len(value.data))
        table.append(len(value.buffers))
        buffers.extend(value.buffers)
    data = b"".join([value.data for value in values])
    return Batch(EACH, len(values), (table.tobytes(), data, *buffers))


def unpack_all(batch: Batch, name: Callable[[int], str]) -> list[Any]:
    """Return the values; one that cannot be unpacked is replaced by a ``Failure``."""
    return Unpacker(batch, name).take(batch.count)


class Unpacker:
    """Unpacks a batch from the front, as many values at a time as are wanted.

    Args:
        batch: The packed values.
        name: What to call the value at a position, in the error of one that fails.

    Raises:
        ProtocolError: If the parts do not fit together.
    """

    def __init__(self, batch: Batch, name: Callable[[int], str]) -> None:
        self.count = batch.count
        self.position = 0
        self.limit = batch.count  # values from here on are not wanted; any thread may lower it
        self.has_failures = False  # whether a value that was taken is a Failure
        self._name = name
        self._batch = batch
        self._whole: Sequence[Any] | None = None
        if batch.kind == WHOLE:
            if not batch.parts:
                raise ProtocolError("a batch has no parts")
        elif batch.kind == EACH:
            self._open_table(batch)
        else:
            raise ProtocolError(f"a batch of unknown kind {batch.kind}")

    def _open_table(self, batch: Batch) -> None:
        if len(batch.parts) < 2 or len(batch.parts[0]) != 16 * batch.count:
            raise ProtocolError("a batch's table does not fit its count")
        self._table = array("Q")
        self._table.frombytes(batch.parts[0])
        self._data = memoryview(batch.parts[1])
        self._buffers = batch.parts[2:]
        sizes, buffers = sum(self._table[::2]), sum(self._table[1::2])
        if sizes != len(self._data) or buffers != len(self._buffers):
            raise ProtocolError("a batch's table does not fit its parts")
        self._at = self._next_buffer = 0

    def take(self, n: int) -> list[Any]:
        """Return the next ``n`` values, or as many as are left and wanted."""
        first, stop = self.position, min(self.position + n, self.count)
        if self._batch.kind == EACH:
            values: list[Any] = []
            for i in range(first, stop):
                if i >= self.limit:
                    break
                values.append(self._load_next(i))
            self.position = first + len(values)
            return values
        self.position = stop
        if self._whole is None:
            parts = self._batch.parts
            try:
                self._whole = pickle.loads(parts[0], buffers=parts[1:])
                n_values = len(self._whole)
            except BaseException as problem:  # an array where numpy is missing, or user code
                if is_for_us(problem):
                    raise
                failure = unsendable(self._name(0), problem)
                self._whole = [failure] * self.count
                self.has_failures = True
            else:
                if n_values != self.count:
                    raise ProtocolError("a batch does not hold as many values as it says")
        assert self._whole is not None
        if first == 0 and stop == self.count and type(self._whole) is list:
            return self._whole
        return list(self._whole[first:stop])

    def _load_next(self, position: int) -> Any:
        size, n_buffers = self._table[2 * position], self._table[2 * position + 1]
        data = self._data[self._at : self._at + size]
        buffers = self._buffers[self._next_buffer : self._next_buffer + n_buffers]
        self._at += size
        self._next_buffer += n_buffers
        try:
            value = pickle.loads(data, buffers=buffers)
        except BaseException as problem:  # user code
            if is_for_us(problem):
                raise
            value = unsendable(self._name(position), problem)
        self.has_failures = self.has_failures or type(value) is Failure
        return value
