"""``concurrent.futures.Executor`` on the workers: calls that come one by one over time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from seppo.errors import NameServerError, NoWorkersError, SerializationError
from seppo.interfaces.calls import CallJob, is_process_ending
from seppo.interfaces.drivers import driver_for
from seppo.interfaces.options import MapOptions
from seppo.place import is_nested
from seppo.settings import Settings
from seppo.values.source import PackedCall

P = ParamSpec("P")
T = TypeVar("T")


class Executor(StandardExecutor):
    """A ``concurrent.futures.Executor`` that runs calls on seppo's workers.

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
        options = MapOptions(
            ordered=False,
            retries_on_loss=retries_on_loss,
            duplicate=duplicate,
            task_timeout=task_timeout,
            group=group,
            fallback="error",
        )
        settings = Settings.load(group=group)
        try:
            driver = driver_for(settings)
        except NameServerError as error:
            raise NoWorkersError(str(error)) from error
        if driver is None:
            raise NoWorkersError(f"no worker of group {settings.group!r} is registered")
        self._driver = driver
        self._policy = options.policy(max_workers=max_workers, taken_on_delivery=True)
        self._lock = threading.Lock()  # guards the numbering of calls, the jobs, the shutdown
        self._is_shut_down = False
        self._job = self._open_job(None)  # for calls with the code as it is now
        self._older: list[CallJob] = []  # with calls whose code has changed since

    def _open_job(self, first: PackedCall | None) -> CallJob:
        job = CallJob(self._driver, self._policy, first)
        weakref.finalize(self, job.end).atexit = False
        return job

    def _job_for(self, call: PackedCall) -> CallJob:
        """Return where a call is to run: another job once code has changed. Under the lock."""
        if not self._job.admits(call):
            self._job.end()  # what is pending there runs with the code that it was made with
            self._older = [job for job in self._older if job.thread.is_alive()]
            self._older.append(self._job)
            self._job = self._open_job(call)
        return self._job

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return the future of one call; its arguments are packed now.

        A call that cannot be packed gives a future with a ``SerializationError``.

        Raises:
            RuntimeError: If the executor is shut down or the process ends.
        """
        if not self._job.is_of_this_process:  # without the lock: it may be held for ever in a fork
            raise RuntimeError("this executor belongs to the process that made it, not to a fork")
        self._check_open()
        try:
            call = PackedCall.of(fn, args, kwargs)  # user code, which may submit: without the lock
        except SerializationError as error:
            return _failed(error)
        except Exception as problem:
            reason = f"{type(problem).__name__}: {problem}"
            unsent = SerializationError(f"an argument of the call {fn!r}", reason)
            unsent.__cause__ = problem
            return _failed(unsent)
        with self._lock:
            self._check_open()
            job = self._job_for(call)
            future = job.add(call)
        if job.pending.broken is not None:  # between the check and now
            job.pending.fail_all(job.pending.broken)
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
        if not self._job.is_of_this_process:
            return
        with self._lock:
            self._is_shut_down = True
            jobs = [*self._older, self._job]
            for job in jobs:
                job.end()
        if cancel_futures:
            for job in jobs:
                job.pending.cancel_waiting()
        for job in jobs if wait else ():
            if job.thread is not threading.current_thread():
                job.thread.join()

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if is_process_ending():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._job.pending.broken is not None:
            raise self._job.pending.broken


def _failed(error: SerializationError) -> Future[Any]:
    """Return the future of a call that cannot be sent."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
