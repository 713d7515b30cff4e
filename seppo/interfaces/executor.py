"""``concurrent.futures.Executor`` on the workers: calls that come one by one over time."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future, InvalidStateError
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem
from seppo.core.events import Policy
from seppo.driver import Broken, Driver, JobHandle, Outcome, is_driver_thread
from seppo.engines.base import Answer
from seppo.errors import InternalError, NameServerError, NoWorkersError, SerializationError
from seppo.interfaces.drivers import driver_for
from seppo.interfaces.lost import error_of_item, error_of_job
from seppo.interfaces.options import count_of, seconds_of
from seppo.place import is_nested
from seppo.settings import Settings
from seppo.values.batch import WHOLE, unpack_all
from seppo.values.outcome import Failure
from seppo.values.source import PackedCall, TaskSource

log = logging.getLogger(__name__)

# What the driver says, and callbacks to call, for the executor's thread.
_Outcomes = SimpleQueue[Outcome | partial[None]]

P = ParamSpec("P")
T = TypeVar("T")


class Executor(StandardExecutor):
    """Runs calls on seppo's workers; what ``concurrent.futures`` promises, it keeps.

    Calls are sent as workers have room; a future can be cancelled until then. At the end
    of the process pending futures are finished first, as with the standard executors.

    Args:
        max_workers: Most workers that run calls of this executor at once; None for all.
        group: Use the workers of this group.
        retries_on_loss: How often a call is begun again after its worker was lost while
            running it; then its future gets ``WorkerLostError``.
        duplicate: Whether a call that takes much longer than others may be run by a second
            worker as well. Not by default, unlike maps: calls are seldom alike.
        task_timeout: Seconds that one call may run; then its future gets
            ``TaskTimeoutError``. None for no limit.

    Raises:
        NoWorkersError: If no worker is registered.
        ValueError: If ``max_workers`` is below 1.
        RuntimeError: Inside a worker: its calls would wait for the worker itself.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        group: str | None = None,
        *,
        retries_on_loss: int = 2,
        duplicate: bool = False,
        task_timeout: float | None = None,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError("max_workers must be greater than 0")
        if is_nested(group):
            raise RuntimeError(
                "inside a worker, seppo.Executor needs another group: workers that wait "
                "for each other would wait for ever"
            )
        policy = Policy(
            ordered=False,
            max_workers=max_workers,
            retries_on_loss=count_of("retries_on_loss", retries_on_loss),
            taken_on_delivery=True,
            duplicate=bool(duplicate),
            task_timeout=seconds_of("task_timeout", task_timeout),
        )
        settings = Settings.load(group=group)
        try:
            driver = driver_for(settings)
        except NameServerError as error:
            raise NoWorkersError(str(error)) from error
        if driver is None:
            raise NoWorkersError(f"no worker of group {settings.group!r} is registered")
        self._driver, self._policy = driver, policy
        self._lock = threading.Lock()  # guards the numbering of calls, the lines, the shutdown
        self._is_shut_down = False
        self._line = self._open_line(None)  # for calls with the code as it is now
        self._older: list[_Line] = []  # with calls whose code has changed since

    def _open_line(self, first: PackedCall | None) -> _Line:
        line = _Line(self._driver, self._policy, first)
        weakref.finalize(self, line.job.end).atexit = False
        return line

    def _line_for(self, call: PackedCall) -> _Line:
        """Return where a call is to run: another one once code has changed. Under the lock."""
        if not self._line.admits(call):
            self._line.end()  # what is pending there runs with the code that it was made with
            self._older = [line for line in self._older if line.collector.is_alive()]
            self._older.append(self._line)
            self._line = self._open_line(call)
        return self._line

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return the future of one call; its arguments are packed now.

        A call that cannot be packed gives a future with a ``SerializationError``.

        Raises:
            RuntimeError: If the executor is shut down or the process ends.
        """
        if not self._line.job.is_of_this_process:  # before the lock, which the fork may have caught
            raise RuntimeError("this executor belongs to the process that made it, not to a fork")
        self._check_open()
        try:
            call = PackedCall.of(fn, args, kwargs)  # user code, which may submit: without the lock
        except SerializationError as error:
            return self._unsent(error)
        except Exception as problem:
            reason = f"{type(problem).__name__}: {problem}"
            unsent = SerializationError(f"an argument of the call {fn!r}", reason)
            unsent.__cause__ = problem
            return self._unsent(unsent)
        with self._lock:
            self._check_open()
            line = self._line_for(call)
            future = line.add(call)
        if line.calls.broken is not None:  # between the check and now
            line.calls.fail_all(line.calls.broken)
        return future

    def _unsent(self, error: SerializationError) -> Future[Any]:
        future = _CallFuture(self._line.outcomes)
        future.set_exception(error)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        """Return an iterator over the results in input order, as the standard map does.

        ``chunksize`` is checked and ignored: calls that wait travel together anyway.

        Raises:
            ValueError: If ``chunksize`` is below 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, **more)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let go of the workers when all is done.

        Args:
            wait: Return only when all pending futures are done.
            cancel_futures: Cancel those that have not begun.
        """
        if not self._line.job.is_of_this_process:
            return
        with self._lock:
            self._is_shut_down = True
            lines = [*self._older, self._line]
            for line in lines:
                line.end()
        if cancel_futures:
            for line in lines:
                line.calls.cancel_waiting()
        for line in lines if wait else ():
            if line.collector is not threading.current_thread():
                line.collector.join()

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _process_ends:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._line.calls.broken is not None:
            raise self._line.calls.broken


class _Line:
    """Calls that share a world: a job, and the thread that settles its futures.

    Args:
        driver: Where the job runs.
        policy: What the caller asked for.
        first: The first call, if it is known.
    """

    def __init__(self, driver: Driver, policy: Policy, first: PackedCall | None) -> None:
        self.calls = _Calls(policy.task_timeout)
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
        future = _CallFuture(self.outcomes)
        index = self.job.offered
        self._source.add(index, call)
        self.calls.add(index, future)
        self.job.offer(1)
        return future

    def end(self) -> None:
        """Take no more calls."""
        self.job.end()
        self.job.remind()  # again, should Ctrl-C have come in the middle


class _Calls:
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


class _CallFuture(Future[Any]):
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


def _sink(calls: _Calls, outcomes: _Outcomes) -> Callable[[Outcome], None]:
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


def _collect(outcomes: _Outcomes, calls: _Calls) -> None:
    """Settle futures until the job is over."""
    try:
        while _settle_next(outcomes.get(), calls):
            pass
    except BaseException as error:  # nobody shall wait for a thread that is gone
        log.exception("the thread of an executor has failed")
        calls.fail_all(InternalError(f"the thread of an executor has failed: {error!r}"))
    finally:
        _collectors.pop(threading.current_thread(), None)


def _settle_next(outcome: Outcome | partial[None], calls: _Calls) -> bool:
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


def _settle(part: Deliver, calls: _Calls) -> None:
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


def _finish_all() -> None:
    """At the end of the process: finish what is pending, before the driver stops."""
    global _process_ends
    _process_ends = True
    for collector, job in list(_collectors.items()):
        job.end()
        collector.join()


# Registered after the driver's own handler (it is imported above), so it runs before it.
atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    # In a forked child no executor of the parent's is ours.
    os.register_at_fork(after_in_child=_collectors.clear)
