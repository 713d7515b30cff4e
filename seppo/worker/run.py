"""A chunk being run: which of its items have begun, and what has come of them.

One thread runs the items (see ``Runner``). Any other may look on, take outcomes, and give
back what has not begun: then no further item begins, and the one that runs is finished.

What runs is written into a *mark* that outlives this process: the item, or all items of a
tight loop. It is cleared when all that is left of the items (arguments, values) has been
dropped, so that a destructor that crashes is blamed on its item, too.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

from seppo.errors import ProtocolError, TaskTimeoutError
from seppo.place import current_worker
from seppo.values.batch import pack_plain, pack_values
from seppo.values.outcome import Failure
from seppo.wire.messages import Chunk
from seppo.wire.packed import Batch
from seppo.worker.arguments import Arguments
from seppo.worker.loop import Loop
from seppo.worker.outcomes import Outcomes


class Marker(Protocol):
    """Takes note of which items run."""

    def set(self, attempt: int, first: int, stop: int, deadline: float = 0.0) -> None:
        """Say that items ``first`` to ``stop`` run from now on, until ``deadline`` if not 0."""

    def clear(self) -> None:
        """Say that nothing runs."""


class NoMarker:
    """Takes no note: for workers without a supervisor that asks how they ended."""

    def set(self, attempt: int, first: int, stop: int, deadline: float = 0.0) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


class ChunkRun:
    """A chunk being run by one thread, which other threads may watch and cut short.

    Args:
        chunk: The chunk.
        mark: Where to write down what runs.

    Raises:
        ProtocolError: If the chunk is not valid.

    Attributes:
        chunk: As above.
        arguments: What its items are called with; for the running thread.
        outcomes: What has come of them, in order.
        burst_at: When the burst, or item, that is under way began; None between bursts.
        was_given_back: Whether some of its items were given back, or dropped.
        is_unwanted: Whether its outcomes are not needed any more.
        unwanted_at: Since when.
        is_forked: Whether this process is a child that user code has forked.
    """

    def __init__(self, chunk: Chunk, mark: Marker | None = None) -> None:
        if chunk.index + chunk.count >= 1 << 63:
            raise ProtocolError("a chunk whose items have numbers of more than 63 bits")
        self.chunk = chunk
        self.arguments = Arguments(chunk.columns, chunk.index)
        self.outcomes = Outcomes()
        self.burst_at: float | None = None
        self.was_given_back = False
        self.is_unwanted = False
        self.unwanted_at = 0.0
        self.is_forked = False
        self._mark: Marker = NoMarker() if mark is None else mark
        self._item_at: float | None = None  # when an item that may time out began
        # An item has begun outside of a tight loop. Loading the function and unpacking are part
        # of it: whoever was given back everything would not interrupt that user code.
        self._runs_one = False
        self._loop: Loop | None = None  # the tight loop under way
        self._lock = threading.Lock()  # between beginning items and giving back the rest
        self._stop = chunk.count  # items from here on are not to begin
        self._seconds = 0.0  # spent in bursts, and not reported yet

    def name_result(self, position: int) -> str:
        """Return what the error of a result that cannot be packed calls it."""
        return f"the result of item {self.chunk.index + position}"

    @property
    def done(self) -> int:
        """Items that have an outcome."""
        return self.outcomes.count

    @property
    def left(self) -> int:
        """Items that have none, and are to get one."""
        return self._stop - self.outcomes.count

    @property
    def is_finished(self) -> bool:
        """Whether no item is left to run."""
        return self.outcomes.count >= self._stop

    # --- the running thread

    def begin_burst(self) -> float:
        """Take note that a burst begins; return when."""
        now = self.burst_at = time.perf_counter()
        with self._lock:
            self._runs_one = self._stop > self.outcomes.count
        return now

    def restart_burst(self) -> float:
        """Begin to count the burst's time anew; return when that is."""
        now = self.burst_at = time.perf_counter()
        return now

    def end_burst(self, started: float) -> float:
        """Take note that a burst has ended; return how long it took."""
        self.burst_at = None
        self._runs_one = False
        self._mark.clear()
        spent = time.perf_counter() - started
        with self._lock:
            self._seconds += spent
        return spent

    def mark(self, n: int) -> None:
        """Mark that the next ``n`` items run."""
        first = self.chunk.index + self.outcomes.count
        self._mark.set(self.chunk.attempt, first, first + n)

    def unmark(self) -> None:
        """Mark that nothing runs that is any item's."""
        self._mark.clear()

    def begin_one(self) -> bool:
        """Take note that the next item runs, and mark it; return False if it was given back."""
        with self._lock:
            position = self.outcomes.count
            if self._stop <= position:
                return False
            self.outcomes.drop_taken()
            self._runs_one = True
        first, limit = self.chunk.index + position, self.chunk.task_timeout
        deadline = time.monotonic() + limit if limit else 0.0
        self._mark.set(self.chunk.attempt, first, first + 1, deadline)
        if limit:
            self.burst_at = self._item_at = time.perf_counter()
        return True

    def end_limit(self) -> None:
        """Take note that the item that runs cannot time out any more."""
        self._item_at = None

    def end_one(self, outcome: Any) -> float:
        """Keep the outcome of the item that ran, if it is still wanted; return when it ended."""
        with self._lock:
            self._runs_one = False
            if self._stop > self.outcomes.count:  # else it was given up, or is not wanted
                self.outcomes.add_one(outcome)
        now = self.burst_at = time.perf_counter()
        return now

    def fail(self, n: int, failure: Failure) -> None:
        """Have the next ``n`` items fail, unless they were given back just now."""
        with self._lock:
            self._runs_one = False
            self.outcomes.add_failure(failure, min(n, self.left))

    def begin_loop(self, items: list[Any]) -> Loop | None:
        """Return the tight loop over the next items; None if they were given back."""
        with self._lock:
            done = self.outcomes.count
            if self._stop <= done:
                return None
            del items[self._stop - done :]
            self.outcomes.drop_taken()
            self._runs_one = False
            self._loop = Loop(done, items)
            return self._loop

    def end_loop(self) -> None:
        """Take note that the tight loop is over, and all its values are plain or packed."""
        with self._lock:
            self._loop = None

    # --- any thread

    @property
    def overdue(self) -> float:
        """Seconds by which the item that runs exceeds its limit; negative while it does not."""
        began = self._item_at
        if began is None:
            return float("-inf")
        return time.perf_counter() - began - self.chunk.task_timeout

    def pause(self) -> None:
        """End the burst under way after the item that runs."""
        with self._lock:
            self._cut_loop()

    def _cut_loop(self) -> int:
        """End the tight loop under way; return how many items have begun. Under the lock."""
        if self._loop is None:
            # What is not wanted does not begin after it was unpacked.
            return self.done + (self._runs_one and not self.is_unwanted)
        # The first item has begun with its unpacking: it is called, if it is still wanted.
        begun = self._loop.cut(0 if self.is_unwanted else 1)
        if begun is None:
            return self.done
        if begun > self.done:  # now it is known which of them runs
            last = self.chunk.index + begun - 1
            self._mark.set(self.chunk.attempt, last, last + 1)
        return begun

    def give_back(self) -> int:
        """Let no further item begin; return how many of the chunk's items are kept."""
        with self._lock:
            begun = self._cut_loop()
            self._stop = min(self._stop, max(begun, self.done))
            self.arguments.stop_at(self._stop)
            self.was_given_back = True
            return self._stop

    def abandon(self) -> None:
        """Let no further item begin, and forget what comes of the one that runs."""
        if not self.is_unwanted:
            self.unwanted_at = time.perf_counter()
            self.is_unwanted = True
        self.give_back()

    def _timeout_failure(self) -> Failure:
        """Return what becomes of the item that runs when it takes too long."""
        index = self.chunk.index + self.done
        worker = current_worker() or ""
        return Failure.of(TaskTimeoutError(index, self.chunk.task_timeout, worker))

    def give_up_item(self) -> int | None:
        """Let the item that runs fail with its time limit; return how many items are kept.

        Only for a process that ends at once: the item still runs. None if it has ended.
        """
        with self._lock:
            if self.overdue < 0 or self.is_finished:
                return None
            self.outcomes.add_failure(self._timeout_failure())
            self._runs_one = False
            self._stop = self.done  # should it end after all, its outcome comes too late
        self.abandon()
        return self.done

    def take_outcomes(self) -> tuple[list[Any], float]:
        """Return outcomes not yet taken, in order, and the seconds spent since the last time."""
        with self._lock:
            seconds, self._seconds = self._seconds, 0.0
            return self.outcomes.take(self._loop is not None), seconds

    def take_results(self) -> tuple[Batch | None, float]:
        """Return the same as a batch to be sent, None if there are no outcomes; one at a time."""
        first = self.outcomes.taken
        values, seconds = self.take_outcomes()
        if not values:
            return None, seconds
        if self.outcomes.are_plain and self.burst_at is None:
            return pack_plain(values), seconds
        return pack_values(values, lambda i: self.name_result(first + i)), seconds

    def forked(self) -> None:
        """Say that this process is a child forked by the item that runs: it ends with it."""
        self.is_forked = True
        if self._loop is not None:
            self._loop.clear()  # without the lock, which another thread may have held
