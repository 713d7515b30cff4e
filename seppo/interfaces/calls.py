"""The calls of an executor: a job for those that share their code, and its futures."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from queue import SimpleQueue
from typing import Any

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem
from seppo.core.events import Policy
from seppo.driver import Broken, Driver, JobHandle, Outcome, is_driver_thread
from seppo.engines.base import Answer
from seppo.errors import InternalError
from seppo.interfaces.drivers import finish_first
from seppo.interfaces.lost import error_of_item, error_of_job
from seppo.values.batch import WHOLE, unpack_all
from seppo.values.outcome import Failure
from seppo.values.source import PackedCall, TaskSource

log = logging.getLogger(__name__)

# What the driver says, and callbacks to call, for the executor's thread.
_Outcomes = SimpleQueue[Outcome | partial[None]]


class CallJob:
    """Calls that share a world: a job, and the thread that settles its futures.

    Args:
        driver: Where the job runs.
        policy: What the caller asked for.
        first: The first call, if it is known.
    """

    def __init__(self, driver: Driver, policy: Policy, first: PackedCall | None) -> None:
        self.calls = PendingCalls(policy.task_timeout)
        self.outcomes: _Outcomes = SimpleQueue()
        self._source = TaskSource(self.calls.begin)
        if first is not None:
            self._source.function = self._source.function_for(first)
        self.calls.forget = self._source.drop
        self.job = driver.open(self._source, _sink(self.calls, self.outcomes), policy)
        self.collector = threading.Thread(
            target=_collect,
            args=(self.outcomes, self.calls),
            name="seppo-collector",
            daemon=True,
        )
        try:
            _collectors[self.collector] = self.job
            self.collector.start()
        except BaseException:  # Ctrl-C, or no more threads
            _collectors.pop(self.collector, None)
            self.job.close()
            raise

    def admits(self, call: PackedCall) -> bool:
        """Whether a call can run in the same processes as those before."""
        function = self._source.function_for(call)
        if function is not self._source.function:
            if not self.job.admits(function):
                return False
            self._source.function = function
        return True

    def add(self, call: PackedCall) -> Future[Any]:
        """Have a call run, and return its future."""
        future = CallFuture(self.outcomes)
        index = self.job.offered
        self._source.add(index, call)
        self.calls.add(index, future)
        self.job.offer(1)
        return future

    def end(self) -> None:
        """Take no more calls."""
        self.job.end()
        self.job.remind()  # again, should Ctrl-C have come in the middle


class PendingCalls:
    """The futures of calls without a result, by number."""

    def __init__(self, task_timeout: float | None) -> None:
        self.task_timeout = task_timeout
        self.forget: Callable[[int, int], None] = lambda start, stop: None
        self.broken: BaseException | None = None  # why no further call can be run
        self._futures: dict[int, Future[Any]] = {}
        self._begun: dict[int, bool] = {}  # what begin() said; a call may be sent again

    def add(self, index: int, future: Future[Any]) -> None:
        self._futures[index] = future

    def begin(self, index: int) -> bool:
        """Say that a call is sent; return false if it was cancelled before."""
        future = self._futures.get(index)
        if future is None:
            return False
        if index not in self._begun:
            try:
                self._begun[index] = future.set_running_or_notify_cancel()
            except Exception:  # somebody has settled it who should not
                self._begun[index] = False
        return self._begun[index]

    def finish(self, index: int, value: Any, error: BaseException | None = None) -> None:
        """Settle a call: with ``error`` if there is one, otherwise with ``value``."""
        future = self._futures.pop(index, None)
        self._begun.pop(index, None)
        if future is None or future.cancelled():
            return
        try:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        except InvalidStateError:  # somebody has settled it who should not
            pass

    def cancel_waiting(self) -> None:
        for future in list(self._futures.values()):
            future.cancel()

    def fail_all(self, error: BaseException) -> None:
        self.broken = error
        for index in list(self._futures):
            self.begin(index)
            self.finish(index, None, error)


class CallFuture(Future[Any]):
    """A future whose callbacks run in the executor's thread, never in the driver's."""

    def __init__(self, outcomes: _Outcomes) -> None:
        super().__init__()
        self._outcomes = outcomes

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn`` called with this future when it is done."""
        super().add_done_callback(partial(_call_back, fn, self._outcomes))


