"""A worker as the real ones behave, seen from outside."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import NoReturn, Protocol

from seppo.core import commands as do
from seppo.core import events as on
from simulated.facts import Faults

PARTIAL_SECONDS = 1.0  # as in seppo.worker: results of a chunk that runs on are told so often
LONG_ITEM = 1.0  # seconds, as in seppo.worker: then all that has not begun is given back
VAGUE_ITEMS = 3  # at most so many items beside the guilty one are named by a vague verdict


class World(Protocol):
    """What a worker needs to know of the cluster."""

    now: float
    random: Random
    faults: Faults

    def seconds_of(self, job: int, index: int) -> float:
        """Return the seconds of an item on a worker of speed 1."""

    def after(self, seconds: float, action: Callable[..., None], *args: object) -> None:
        """Have something happen after a while."""

    def tell(self, worker: SimulatedWorker, event: on.ItemsDone | on.RestReturned) -> None:
        """Send an event from a worker to the scheduler."""

    def begins(self, worker: SimulatedWorker, job: int, index: int) -> None:
        """Take note that a worker begins an item."""

    def ran(self, job: int, seconds: float) -> None:
        """Take note that an item, which is done now, has taken so long."""

    def dies(self, worker: SimulatedWorker, reason: str) -> None:
        """A worker dies."""

    def leaves(self, worker: SimulatedWorker) -> None:
        """A worker that drains has finished what it had begun."""

    def fail(self, what: str) -> NoReturn:
        """Raise ``SimulationError``."""


@dataclass(eq=False)
class Chunk:
    """What a worker has of one attempt."""

    attempt: int
    job: int
    start: int
    stop: int
    done: int  # the first item that is not finished
    told: int  # the first item whose result is not sent
    seconds: float = 0.0  # of work whose results are not sent


@dataclass(eq=False)
class SimulatedWorker:
    """One worker: runs its chunks item by item, tells results, gives back the rest."""

    world: World
    name: str
    speed: float
    chunks: deque[Chunk] = field(default_factory=deque)  # the first one runs
    is_dead: bool = False
    is_draining: bool = False
    silent_until: float = 0.0  # what it says is held back
    frozen_until: float = 0.0  # it does nothing
    was_quiet: bool = False  # it was silent or frozen at some time
    told_at: float = 0.0
    arrives_at: float = 0.0  # when the last thing that it said reaches the client

    @property
    def is_frozen(self) -> bool:
        """Whether it does nothing now."""
        return self.frozen_until > self.world.now

    @property
    def running(self) -> tuple[int, int] | None:
        """The job and the index of the item that runs, if any."""
        return (self.chunks[0].job, self.chunks[0].done) if self.chunks else None

    def _when_thawed(self, action: Callable[..., None], *args: object) -> bool:
        """Have an action come again when the worker goes on; return whether that is needed."""
        if self.is_dead:
            return True
        if self.is_frozen:
            self.world.after(self.frozen_until - self.world.now, action, *args)
            return True
        return False

    def verdict(self, how: str, vague: bool) -> on.Verdict:
        """Return what a supervisor can tell of this worker's end."""
        if not self.chunks:
            return on.Verdict(how, None)
        chunk = self.chunks[0]
        first, stop = chunk.done, chunk.done + 1
        if vague:
            draw = self.world.random.randint
            first = max(chunk.start, first - draw(0, VAGUE_ITEMS))
            stop = min(chunk.stop, stop + draw(0, VAGUE_ITEMS))
        return on.Verdict(how, chunk.attempt, first, stop)

    def receive(self, command: do.SendChunk | do.RecallChunk | do.CancelAttempt) -> None:
        """Take a command from the client."""
        if self._when_thawed(self.receive, command):
            return
        if isinstance(command, do.SendChunk):
            if self.is_draining:
                self.world.tell(self, on.RestReturned(command.attempt, 0))
                return
            start = command.start
            self.chunks.append(
                Chunk(command.attempt, command.job, start, command.stop, start, start)
            )
            if len(self.chunks) > 2:
                self.world.fail(f"worker {self.name} holds more than two chunks")
            if len(self.chunks) == 1:
                self._begin_chunk()
            return
        for chunk in self.chunks:
            if chunk.attempt == command.attempt:
                if isinstance(command, do.RecallChunk):
                    self._give_back(chunk)
                else:
                    self._drop(chunk)
                return

    def die(self) -> None:
        """Stop doing anything for good."""
        self.is_dead = True
        self.chunks.clear()

    def drain(self) -> None:
        """Give back what has not begun, and leave after the rest."""
        self.is_draining = True
        if not self._when_thawed(self.drain):
            for chunk in list(self.chunks):
                self._give_back(chunk)
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self.is_draining and not self.chunks and not self.is_dead:
            self.world.leaves(self)

    def _begin_chunk(self) -> None:
        if self.chunks:
            self.told_at = self.world.now
            self._begin_item()
        else:
            self._leave_if_done()

    def _begin_item(self) -> None:
        chunk, world = self.chunks[0], self.world
        world.begins(self, chunk.job, chunk.done)
        seconds = world.seconds_of(chunk.job, chunk.done) / self.speed
        if chunk.done in world.faults.deadly:
            world.after(seconds / 2, self._stumble, chunk, chunk.done)
        if seconds > LONG_ITEM:
            world.after(LONG_ITEM, self._give_back_all, chunk, chunk.done)
        world.after(seconds, self._finish_item, chunk, chunk.done, seconds)

    def _runs(self, chunk: Chunk, index: int) -> bool:
        return bool(self.chunks) and self.chunks[0] is chunk and chunk.done == index

    def _stumble(self, chunk: Chunk, index: int) -> None:
        if not self._when_thawed(self._stumble, chunk, index) and self._runs(chunk, index):
            self.world.dies(self, f"item {index} killed it")

    def _finish_item(self, chunk: Chunk, index: int, seconds: float) -> None:
        if self._when_thawed(self._finish_item, chunk, index, seconds):
            return
        if not self._runs(chunk, index):
            return
        chunk.done += 1
        chunk.seconds += seconds
        self.world.ran(chunk.job, seconds)
        if chunk.done >= chunk.stop:
            self._tell(chunk)
            self._drop(chunk)
        else:
            if self.world.now - self.told_at >= PARTIAL_SECONDS:
                self._tell(chunk)
            self._begin_item()

    def _give_back_all(self, chunk: Chunk, index: int) -> None:
        if self._when_thawed(self._give_back_all, chunk, index):
            return
        if self._runs(chunk, index):
            for each in list(self.chunks):
                self._give_back(each)

    def _give_back(self, chunk: Chunk) -> None:
        if chunk is self.chunks[0]:
            self._tell(chunk)
            chunk.stop = min(chunk.stop, chunk.done + 1)
            self.world.tell(self, on.RestReturned(chunk.attempt, chunk.stop - chunk.start))
        else:
            self.world.tell(self, on.RestReturned(chunk.attempt, 0))
            self._drop(chunk)

    def _drop(self, chunk: Chunk) -> None:
        was_running = chunk is self.chunks[0]
        self.chunks.remove(chunk)
        if was_running:
            self._begin_chunk()

    def _tell(self, chunk: Chunk) -> None:
        self.told_at = self.world.now
        results = range(chunk.told, chunk.done)  # the result of an item is its index
        if results:
            answer = on.ItemsDone(chunk.attempt, len(results), chunk.seconds, 0, results)
            chunk.told, chunk.seconds = chunk.done, 0.0
            self.world.tell(self, answer)
            is_last = chunk.done >= chunk.stop
            if is_last and self.world.random.random() < self.world.faults.repeat:
                self.world.tell(self, answer)

    def freeze(self, seconds: float) -> None:
        """Do nothing for a while, or for ever."""
        self.frozen_until = self.world.now + seconds
        self.was_quiet = True

    @property
    def is_frozen_for_ever(self) -> bool:
        """Whether it will never do anything again."""
        return self.frozen_until == math.inf
