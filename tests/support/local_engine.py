"""Threads of this process as workers: the reference for the other engines, and for tests.

Items and results are packed and unpacked as for a real worker, so that what works here
works there. Python threads share one interpreter: this engine is not for speed. A thread
can be neither interrupted nor killed, so ``task_timeout`` and ``KillWorker`` do nothing here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from seppo.core.commands import CancelAttempt, KillWorker, RecallChunk, SendChunk
from seppo.core.events import ChunkSent, Event, ItemsDone, RestReturned, WorkerJoined
from seppo.engines.base import Answer, Order, Told
from seppo.place import enter_worker_thread
from seppo.values.content import open_function
from seppo.values.function import PackedFunction
from seppo.values.outcome import Failure
from seppo.values.source import ItemSource
from seppo.wire.messages import Chunk
from seppo.worker.pace import Pace
from seppo.worker.run import ChunkRun
from seppo.worker.runner import Runner

WORLD = 0  # threads share all there is


class LocalEngine:
    """An engine of threads.

    Args:
        n_workers: How many threads.
    """

    def __init__(self, n_workers: int = 2) -> None:
        self.n_places = n_workers
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._workers: dict[str, _WorkerThread] = {}

    def find(self) -> bool:
        """Return True: threads can be had at any time."""
        return True

    def open_job(self, job: int, source: ItemSource) -> int:
        """Return the one world there is."""
        return WORLD

    def want(self, world: int, count: int) -> list[Told]:
        """Have all workers join, when they are wanted for the first time."""
        while len(self._workers) < self.n_places:
            worker = _WorkerThread(f"thread-{len(self._workers)}", self._events)
            self._workers[worker.name] = worker
            self._events.put(WorkerJoined(worker.name))
            worker.start()
        return []

    def admits(self, job: int, function: PackedFunction) -> bool:
        """Return True: there is but one world."""
        return True

    def execute(self, order: Order, source: ItemSource | None) -> list[Told]:
        """Carry out a command."""
        worker = self._workers[order.worker]
        match order:
            case SendChunk():
                assert source is not None
                columns = source.pack(order.start, order.stop)
                function = source.function
                worker.accept(
                    Chunk(
                        order.attempt, order.job, order.start, order.stop - order.start,
                        function.digest, columns,
                    ),
                    function,
                )  # fmt: skip
                weight = sum(len(part) for column in columns for part in column.parts)
                return [(WORLD, ChunkSent(order.attempt, weight))]
            case RecallChunk(attempt=attempt):
                worker.give_back(attempt)
            case CancelAttempt(attempt=attempt):
                worker.cancel(attempt)
            case KillWorker():
                pass  # no thread of a living process is frozen
        return []

    def wait(self, timeout: float | None) -> list[Told]:
        """Return what has happened."""
        events: list[Told] = []
        try:
            event = self._events.get(timeout=timeout)
            while True:
                if event is not None:
                    events.append((WORLD, event))
                event = self._events.get_nowait()
        except Empty:
            return events

    def wake(self) -> None:
        """Make ``wait`` return."""
        self._events.put(None)

    def set_active(self, active: bool) -> None:
        """Do nothing: no more threads will join."""

    def close_job(self, job: int) -> None:
        """Do nothing: nothing is kept for a job."""

    def close(self) -> None:
        """Let the threads end after the item that each one runs."""
        for worker in self._workers.values():
            worker.end()

    def abandon(self) -> None:
        """Do nothing: the threads are not in a forked child."""


class _WorkerThread(threading.Thread):
    """One worker: runs chunks in the order they come."""

    def __init__(self, name: str, events: SimpleQueue[Event | None]) -> None:
        super().__init__(name=f"seppo-{name}", daemon=True)
        self.name = name
        self._events = events
        self._changed = threading.Condition()  # guards the three below
        self._waiting: deque[tuple[Chunk, PackedFunction]] = deque()
        self._running: ChunkRun | None = None
        self._ending = False
        self._paces: dict[bytes, Pace] = {}

    def accept(self, chunk: Chunk, function: PackedFunction) -> None:
        with self._changed:
            self._waiting.append((chunk, function))
            self._changed.notify()

    def give_back(self, attempt: int) -> None:
        with self._changed:
            if self._forget(attempt):
                self._events.put(RestReturned(attempt, 0))
                return
            run = self._running
        if run is not None and run.chunk.attempt == attempt:
            kept = run.give_back()
            self._tell(run)
            self._events.put(RestReturned(attempt, kept))

    def cancel(self, attempt: int) -> None:
        with self._changed:
            if not self._forget(attempt):
                run = self._running
                if run is not None and run.chunk.attempt == attempt:
                    run.abandon()

    def _forget(self, attempt: int) -> bool:
        for entry in self._waiting:
            if entry[0].attempt == attempt:
                self._waiting.remove(entry)
                return True
        return False

    def end(self) -> None:
        with self._changed:
            self._ending = True
            self._waiting.clear()
            if self._running is not None:
                self._running.abandon()
            self._changed.notify()

    def run(self) -> None:
        enter_worker_thread(self.name)
        while True:
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: self._waiting or self._ending)
                if self._ending:
                    return
                chunk, function = self._waiting.popleft()
                pace = self._paces.setdefault(function.digest, Pace())
                run = self._running = ChunkRun(chunk)
            runner = Runner(run, partial(_load, function), pace)
            while not run.is_finished:
                runner.run_burst()
                self._tell(run)

    def _tell(self, run: ChunkRun) -> None:
        with self._changed:  # what is taken first must be told first
            batch, seconds = run.take_results()
            if batch is None or run.is_unwanted:
                return
            nbytes = sum(len(part) for part in batch.parts)
            self._events.put(
                ItemsDone(run.chunk.attempt, batch.count, seconds, nbytes, Answer(batch, self.name))
            )


def _load(function: PackedFunction) -> Callable[..., Any] | Failure:
    try:
        return open_function(function.packed)
    except BaseException as error:  # user code: any module may be imported
        return Failure.of(error, skip=1)
