"""One chunk where it runs: unpack, call, catch, time; the same for every engine.

Items run in *bursts*. A burst is one C loop, ``values.extend(map(func, iterator))``, at
the speed of builtin ``map``, over a list of our own. How many items go into a burst
follows their cost (``Pace``): one long item, or thousands of tiny ones, so that between
two bursts, about every millisecond, the thread can look at its channels.

When the pace was wrong and a burst lasts, another thread can end it: it empties the list
under the iterator, the item that runs is finished, and no further one begins. How many
have begun is then certain, because a list iterator tells its position, or that it is
exhausted, in ``__reduce__``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from seppo.payload.batch import Unpacker
from seppo.payload.outcome import Failure
from seppo.payload.protocol import Chunk

BURST_SECONDS = 0.001  # aimed at; polling the channels in between costs a few microseconds
LARGEST_BURST = 1 << 14  # items


class Interrupted(BaseException):
    """Raised in user code by the handler of our signal: the item is not wanted any more."""


class Pace:
    """How many items make a burst; one for each function, so that chunks inherit it."""

    def __init__(self) -> None:
        self.items = 1

    def learn(self, items: int, seconds: float) -> None:
        """Take note that a burst of ``items`` took ``seconds``."""
        if seconds < BURST_SECONDS / 2:
            if items >= self.items:
                self.items = min(4 * self.items, LARGEST_BURST)
        elif seconds > 2 * BURST_SECONDS:
            self.items = max(1, min(self.items, int(items * BURST_SECONDS / seconds)))


class ChunkRun:
    """A chunk being run by one thread, which another thread may look after.

    Args:
        func: The function, or the ``Failure`` that says why it could not be loaded.
        chunk: The chunk.
        pace: The function's pace.

    Attributes:
        done: Items finished; written by the running thread only.
        seconds: Time spent in bursts.
        burst_at: When the burst that is under way began; None between bursts.
        was_given_back: Whether some of its items were given back, or dropped.
        is_unwanted: Whether nobody waits for its outcomes any more.
        told: Outcomes that were sent; for whoever sends them.
    """

    def __init__(self, func: Callable[..., Any] | Failure, chunk: Chunk, pace: Pace) -> None:
        self.chunk = chunk
        self.seconds = 0.0
        self.burst_at: float | None = None
        self.interruptible = False
        self.was_given_back = False
        self.is_unwanted = False
        self.told = 0
        self._func = func
        self._pace = pace
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
        # Of the burst under way: its first item, its list, and the iterator over that.
        self._first = 0
        self._source: list[Any] | None = None
        self._iterator: Any = None

    def _name(self, position: int) -> str:
        return f"item {self.chunk.index + position}"

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
            Interrupted: If our signal's handler raised it while an item ran.
        """
        n = self._load(min(self._pace.items, self._stop - self.done))
        if n <= 0:
            return
        if isinstance(self._func, Failure):
            for _ in range(n):
                self._fail(self._func)
            return
        started = time.perf_counter()
        first = self.done
        self._call(n, started)
        spent = time.perf_counter() - started
        self.seconds += spent
        self._pace.learn(max(1, self.done - first), spent)

    def _load(self, wanted: int) -> int:
        """Have items unpacked and return how many can run in one burst, at most ``wanted``."""
        if self._next_loaded >= len(self._loaded[0]) and wanted > 0:
            self._loaded = [unpacker.take(wanted) for unpacker in self._unpackers]
            self._next_loaded = 0
        return min(wanted, len(self._loaded[0]) - self._next_loaded)

    def _call(self, n: int, started: float) -> None:
        a = self._next_loaded
        columns = [column[a : a + n] for column in self._loaded]
        if any(unpacker.has_failures for unpacker in self._unpackers):
            bad = _first_failure(columns)
            if bad == 0:
                self._fail(next(c[0] for c in columns if type(c[0]) is Failure))
                return
            columns = [column[:bad] for column in columns]
        source = columns[0]
        iterator = iter(source)
        with self._lock:
            if self._stop <= self.done:
                return
            del source[self._stop - self.done :]
            # Nobody else reads the list now, so what was handed over can be dropped.
            del self._values[: self._taken - self._base]
            self._base = self._taken
            self._first, self._source, self._iterator = self.done, source, iterator
            self.burst_at = started
        values = self._values
        calls = map(self._func, iterator, *columns[1:])  # type: ignore[arg-type]
        try:
            while True:
                try:
                    self.interruptible = True
                    values.extend(calls)
                except Interrupted:
                    raise
                except BaseException as error:  # whatever user code raises is its outcome
                    self.interruptible = False
                    values.append(Failure.of(error, skip=1))
                    continue
                self.interruptible = False
                if len(iterator.__reduce__()) < 3:
                    break  # exhausted
                # map() stops where the function raises StopIteration: that is an outcome.
                values.append(Failure.of(StopIteration()))
        finally:
            self.interruptible = False
            with self._lock:
                self._source = self._iterator = self.burst_at = None
            self._next_loaded += self.done - self._first

    def _fail(self, failure: Failure) -> None:
        """Have an item fail that cannot be run, unless it was given back just now."""
        with self._lock:
            if self.done < self._stop:
                self._values.append(failure)
                self._next_loaded += 1

    # --- any thread

    def pause(self) -> None:
        """End the burst under way after the item that runs."""
        with self._lock:
            if self._source is not None:
                self._source.clear()

    def give_back(self) -> int:
        """Let no further item begin; return how many of the chunk's items are kept."""
        with self._lock:
            if self._source is not None:
                self._source.clear()
                state = self._iterator.__reduce__()
                kept = self._first + state[2] if len(state) == 3 else self.done
            else:
                kept = self.done
            self._stop = min(self._stop, max(kept, self.done))
            self.was_given_back = True
            return self._stop

    def abandon(self) -> None:
        """Let no further item begin, and forget what comes of the one that runs."""
        self.is_unwanted = True
        self.give_back()

    def take_outcomes(self) -> tuple[list[Any], float]:
        """Return the outcomes not yet taken, in order, and the seconds not yet told."""
        with self._lock:
            values = self._values[self._taken - self._base :]
            self._taken += len(values)
            seconds, self.seconds = self.seconds, 0.0
            return values, seconds


def _first_failure(columns: list[list[Any]]) -> int | None:
    """Return the position of the first item of which an argument has failed to arrive."""
    for position, args in enumerate(zip(*columns, strict=True)):
        if any(type(arg) is Failure for arg in args):
            return position
    return None


# --- where am I?

_worker_of_process: str | None = None
_group_of_process: str | None = None
_thread = threading.local()


def enter_worker(name: str, group: str) -> None:
    """Say that this process is a worker: a nested map in it runs serially."""
    global _worker_of_process, _group_of_process
    _worker_of_process, _group_of_process = name, group


def enter_worker_thread(name: str) -> None:
    """Say that this thread is a worker."""
    _thread.name = name


def current_worker() -> str | None:
    """Return the name of the worker that this code runs on, or None."""
    return getattr(_thread, "name", None) or _worker_of_process


def is_nested(group: str | None) -> bool:
    """Whether a map over ``group`` would have workers wait for workers of the same group.

    Args:
        group: The group asked for, None for whichever is the default.
    """
    if current_worker() is None:
        return False
    return group is None or _group_of_process in (None, group)
