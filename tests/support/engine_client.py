"""A client without a scheduler: commands go to an engine by hand, its events are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from processes import NameServerProcess, wait_until

from seppo.core.commands import CancelAttempt, KillWorker, SendChunk
from seppo.core.events import Event, ItemsDone, WorkerJoined, WorkerLost
from seppo.engines.base import Told, WorldOver
from seppo.engines.pyro import PyroEngine
from seppo.values.batch import unpack_all
from seppo.values.function import PackedFunction, pack_function
from seppo.values.source import SequenceSource
from seppo.wire.stream import Stream


class EngineClient:
    """One engine, one world of it, and what it told.

    Args:
        nameserver: Where the hosts are.
        n_workers: How many processes it wants; all must have joined.
        settings: Settings to change.
    """

    def __init__(self, nameserver: NameServerProcess, n_workers: int = 1, **settings: Any) -> None:
        self.events: list[Event | WorldOver] = []
        self.engine = PyroEngine(replace(nameserver.settings, **settings))
        try:
            assert self.engine.find()
            self.world = self.open(0, pack_function(abs))
            self.want(n_workers)
            joined = self.wait_for(WorkerJoined, n_workers)
        except BaseException:
            self.close()
            raise
        self.workers = [event.worker for event in joined]

    def open(self, job: int, function: PackedFunction) -> int:
        """Open a job and return its world."""
        return self.engine.open_job(job, SequenceSource(function, ([],)))

    def want(self, count: int, world: int = 0) -> None:
        """Say how many processes there is work for."""
        self._take(self.engine.want(world or self.world, count))

    def _take(self, told: Iterable[Told]) -> None:
        self.events += [event for _, event in told]

    def turn(self, seconds: float = 0.05) -> None:
        """Let the engine do what there is to do."""
        self._take(self.engine.wait(seconds))

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Return a condition's value once it is true; meanwhile the engine works."""
        return wait_until(lambda: (self.turn(), condition())[1], lambda: str(self.events[-5:]))

    def wait_for(self, kind: type, count: int = 1) -> list[Any]:
        """Return events of a kind, once there are so many."""

        def found() -> list[Any]:
            events = [event for event in self.events if isinstance(event, kind)]
            return events if len(events) >= count else []

        return self.wait(found)

    def last(self, kind: type) -> Any:
        """Return the newest event of a kind; None if there is none."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def run(self, attempt: int, func: Any, items: Any, first: int = 0, **options: Any) -> None:
        """Send a chunk to the worker that joined last."""
        source = SequenceSource(pack_function(func), (items,))
        worker = options.pop("worker", self.workers[-1])
        command = SendChunk(worker, attempt, attempt, first, len(items), **options)
        self.engine.open_job(attempt, source)
        self._take(self.engine.execute(command, source))

    def stream(self, worker: str) -> Stream:
        """Return the connection to a worker."""
        return self.engine._workers._connected[worker].peer.stream

    def cancel(self, attempt: int) -> None:
        self._take(self.engine.execute(CancelAttempt(self.workers[-1], attempt), None))

    def end_by_force(self, attempt: int) -> None:
        """Have the worker killed if it runs this attempt, frozen or not."""
        self.engine._hosts.kill(self.workers[-1], attempt)

    def kill(self, attempt: int) -> None:
        """Have the worker killed if it is frozen."""
        self._take(self.engine.execute(KillWorker(self.workers[-1], attempt), None))

    def outcomes(self, attempt: int) -> list[Any]:
        """Return the outcomes of an attempt so far."""
        return [
            value
            for event in self.events
            if isinstance(event, ItemsDone) and event.attempt == attempt
            for value in unpack_all(event.payload.batch, str)
        ]

    def loss(self) -> WorkerLost:
        """Return the first loss of a worker, once there is one."""
        return self.wait_for(WorkerLost)[0]

    def close(self) -> None:
        self.engine.close()
        self.engine.abandon()  # its waker, which other threads may use until then

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
