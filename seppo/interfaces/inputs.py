"""The inputs of a map: their length, and a reader for the caller's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seppo.driver import JobHandle
from seppo.values.source import StreamSource

FIRST_AHEAD = 1024  # items read before the first result; a millisecond's worth
QUICK = 0.001  # seconds; an input whose next item took longer is slow


def length_of(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many results there will be: the shortest length, None if one has none."""
    lengths = []
    for iterable in iterables:
        try:
            # arg-type: whether it has a length is what is asked here.
            lengths.append(len(iterable))  # type: ignore[arg-type]
        except Exception:  # none, one beyond what len() can say, or a user's that raises
            return None
    return min(lengths)


def growth_of(iterables: tuple[Any, ...], length: int) -> Callable[[], int] | None:
    """Return what tells by how many items lists have grown since; None if none can grow."""
    if any(type(each) is not list and len(each) == length for each in iterables):
        return None
    return lambda: max(0, min(len(each) for each in iterables) - length)


class Reader:
    """Reads an input that must be iterated over, a little ahead of the results.

    Only the thread that calls ``map_parallel`` and ``next()`` comes here: an iterator may
    be bound to it.

    Args:
        rows: The arguments of one item after the other.
        source: Where the items go.
        job: The job that is told of them.
        buffersize: Most items offered beyond the results handed out; None for the
            driver's choice.

    Attributes:
        error: What the input raised, to be raised after the results before it.
        is_quick: Whether the last item came at once.
        is_exact: Whether the caller counts the items: each one read waits for its result.
    """

    def __init__(
        self,
        rows: Iterator[tuple[Any, ...]],
        source: StreamSource,
        job: JobHandle,
        buffersize: int | None,
    ) -> None:
        self.error: BaseException | None = None
        self.is_quick = True
        self._row: tuple[Any, ...] | None = None  # read, and not offered yet
        self._rows: Iterator[tuple[Any, ...]] | None = rows
        self.is_exact = buffersize is not None
        self._source = source
        self._job = job
        self._buffersize = buffersize

    def read_first(self, n_items: int, seconds: float) -> None:
        """Read at most ``n_items``, and stop after ``seconds``: so that work can begin."""
        deadline = time.perf_counter() + seconds
        n_items = min(n_items, self._buffersize or n_items)
        while self._rows is not None and self._job.offered < n_items:
            self.read_one()
            if time.perf_counter() >= deadline:
                return

    def may_read(self, handed_out: int) -> bool:
        """Whether another item should be read, ``handed_out`` results being with the caller."""
        if self._rows is None:
            return False
        window = self._window()
        if handed_out == 0:
            # Reading on and on would keep the driver from the interpreter, and the first
            # result from the caller.
            window = min(window, FIRST_AHEAD)
        return self._job.offered - handed_out < window

    def read_many(self, n: int, handed_out: int) -> None:
        """Read up to ``n`` items, as long as they come at once and are wanted."""
        deadline = time.perf_counter() + QUICK
        n = min(n, self._window() - (self._job.offered - handed_out))
        rows, job, source = self._rows, self._job, self._source
        if rows is None or self._row is not None or n <= 0:
            return
        try:
            for self._row in rows:
                source.add(job.offered, self._row)
                self._row, job.offered = None, job.offered + 1
                n -= 1
                if n <= 0 or time.perf_counter() > deadline:
                    self.is_quick = n <= 0
                    break
            else:
                self._rows, job.ended = None, True
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.error, self._rows, job.ended = error, None, True
        job.tell()

    def _window(self) -> int:
        return max(1, self._job.window if self._buffersize is None else self._buffersize)

    def read_one(self) -> None:
        """Read one item and offer it; at the end, or after an error, say that it ended.

        Ctrl-C may come between any two calls: the item read is kept before anything is
        called, and offered by the next call if this one does not come to it. That the
        input has ended is noted in one step, here and for the driver.
        """
        rows, job = self._rows, self._job
        if rows is None:
            return  # closed by another thread
        row = self._row
        if row is None:
            started = time.perf_counter()
            try:
                for self._row in rows:
                    break
                else:
                    self._rows, job.ended = None, True
            except KeyboardInterrupt:
                raise  # of the person at the terminal: the loop may go on
            except BaseException as error:  # whatever the input raises comes after its items
                self.error, self._rows, job.ended = error, None, True
            row = self._row
            if row is None:
                job.tell()
                return
            self.is_quick = time.perf_counter() - started < QUICK
        self._source.add(job.offered, row)
        self._row, job.offered = None, job.offered + 1
        job.tell()

    def close(self) -> None:
        """Read nothing more."""
        self._rows = None
