"""Item sources: where the items of a job come from when a chunk of them is packed.

``SequenceSource`` slices in place: a range travels as a range, a block of an array as one
buffer. ``StreamSource`` holds what an iterator has yielded, packed at that moment, until
the results are there.
"""

from __future__ import annotations

import logging
import pickle
import reprlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from seppo.shipping.bundle import Bundle
from seppo.values.batch import (
    is_plain,
    join,
    pack_one,
    pack_plain,
    pack_values,
    pack_whole,
    unpack_all,
)
from seppo.values.content import Content
from seppo.values.function import (
    PackedFunction,
    dependencies,
    grow,
    load_function,
    pack_function,
    renew,
)
from seppo.values.main import Seen
from seppo.values.outcome import Failure
from seppo.values.serialize import PLAIN_TYPES, Pickler, own_modules_by_value
from seppo.wire.packed import Batch, Packed

SMALL_FUNCTION = 1 << 16  # bytes; a larger one is not kept on the worker between calls
LONGEST_TEXT = 80  # characters that describe an item in a message

log = logging.getLogger(__name__)


class ItemSource(Protocol):
    """The function of a job and its items, as an engine needs them."""

    @property
    def function(self) -> PackedFunction:
        """The function, packed."""

    def pack(self, start: int, stop: int) -> tuple[Batch, ...]:
        """Return items ``start`` to ``stop``, one batch for each argument. Never raises."""

    def drop(self, start: int, stop: int) -> None:
        """Forget items whose results were delivered."""

    def clear(self) -> None:
        """Forget all items: nobody wants their results."""

    def arguments(self, index: int) -> list[Any]:
        """Return the arguments of an item as a worker gets them; a ``Failure`` for one that
        cannot be had."""

    def describe(self, index: int) -> str | None:
        """Return a short text for an item, for messages; None where it is not at hand."""


def is_sliceable(values: Any) -> bool:
    """Whether a slice of this input is, item by item, what iterating over it yields."""
    kind = type(values)
    if kind in (list, tuple, range, str, bytes):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray and values.ndim > 0


def _arguments(columns: tuple[Batch, ...], index: int) -> list[Any]:
    return [unpack_all(column, lambda _: f"item {index}")[0] for column in columns]


def _describe(args: Iterable[Any]) -> str | None:
    try:
        text = ", ".join(map(reprlib.repr, args))
    except Exception:  # a user's __repr__ may raise anything
        return None
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."


class SequenceSource:
    """Items that lie in sequences.

    Args:
        function: The function, packed.
        columns: Sliceable sequences, one for each argument.
    """

    def __init__(self, function: PackedFunction, columns: Sequence[Any]) -> None:
        self.function = function
        self._columns = columns

    def pack(self, start: int, stop: int) -> tuple[Batch, ...]:
        """Return items ``start`` to ``stop``, one batch for each argument."""
        seen = Seen(known=self.function.defined.known)
        packed = tuple(
            _never_raising(partial(_pack_slice, seen=seen), column, start, stop)
            for column in self._columns
        )
        if seen:
            self.function = grow(self.function, seen)
        return packed

    def drop(self, start: int, stop: int) -> None:
        """Do nothing: the sequences are the caller's."""

    def clear(self) -> None:
        """Do nothing, as above."""

    def arguments(self, index: int) -> list[Any]:
        """Return the arguments of an item as a worker gets them."""
        return _arguments(self.pack(index, index + 1), index)

    def describe(self, index: int) -> str | None:
        """Return a short text for an item."""
        try:
            return _describe(column[index] for column in self._columns)
        except Exception:  # it has shrunk
            return None


def _pack_slice(column: Any, start: int, stop: int, seen: Seen) -> Batch:
    block = column[start:stop]
    if len(block) != stop - start:
        raise RuntimeError(f"the input has shrunk to {len(column)} items during the map")
    if type(block) is list or type(block) is tuple:
        return pack_values(block, lambda i: f"item {start + i}", seen)
    if getattr(getattr(block, "dtype", None), "hasobject", False):
        return pack_values(list(block), lambda i: f"item {start + i}", seen)
    return pack_whole(block, stop - start, seen)


class StreamSource:
    """Items that come one by one; each is packed when it comes.

    Only values of plain immutable types are kept as they are. Everything else is packed
    at once, with its buffers copied: many a generator fills one array over and over.

    Args:
        function: The function, packed.
        n_columns: Arguments of the function.
    """

    def __init__(self, function: PackedFunction, n_columns: int) -> None:
        self.function = function
        self._n_columns = n_columns
        # Written by the caller's thread, read and emptied by the driver's: single
        # operations on a dict, which are atomic.
        self._items: dict[int, tuple[Any, ...]] = {}
        # What items need; the caller's thread only.
        self._seen = Seen(known=function.defined.known)
        self._pickler = Pickler(copy_buffers=True, seen=self._seen)

    def add(self, index: int, args: tuple[Any, ...]) -> None:
        """Keep the arguments of item ``index``."""
        if type(args[0]) not in PLAIN_TYPES or not (len(args) == 1 or is_plain(args)):
            with own_modules_by_value():
                args = tuple(
                    pack_one(self._pickler, arg, lambda _: f"item {index}", 0) for arg in args
                )
            if self._seen:
                self.function = grow(self.function, self._seen)  # before it can be sent
                self._seen.known = self.function.defined.known
                self._seen.clear()
        self._items[index] = args

    def pack(self, start: int, stop: int) -> tuple[Batch, ...]:
        """Return items ``start`` to ``stop``, one batch for each argument."""
        rows = [self._items[index] for index in range(start, stop)]
        return tuple(_join_column(list(column)) for column in zip(*rows, strict=True))

    def drop(self, start: int, stop: int) -> None:
        """Forget items whose results were delivered."""
        for index in range(start, stop):
            self._items.pop(index, None)

    def clear(self) -> None:
        """Forget all items: nobody wants their results."""
        self._items.clear()

    def arguments(self, index: int) -> list[Any]:
        """Return the arguments of an item as a worker gets them."""
        return _arguments(self.pack(index, index + 1), index)

    def describe(self, index: int) -> str | None:
        """Return a short text for an item that was kept as it is."""
        args = self._items.get(index, (None,))
        # What was packed may be what killed its workers when it was unpacked.
        return _describe(args) if is_plain(args) and index in self._items else None