def _call_back(
    fn: Callable[[Future[Any]], object], outcomes: _Outcomes, future: Future[Any]
) -> None:
    """Tell who waits for a future; later, in the executor's thread, if this is the driver's."""
    if is_driver_thread():
        outcomes.put(partial(_call_back, fn, outcomes, future))
        return
    try:
        fn(future)
    except BaseException:  # user code; SystemExit, too, must not end a thread of ours
        if threading.current_thread() not in _collectors:
            raise  # in the thread of whoever has cancelled it, or has come late
        log.exception("exception calling callback for %r", future)


def _sink(calls: PendingCalls, outcomes: _Outcomes) -> Callable[[Outcome], None]:
    """Return what the driver calls with outcomes.

    Plain values are settled at once, which saves a change of threads: unpacking them
    runs no user code. Everything else is the executor's thread's.
    """

    def receive(outcome: Outcome) -> None:
        if isinstance(outcome, Deliver):
            answer = outcome.payload
            if isinstance(answer, Answer) and answer.batch.kind == WHOLE:
                _settle(outcome, calls)
                return
        outcomes.put(outcome)

    return receive


def _collect(outcomes: _Outcomes, calls: PendingCalls) -> None:
    """Settle futures until the job is over."""
    try:
        while _settle_next(outcomes.get(), calls):
            pass
    except BaseException as error:  # nobody shall wait for a thread that is gone
        log.exception("the thread of an executor has failed")
        calls.fail_all(InternalError(f"the thread of an executor has failed: {error!r}"))
    finally:
        _collectors.pop(threading.current_thread(), None)


def _settle_next(outcome: Outcome | partial[None], calls: PendingCalls) -> bool:
    """Settle what an outcome is about; return whether more will come."""
    match outcome:
        case partial():
            outcome()
        case Deliver():
            _settle(outcome, calls)
        case FinishJob():
            return False
        case FailJob():
            calls.fail_all(error_of_job(outcome, None))
            return False
        case Broken(error=error):
            calls.fail_all(error)
            return False
    return True


def _settle(part: Deliver, calls: PendingCalls) -> None:
    if isinstance(part.payload, LostItem):
        error = error_of_item(part.payload, part.index, calls.task_timeout)
        calls.finish(part.index, None, error)
        calls.forget(part.index, part.index + 1)
        return
    assert isinstance(part.payload, Answer)
    batch, worker = part.payload.batch, part.payload.worker
    values = unpack_all(batch, lambda i: f"the result of call {part.index - part.offset + i}")
    for i, value in enumerate(values[part.offset : part.offset + part.count]):
        if type(value) is Failure:
            index = part.index + i
            calls.finish(index, None, value.to_exception(index, worker))
        else:
            calls.finish(part.index + i, value)


# Collectors at work and their jobs: pending futures are finished also when the executor
# itself has been forgotten.
_collectors: dict[threading.Thread, JobHandle] = {}
_process_ends = False


def is_process_ending() -> bool:
    """Whether no further call can be run: what is pending is being finished."""
    return _process_ends


def _finish_all() -> None:
    """At the end of the process: finish what is pending, before the driver stops."""
    global _process_ends
    _process_ends = True
    for collector, job in list(_collectors.items()):
        job.end()
        collector.join()


finish_first(_finish_all)
if hasattr(os, "register_at_fork"):
    # In a forked child no executor of the parent's is ours.
    os.register_at_fork(after_in_child=_collectors.clear)
