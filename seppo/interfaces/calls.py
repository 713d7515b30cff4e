"""The calls of an executor: a job for those that share their code, and its futures.

Futures are settled in the thread of their job. Plain values are settled in the driver's at
once, which saves a change of threads for each: unpacking them runs no user code, and threads
that wait for a future are only notified. Callbacks are user code, and are left to the job's thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from queue import SimpleQueue
from typing import Any

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem
from seppo.core.events import Policy
from seppo.driver import Broken, Driver, Outcome, is_driver_thread
from seppo.engines.base import Answer
from seppo.errors import InternalError
from seppo.forks import in_children
from seppo.interfaces.drivers import finish_first
from seppo.interfaces.lost import error_of_item, error_of_job
from seppo.values.batch import WHOLE, unpack_all
from seppo.values.outcome import Failure
from seppo.values.source import PackedCall, TaskSource

log = logging.getLogger(__name__)

# What the driver says, and callbacks to call, for the job's thread.
_Outcomes = SimpleQueue[Outcome | partial[None]]


class CallJob:
    """Calls that share a world: a job, and the thread that settles its futures.

    Args:
        driver: Where the job runs.
        policy: What the caller asked for.
        first: The first call, if it is known.

    Attributes:
        pending: The futures.
        thread: Settles them; it ends when the job is over.
    """

    def __init__(self, driver: Driver, policy: Policy, first: PackedCall | None) -> None:
        self.pending = PendingCalls()
        self._task_timeout = policy.task_timeout
        self._outcomes: _Outcomes = SimpleQueue()
        self._source = TaskSource(self.pending.begin)
        if first is not None:
            self._source.function = self._source.function_for(first)
        self._handle = driver.open(self._source, self._receive, policy)
        self.thread = threading.Thread(target=self._settle_all, name="seppo-collector", daemon=True)
        try:
            _unfinished[self.thread] = self
            self.thread.start()
        except BaseException:  # Ctrl-C, or no more threads
            _unfinished.pop(self.thread, None)
            self._handle.close()
            raise

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process is the one that made the job, not a fork of it."""
        return self._handle.is_of_this_process

    def admits(self, call: PackedCall) -> bool:
        """Whether a call can run in the same processes as those before."""
        function = self._source.function_for(call)
        if function is not self._source.function:
            if not self._handle.admits(function):
                return False
            self._source.function = function
        return True

    def add(self, call: PackedCall) -> Future[Any]:
        """Have a call run, and return its future."""
        future = CallFuture(self._outcomes)
        index = self._handle.offered
        self._source.add(index, call)
        self.pending.add(index, future)
        self._handle.offer(1)
        return future

    def end(self) -> None:
        """Take no more calls."""
        self._handle.end()
        self._handle.remind()  # again, should Ctrl-C have come in the middle

    def _receive(self, outcome: Outcome) -> None:
        """Take what the driver says, in its thread."""
        if isinstance(outcome, Deliver):
            answer = outcome.payload
            if isinstance(answer, Answer) and answer.batch.kind == WHOLE:  # plain values
                self._settle(outcome)
                return
        self._outcomes.put(outcome)

    def _settle_all(self) -> None:
        """Settle futures until the job is over."""
        try:
            while self._settle_next(self._outcomes.get()):
                pass
        except BaseException as error:  # callers must not wait for a dead thread
            log.exception("the thread of an executor has failed")
            problem = InternalError(f"the thread of an executor has failed: {error!r}")
            self.pending.fail_all(problem)
        finally:
            _unfinished.pop(threading.current_thread(), None)

    def _settle_next(self, outcome: Outcome | partial[None]) -> bool:
        """Settle what an outcome is about; return whether more will come."""
        match outcome:
            case partial():
                outcome()
            case Deliver():
                self._settle(outcome)
            case FinishJob():
                return False
            case FailJob():
                self.pending.fail_all(error_of_job(outcome, None))
                return False
            case Broken(error=error):
                self.pending.fail_all(error)
                return False
        return True

    def _settle(self, part: Deliver) -> None:
        finish = self.pending.finish
        if isinstance(part.payload, LostItem):
            error = error_of_item(part.payload, part.index, self._task_timeout)
            finish(part.index, None, error)
            self._source.drop(part.index, part.index + 1)
            return
        assert isinstance(part.payload, Answer)
        batch, worker = part.payload.batch, part.payload.worker
        values = unpack_all(batch, lambda i: f"the result of call {part.index - part.offset + i}")
        for i, value in enumerate(values[part.offset : part.offset + part.count], part.index):
            if type(value) is Failure:
                finish(i, None, value.to_exception(i, worker))
            else:
                finish(i, value)


class PendingCalls:
    """The futures of calls without a result, by number.

    Attributes:
        broken: Why no further call can be run; None if it can.
    """

    def __init__(self) -> None:
        self.broken: BaseException | None = None
        self._futures: dict[int, Future[Any]] = {}
        self._begun: dict[int, bool] = {}  # what begin() said; a call may be sent again

    def add(self, index: int, future: Future[Any]) -> None:
        """Keep the future of a call."""
        self._futures[index] = future

    def begin(self, index: int) -> bool:
        """Say that a call is sent; return false if it was cancelled before."""
        future = self._futures.get(index)
        if future is None:
            return False
        if index not in self._begun:
            try:
                self._begun[index] = future.set_running_or_notify_cancel()
            except Exception:  # user code has settled it
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
        except InvalidStateError:  # user code has settled it
            pass

    def cancel_waiting(self) -> None:
        """Cancel the calls that have not begun."""
        for future in list(self._futures.values()):
            future.cancel()

    def fail_all(self, error: BaseException) -> None:
        """Settle all calls, and refuse further ones."""
        self.broken = error
        for index in list(self._futures):
            self.begin(index)
            self.finish(index, None, error)


class CallFuture(Future[Any]):
    """A future whose callbacks never run in the driver's thread.

    Args:
        outcomes: What the job's thread does.
    """

    def __init__(self, outcomes: _Outcomes) -> None:
        super().__init__()
        self._outcomes = outcomes

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn`` called with this future when it is done."""
        super().add_done_callback(partial(_call_back, fn, self._outcomes))


def _call_back(
    fn: Callable[[Future[Any]], object], outcomes: _Outcomes, future: Future[Any]
) -> None:
    """Call back; later, in the job's thread, if this is the driver's."""
    if is_driver_thread():
        outcomes.put(partial(_call_back, fn, outcomes, future))
        return
    try:
        fn(future)
    except BaseException:  # user code; SystemExit, too, must not end a job's thread
        if threading.current_thread() not in _unfinished:
            raise  # in a thread of the user's, which cancelled it or added a callback late
        log.exception("exception calling callback for %r", future)


# Jobs by their threads: pending futures are finished also when the executor itself has been
# forgotten.
_unfinished: dict[threading.Thread, CallJob] = {}
_process_ends = False


def is_process_ending() -> bool:
    """Whether the process ends: what is pending is finished, and no further call is run."""
    return _process_ends


def _finish_all() -> None:
    """At the end of the process: finish what is pending, before the driver stops."""
    global _process_ends
    _process_ends = True
    for thread, job in list(_unfinished.items()):
        job.end()
        thread.join()


finish_first(_finish_all)
in_children(_unfinished.clear)  # no executor of the parent's is theirs
