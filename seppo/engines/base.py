"""The protocol of engines: commands are carried out, events are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seppo.core.commands import CancelAttempt, KillWorker, RecallChunk, SendChunk
from seppo.core.events import Event
from seppo.values.function import PackedFunction
from seppo.values.source import ItemSource
from seppo.wire.packed import Batch

Order = SendChunk | RecallChunk | CancelAttempt | KillWorker


@dataclass(frozen=True)
class Answer:
    """The payload of ``ItemsDone``: packed outcomes and the name of the worker."""

    batch: Batch
    worker: str


@dataclass(frozen=True)
class WorldOver:
    """A world has ended: it has no worker left, and will have no more jobs."""


Told = tuple[int, Event | WorldOver]  # in which world something has happened, and what


class Engine(Protocol):
    """Carries out commands and reports events.

    Only the driver's thread calls what is not marked "from any thread".

    Attributes:
        n_places: Workers that one world may have, as far as is known; any thread reads it.
    """

    n_places: int

    def find(self) -> bool:
        """Return whether there are workers; look for some if none are known. From any thread.

        Takes milliseconds, also when there are none; at most ``connect_timeout`` when what
        is registered does not answer, and as much for the name server itself.

        Raises:
            NameServerError: If the name server must be asked, and cannot be.
            ProtocolError: If there are workers, but none that can work for us.
            SecurityError: If there are workers, but none can prove that it has our key.
        """

    def open_job(self, job: int, source: ItemSource) -> int:
        """Return the number of the world that a job runs in: its workers serve no other.

        From any thread.
        """

    def admits(self, job: int, function: PackedFunction) -> bool:
        """Whether another function can run in the world of a job; from any thread."""

    def want(self, world: int, count: int) -> Sequence[Told]:
        """Say how many workers there is work for in a world, and return what came of it.

        Called often, and quick where nothing has changed.
        """

    def execute(self, order: Order, source: ItemSource | None) -> list[Told]:
        """Carry out a command, without waiting, and return what came of it at once.

        Args:
            order: The command. What goes wrong comes back as an event.
            source: Of a chunk that is sent: its function and items.
        """

    def wait(self, timeout: float | None) -> list[Told]:
        """Return what has happened; wait for it at most ``timeout`` seconds."""

    def wake(self) -> None:
        """Make ``wait`` return; from any thread."""

    def set_active(self, active: bool) -> None:
        """Say whether there are jobs: only then is it worth looking for more workers."""

    def close_job(self, job: int) -> None:
        """Say that no command for this job will follow."""

    def close(self) -> None:
        """Let go of all workers."""

    def abandon(self) -> None:
        """Let go without a word to anybody: this is a forked child, which owns nothing."""
