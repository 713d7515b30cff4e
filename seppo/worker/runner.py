"""Runs the items of a chunk: unpack, call, catch, time; the same for every engine.

Items run in *bursts* of about a millisecond, so that between two bursts the thread can
look at its channels. How many items go into one follows their cost (``Pace``). There are
two kinds:

- Results that are plain (numbers, strings): one tight loop, close to the speed of builtin
  ``map``, over a list of our own. When the pace was wrong and it lasts, another thread can
  end it: it cuts the list short under the iterator (``Loop``).
- Other results: item by item, and each result is packed before the next item runs. Many a
  function fills one array over and over and returns it each time. So the first such result
  ends the tight loop, and is packed at once.

Items with a time limit, and those that run *alone* since a worker died with them, are
unpacked, run and packed one after the other, so that what happens meanwhile is theirs.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from seppo.values.outcome import Failure, Interrupted
from seppo.values.serialize import PLAIN_TYPES
from seppo.worker.pace import BURST_SECONDS, Pace
from seppo.worker.run import ChunkRun

_PLAIN = frozenset(map(id, PLAIN_TYPES))  # by id: to look up a type may run user code


def _references_of_ours() -> int:
    value = object()
    return sys.getrefcount(value)


# The references to an object that only a variable of ours has. Measured, since how many
# the interpreter itself holds at such a moment changes from version to version.
_OURS_ALONE = _references_of_ours()


class Runner:
    """Runs one chunk, in the thread that calls it.

    Args:
        run: The chunk being run.
        load: Gives the function, or the ``Failure`` that says why it could not be loaded.
        pace: The function's pace.
    """

    def __init__(
        self, run: ChunkRun, load: Callable[[], Callable[..., Any] | Failure], pace: Pace
    ) -> None:
        self.run = run
        self._load_function = load
        self._func: Callable[..., Any] | Failure | None = None
        self._pace = pace

    def run_burst(self) -> None:
        """Run some items; returns after about ``BURST_SECONDS``, or one item.

        Raises:
            Interrupted: If our signal's handler raised it: the process ends.
        """
        run = self.run
        first, started = run.done, run.begin_burst()
        try:
            if self._func is None:
                run.mark(run.left)  # a death here concerns all of them
                self._func = self._load_function()
                # No part of what items cost: the next chunks would be far too small.
                started = run.restart_burst()
            if run.chunk.alone or run.chunk.task_timeout:
                self._call_exactly(self._func, started)
                return
            wanted = min(self._pace.items, run.left)
            run.mark(wanted)
            n = run.arguments.load(wanted)
            if n < wanted:
                run.mark(n)
            if isinstance(self._func, Failure):
                run.fail(n, self._func)
                run.arguments.drop(run.done - first)
            elif self._pace.packs_each or run.arguments.has_failures:
                self._call_each(self._func, n, started)
            elif n > 0:
                self._call_all(self._func, n)
        finally:
            spent = run.end_burst(started)
        self._pace.learn(max(1, run.done - first), spent)

    def _call_all(self, func: Callable[..., Any], n: int) -> None:
        """Run ``n`` items in one tight loop, unless somebody ends it before."""
        run, outcomes = self.run, self.run.outcomes
        columns = run.arguments.ahead(n)
        loop = run.begin_loop(columns[0])
        if loop is None:
            return
        calls = map(func, loop.iterator, *columns[1:])
        keep, has_other = outcomes.add, False
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
                    if run.is_forked:
                        _leave(error)
                    outcomes.add_failure(Failure.of(error, skip=1))
                    continue
                if run.is_forked:
                    _leave(None)
                if has_other or loop.is_exhausted:
                    break
                # map() stops where the function raises StopIteration: that is an outcome.
                outcomes.add_failure(Failure.of(StopIteration()))
            if has_other:
                packed = self._pace.pack(value, True, run.name_result, run.done - 1)
                outcomes.replace_last(packed)
        finally:
            run.end_loop()
            # Destructors are to run while the items are marked.
            run.arguments.drop(run.done - loop.first)
            del columns, loop, calls

    def _call_each(self, func: Callable[..., Any], n: int, started: float) -> None:
        """Run up to ``n`` items one by one, each result packed before the next item."""
        run = self.run
        for _ in range(n):
            if not run.begin_one():
                return
            args = run.arguments.pop()
            outcome = self._call_one(func, args)
            del args  # whatever its destructors do belongs to this item
            if run.end_one(outcome) - started >= BURST_SECONDS:
                return

    def _call_exactly(self, func: Callable[..., Any] | Failure, started: float) -> None:
        """Run items one by one, each with all that belongs to it, under its time limit."""
        run, alone = self.run, self.run.chunk.alone
        if alone:
            # What earlier items left behind goes now, on nobody's account.
            run.unmark()
            gc.collect()
        while run.begin_one():
            try:
                outcome = self._load_and_call(func)
            finally:
                run.end_limit()
            if alone:
                gc.collect()
            if run.end_one(outcome) - started >= BURST_SECONDS or alone:
                return

    def _load_and_call(self, func: Callable[..., Any] | Failure) -> Any:
        args = self.run.arguments.take_one()
        if args is None:
            return None  # it was dropped while an argument was unpacked
        return func if isinstance(func, Failure) else self._call_one(func, args)

    def _call_one(self, func: Callable[..., Any], args: list[Any]) -> Any:
        """Return the outcome of one item; a result that is not plain is packed."""
        for arg in args:
            if type(arg) is Failure:
                return arg
        try:
            value = func(*args)
        except Interrupted:
            raise
        except BaseException as error:  # whatever user code raises is its outcome
            if self.run.is_forked:
                _leave(error)
            return Failure.of(error, skip=1)
        if self.run.is_forked:
            _leave(None)
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
        return self._pace.pack(value, is_shared, self.run.name_result, self.run.done)


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
