"""One chunk where it runs: unpack, call, catch, time; the same for every engine.

Items run in *bursts* of about a millisecond, so that between two bursts the thread can
look at its channels. How many items go into one follows their cost (``Pace``). There are
two kinds:

- Results that are plain (numbers, strings): one tight loop, close to the speed of builtin
  ``map``, over a list of our own. When the pace was wrong and it lasts, another thread can
  end it: it cuts the list short under the iterator, the item that runs is finished, and no
  further one begins. How many have begun is then certain, because a list iterator tells its
  position, or that it is exhausted, in ``__reduce__``.
- Other results: item by item, and each result is packed before the next item runs. Many a
  function fills one array over and over and returns it each time. So the first such result
  ends the tight loop, and is packed at once.

Items with a time limit, and those that run *alone* since a worker died with them, are
unpacked, run and packed one after the other, so that what happens meanwhile is theirs.

What runs is written into a *mark* that outlives this process: the item, or all items of a
tight loop. It is cleared when all that is left of the items (arguments, values) has been
dropped, so that a destructor that crashes is blamed on its item, too.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from seppo.errors import ProtocolError, TaskTimeoutError
from seppo.place import current_worker
from seppo.values.batch import Unpacker, count_ready
from seppo.values.outcome import Failure, Interrupted
from seppo.values.serialize import PLAIN_TYPES
from seppo.wire.messages import Chunk
from seppo.worker.pace import BURST_SECONDS, Pace

_PLAIN = frozenset(map(id, PLAIN_TYPES))  # by id: to look up a type may run user code


def _references_of_ours() -> int:
    value = object()
    return sys.getrefcount(value)


# The references to an object that only a variable of ours has. Measured, since how many
# the interpreter itself holds at such a moment changes from version to version.
_OURS_ALONE = _references_of_ours()


class Marker(Protocol):
    """Where it is written down which items run."""

    def set(self, attempt: int, first: int, stop: int, deadline: float = 0.0) -> None:
        """Say that items ``first`` to ``stop`` run from now on, until ``deadline`` if not 0."""

    def clear(self) -> None:
        """Say that nothing runs."""


class NoMarker:
    """For those who do not die without a word."""

    def set(self, attempt: int, first: int, stop: int, deadline: float = 0.0) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


class ChunkRun:
    """A chunk being run by one thread, which another thread may look after.

    Args:
        load: Gives the function, or the ``Failure`` that says why it could not be loaded.
        chunk: The chunk.
        pace: The function's pace.
        mark: Told what runs.

    Raises:
        ProtocolError: If the chunk makes no sense.

    Attributes:
        seconds: Time spent in bursts that was not told yet.
        burst_at: When the burst, or item, that is under way began; None between bursts.
        was_given_back: Whether some of its items were given back, or dropped.
        is_unwanted: Whether nobody waits for its outcomes any more.
        unwanted_at: Since when.
        is_plain: Whether all outcomes so far are of plain types; certain between bursts.
        told: Outcomes that were sent; for whoever sends them.
    """

    def __init__(
        self,
        load: Callable[[], Callable[..., Any] | Failure],
        chunk: Chunk,
        pace: Pace,
        mark: Marker | None = None,
    ) -> None:
        if chunk.index + chunk.count >= 1 << 63:
            raise ProtocolError("a chunk of items that nobody can count")
        self.chunk = chunk
        self.seconds = 0.0
        self.burst_at: float | None = None
        self.is_plain = True
        self.was_given_back = False
        self.is_unwanted = False
        self.unwanted_at = 0.0
        self.told = 0
        self._load_function = load
        self._func: Callable[..., Any] | Failure | None = None
        self._pace = pace
        self._mark: Marker = NoMarker() if mark is None else mark
        self._item_at: float | None = None  # when an item that may time out began
        self._is_forked = False  # this is a child that user code has forked
        # An item has begun outside of a tight loop. Loading the function and unpacking are part
        # of it: whoever was given back everything would not interrupt that user code.
        self._runs_one = False
        self._lock = threading.Lock()  # between beginning a burst and giving back the rest
        self._stop = chunk.count  # items from here on are not to begin
        self._unpackers = [Unpacker(column, self._name) for column in chunk.columns]
        self._loaded: list[list[Any]] = [[] for _ in self._unpackers]
        self._next_loaded = 0
        # Outcomes in order. Items before ``_base`` were dropped, those before ``_taken``
        # were handed over; a list is only ever appended to while a burst runs.
        self._values: list[Any] = []
        self._base = 0
        self._taken = 0
        self._has_unpacked = False  # some may be objects that are still to be packed
        # Of the burst under way: its first item, its list, and the iterator over that.
        self._first = 0
        self._source: list[Any] | None = None
        self._iterator: Any = None

    def _name(self, position: int) -> str:
        return f"item {self.chunk.index + position}"

    def _name_result(self, position: int) -> str:
        return f"the result of item {self.chunk.index + position}"

    @property
    def done(self) -> int:
        """Items that have an outcome."""
        return self._base + len(self._values)

    @property
    def is_finished(self) -> bool:
        """Whether no item is left to run."""
        return self.done >= self._stop

    # --- the running thread

    def run_burst(self) -> None:
        """Run some items; returns after about ``BURST_SECONDS``, or one item.

        Raises:
            Interrupted: If our signal's handler raised it: the process ends.
        """
        started = self.burst_at = time.perf_counter()
        first = self.done
        try:
            with self._lock:
                self._runs_one = self._stop > first
            if self._func is None:
                # Whoever dies here dies for all of them.
                self._set_mark(first, self._stop)
                self._func = self._load_function()
                # No part of what items cost: the next chunks would be far too small.
                started = self.burst_at = time.perf_counter()
            if self.chunk.alone or self.chunk.task_timeout:
                self._call_exactly(self._func, started)
                return
            self._set_mark(first, min(first + self._pace.items, self._stop))
            n = self._load(min(self._pace.items, self._stop - self.done))
            self._set_mark(first, first + n)
            if isinstance(self._func, Failure):
                self._fail(n, self._func)
            elif self._pace.packs_each or self._has_failures():
                self._call_each(self._func, n, started)
            elif n > 0:
                self._call_all(self._func, n)
        finally:
            self.burst_at = None
            self._runs_one = False
            self._mark.clear()
            spent = time.perf_counter() - started
            with self._lock:
                self.seconds += spent
        self._pace.learn(max(1, self.done - first), spent)

    def _set_mark(self, first: int, stop: int, deadline: float = 0.0) -> None:
        index = self.chunk.index
        self._mark.set(self.chunk.attempt, index + first, index + stop, deadline)

    def _load(self, wanted: int) -> int:
        """Have items unpacked and return how many can run in one burst, at most ``wanted``."""
        if self._next_loaded >= len(self._loaded[0]) and wanted > 0:
            self._loaded = [unpacker.take(wanted) for unpacker in self._unpackers]
            self._next_loaded = 0
        # The columns differ when the rest was given back in the middle of this.
        return max(0, min(wanted, min(map(len, self._loaded)) - self._next_loaded))

    def _has_failures(self) -> bool:
        return any(unpacker.has_failures for unpacker in self._unpackers)

    def _drop_taken(self) -> None:
        """Forget outcomes that were handed over; only while no tight loop runs, under the lock."""
        del self._values[: self._taken - self._base]
        self._base = self._taken

    def _fail(self, n: int, failure: Failure) -> None:
        """Have items fail that cannot be run, unless they were given back just now."""
        with self._lock:
            n = min(n, self._stop - self.done)
            self._runs_one = False
            self._values.extend([failure] * n)
            self._next_loaded += n
            self.is_plain = False

    def _call_all(self, func: Callable[..., Any], n: int) -> None:
        """Run ``n`` items in one tight loop, unless somebody ends it before."""
        columns = [c[self._next_loaded : self._next_loaded + n] for c in self._loaded]
        source = columns[0]
        iterator = iter(source)
        with self._lock:
            if self._stop <= self.done:
                return
            del source[self._stop - self.done :]
            self._drop_taken()
            self._runs_one, self._has_unpacked = False, True
            self._first, self._source, self._iterator = self.done, source, iterator
        values = self._values
        calls = map(func, iterator, *columns[1:])
        keep, has_other = values.append, False
        kind: type = int  # of the last value
        try:
            while True:
                try:
                    # A check in C (takewhile over the results' types, say) is no quicker.
                    for value in calls:
                        keep(value)
                        if type(value) is not kind:
                            kind = type(value)
                            if id(kind) not in _PLAIN:
                                has_other = True
                                break
                except Interrupted:
                    raise
                except BaseException as error:  # whatever user code raises is its outcome
                    self._leave_if_forked(error)
                    values.append(Failure.of(error, skip=1))
                    self.is_plain = False
                    continue
                self._leave_if_forked(None)
                if has_other or len(iterator.__reduce__()) < 3:
                    break  # exhausted
                # map() stops where the function raises StopIteration: that is an outcome.
                values.append(Failure.of(StopIteration()))
                self.is_plain = False
        finally:
            with self._lock:
                self._source = self._iterator = None
            # Destructors are to run while the items are marked.
            at = self._next_loaded
            self._next_loaded = at + self.done - self._first
            for loaded in self._loaded:
                if self._next_loaded >= len(loaded):
                    loaded.clear()
                else:
                    loaded[at : self._next_loaded] = [None] * (self._next_loaded - at)
            del columns, source, iterator, calls
        if has_other:
            self._pack_last()
        self._has_unpacked = False

    def _pack_last(self) -> None:
        """Pack the last result, which is not plain, and do so with all from now on."""
        self.is_plain = False
        self._pace.packs_each = True
        self._values[-1] = self._pace.pack(self._values[-1], True, self._name_result, self.done - 1)

    def _call_each(self, func: Callable[..., Any], n: int, started: float) -> None:
        """Run up to ``n`` items one by one, each result packed before the next item."""
        for _ in range(n):
            if not self._begin_one():
                return
            position = self.done
            self._set_mark(position, position + 1)
            args = [column[self._next_loaded] for column in self._loaded]
            for loaded in self._loaded:
                loaded[self._next_loaded] = None
            self._next_loaded += 1
            outcome = next((arg for arg in args if type(arg) is Failure), None)
            if outcome is None:
                outcome = self._call_one(func, args)
            del args  # whatever its destructors do belongs to this item
            self._end_one(outcome)
            now = self.burst_at = time.perf_counter()
            if now - started >= BURST_SECONDS:
                return

    def _begin_one(self) -> bool:
        """Take note that an item runs, unless it was given back."""
        with self._lock:
            if self._stop <= self.done:
                return False
            self._drop_taken()
            self._runs_one = True
            return True

    def _end_one(self, outcome: Any) -> None:
        with self._lock:
            self._runs_one = False
            if self._stop <= self.done:
                return  # given up, or not wanted
            self._values.append(outcome)
            self.is_plain = self.is_plain and type(outcome) in PLAIN_TYPES

    def _call_exactly(self, func: Callable[..., Any] | Failure, started: float) -> None:
        """Run items one by one, each with all that belongs to it, under its time limit."""
        limit = self.chunk.task_timeout
        if self.chunk.alone:
            # What earlier items left behind goes now, on nobody's account.
            self._mark.clear()
            gc.collect()
        while self._begin_one():
            position = self.done
            deadline = time.monotonic() + limit if limit else 0.0
            self._set_mark(position, position + 1, deadline)
            self.burst_at = self._item_at = time.perf_counter()
            try:
                outcome = self._load_and_call(func)
            finally:
                self._item_at = None  # from here on it cannot time out
            if self.chunk.alone:
                gc.collect()
            self._end_one(outcome)
            if self.chunk.alone or time.perf_counter() - started >= BURST_SECONDS:
                return

    def _load_and_call(self, func: Callable[..., Any] | Failure) -> Any:
        args = []
        for unpacker in self._unpackers:
            taken = unpacker.take(1)
            if not taken:
                return None  # it was dropped while another argument was unpacked
            args += taken
        if isinstance(func, Failure):
            return func
        failure = next((arg for arg in args if type(arg) is Failure), None)
        return self._call_one(func, args) if failure is None else failure

    def timeout_failure(self) -> Failure:
        """Return what becomes of the item that runs when it takes too long."""
        index = self.chunk.index + self.done
        worker = current_worker() or ""
        return Failure.of(TaskTimeoutError(index, self.chunk.task_timeout, worker))

    def _call_one(self, func: Callable[..., Any], args: list[Any]) -> Any:
        try:
            value = func(*args)
        except Interrupted:
            raise
        except BaseException as error:  # whatever user code raises is its outcome
            self._leave_if_forked(error)
            return Failure.of(error, skip=1)
        self._leave_if_forked(None)
        if id(type(value)) in _PLAIN:
            return value
        # An array that owns its memory, and that nobody else refers to, stays as it is.
        numpy = sys.modules.get("numpy")
        is_shared = (
            numpy is None
            or type(value) is not numpy.ndarray
            or value.dtype.hasobject
            or value.base is not None
            or sys.getrefcount(value) != _OURS_ALONE
        )
        return self._pace.pack(value, is_shared, self._name_result, self.done)

    # --- a child that user code has forked

    def forked(self) -> None:
        """Say that this process is a child forked by the item that runs: it ends with it."""
        self._is_forked = True
        if self._source is not None:
            self._source.clear()  # without the lock, which another thread may have held

    def _leave_if_forked(self, error: BaseException | None) -> None:
        if self._is_forked:
            _leave(error)

    # --- any thread

    @property
    def overdue(self) -> float:
        """Seconds by which the item that runs exceeds its limit; negative while it does not."""
        began = self._item_at
        if began is None or not self.chunk.task_timeout:
            return float("-inf")
        return time.perf_counter() - began - self.chunk.task_timeout

    def pause(self) -> None:
        """End the burst under way after the item that runs."""
        with self._lock:
            self._end_loop()

    def _end_loop(self) -> int:
        """End the tight loop under way; return how many items have begun. Under the lock."""
        if self._source is None:
            # What is not wanted does not begin after it was unpacked.
            return self.done + (self._runs_one and not self.is_unwanted)
        # The first item has begun with its unpacking: it is called, if it is still wanted.
        del self._source[0 if self.is_unwanted else 1 :]
        state = self._iterator.__reduce__()
        if len(state) < 3:
            return self.done
        begun: int = self._first + max(state[2], len(self._source))
        if begun > self.done:
            self._set_mark(begun - 1, begun)  # now it is known which of them runs
        return begun

    def give_back(self) -> int:
        """Let no further item begin; return how many of the chunk's items are kept."""
        with self._lock:
            kept = self._end_loop()
            self._stop = min(self._stop, max(kept, self.done))
            for unpacker in self._unpackers:
                unpacker.limit = self._stop
            self.was_given_back = True
            return self._stop

    def abandon(self) -> None:
        """Let no further item begin, and forget what comes of the one that runs."""
        if not self.is_unwanted:
            self.unwanted_at = time.perf_counter()
            self.is_unwanted = True
        self.give_back()

    def give_up_item(self) -> int | None:
        """Let the item that runs fail for its time; return how many items are kept.

        Only for a process that ends at once: the item still runs. None if it has ended.
        """
        with self._lock:
            if self.overdue < 0 or self._stop <= self.done:
                return None
            self._values.append(self.timeout_failure())
            self.is_plain = False
            self._runs_one = False
            self._stop = self.done  # should it end after all, its outcome comes too late
        self.abandon()
        return self.done

    def take_outcomes(self) -> tuple[list[Any], float]:
        """Return outcomes not yet taken, in order, and the seconds not yet told.

        The first that is still to be packed, which is the running thread's, ends them.
        """
        with self._lock:
            values = self._values[self._taken - self._base :]
            if self._has_unpacked:
                del values[count_ready(values) :]
            self._taken += len(values)
            seconds, self.seconds = self.seconds, 0.0
            return values, seconds


def _leave(error: BaseException | None) -> NoReturn:
    """End a forked child in which user code has come to its end, as the interpreter would."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
        status = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)