def _join_column(values: list[Any]) -> Batch:
    if is_plain(values):
        return pack_plain(values)
    return join([v if type(v) is Packed else Packed(pickle.dumps(v, 5)) for v in values])


# Picklers that no call is using, and in what they note what they met: making one takes
# longer than packing a call.
_spare: list[tuple[Pickler, Seen]] = []

# Functions with what the arguments of their calls needed of ``__main__`` besides, by digest.
_grown: OrderedDict[bytes, PackedFunction] = OrderedDict()
MOST_GROWN = 64


@dataclass(frozen=True)
class PackedCall:
    """One call, as it travels.

    Attributes:
        task: The function and its arguments.
        bundle: The modules that the function needs.
        seen: The names of modules that the arguments need.
    """

    task: Packed
    bundle: Bundle
    seen: frozenset[str]

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PackedCall:
        """Return a call packed, with what it refers to as that is now.

        It runs user code, which may do so again, or wait for another thread that does: so
        there is no lock, and no pickler that another call is using.

        Raises:
            Exception: Whatever pickling it raises.
        """
        function = pack_function(func)
        packed = function.packed
        if packed.buffers or packed.nbytes > SMALL_FUNCTION or dependencies(func) is None:
            task = func, args, kwargs  # big, or with a state of its own, which each call gets
        elif not kwargs and is_plain(args):
            plain = Packed(pickle.dumps((packed.data, args, kwargs), 5))
            return cls(plain, function.bundle, frozenset())
        else:
            task = packed.data, args, kwargs
        try:
            pickler, seen = _spare.pop()
        except IndexError:
            seen = Seen()
            pickler = Pickler(copy_buffers=True, seen=seen, renews=True)
        seen.known = function.defined.known
        with own_modules_by_value():
            call = pickler.dump(task)
        modules = set(seen.modules)
        if seen.names:
            call, bundle = _with_main(call, function, seen)
            modules |= bundle.seeds
        seen.clear()
        _spare.append((pickler, seen))
        return cls(call, function.bundle, frozenset(modules))


def _with_main(call: Packed, function: PackedFunction, seen: Seen) -> tuple[Packed, Bundle]:
    """Return a call with what it finds in ``__main__``, and the modules that this needs."""
    grown = grow(_grown.get(function.digest, function), seen)
    _grown[function.digest] = grown
    while len(_grown) > MOST_GROWN:
        try:
            _grown.popitem(last=False)
        except KeyError:  # another thread has done so
            break
    return Content.of(call, grown.defined).pack(copy_buffers=True), grown.bundle


class TaskSource:
    """Single calls of an executor, each with its own function.

    A call travels as the pickle of its function, which is made once for many calls, and
    its arguments.

    Args:
        begin: Asked for each index before it is packed; false if the call is cancelled.
    """

    def __init__(self, begin: Callable[[int], bool]) -> None:
        self.function = pack_function(run_task)
        self._begin = begin
        self._tasks: dict[int, Packed] = {}
        self._bundle = self.function.bundle  # of the last call's function

    def function_for(self, call: PackedCall) -> PackedFunction:
        """Return what runs the calls so far and one more, with their modules as they are now."""
        if not call.seen and call.bundle is self._bundle:
            return self.function
        self._bundle = call.bundle
        return renew(self.function, call.seen | call.bundle.seeds)

    def add(self, index: int, call: PackedCall) -> None:
        """Keep a call; not for two threads at once."""
        self._tasks[index] = call.task

    def pack(self, start: int, stop: int) -> tuple[Batch, ...]:
        """Return the calls ``start`` to ``stop``; a cancelled one as a failure."""
        return (join([self._tasks[i] if self._begin(i) else _SKIPPED for i in range(start, stop)]),)

    def drop(self, start: int, stop: int) -> None:
        """Forget calls whose results were delivered."""
        for index in range(start, stop):
            self._tasks.pop(index, None)

    def clear(self) -> None:
        """Forget all calls: nobody wants their results."""
        self._tasks.clear()

    def arguments(self, index: int) -> list[Any]:
        """Return the call as a worker gets it."""
        return _arguments(self.pack(index, index + 1), index)

    def describe(self, index: int) -> str | None:
        """Return None: a call is packed, and may be what killed its workers."""
        return None


_SKIPPED = Packed(pickle.dumps(Failure("CancelledError", "cancelled before it began"), 5))


def run_task(task: Any) -> Any:
    """Run one call of an executor, on the worker."""
    if type(task) is Content:
        task = task.load_func()
    func, args, kwargs = task
    if type(func) is bytes:
        func = load_function(func)
    return func(*args, **kwargs)


def _never_raising(pack: Callable[..., Batch], column: Any, start: int, stop: int) -> Batch:
    try:
        return pack(column, start, stop)
    except BaseException as problem:  # user code: slicing or reduction of the input
        log.info("items %d to %d could not be packed", start, stop, exc_info=True)
        failure = Packed(pickle.dumps(Failure.of(problem), 5))
        return join([failure] * (stop - start))
