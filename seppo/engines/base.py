"""What every engine can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from seppo.core.commands import CancelAttempt, KillWorker, RecallChunk, SendChunk
from seppo.core.events import Event
from seppo.payload.batch import Batch
from seppo.payload.source import ItemSource

Order = SendChunk | RecallChunk | CancelAttempt | KillWorker
SourceOf = Callable[[int], ItemSource | None]


@dataclass(frozen=True)
class Answer:
    """The payload of ``ItemsDone``: packed outcomes and the name of who ran the items."""

    batch: Batch
    worker: str


class Engine(Protocol):
    """Commands in, events out. One thread, the driver's, calls everything but ``wake``."""

    @property
    def n_joining(self) -> int:
        """Workers that are connected, and that ``wait`` has not told of yet."""

    def execute(self, order: Order, source: ItemSource | None) -> list[Event]:
        """Carry out a command, without waiting, and return what came of it at once.

        Args:
            order: The command. What goes wrong comes back as an event.
            source: Of a chunk that is sent: its function and items.
        """

    def wait(self, timeout: float | None) -> list[Event]:
        """Return what has happened; wait for it at most ``timeout`` seconds."""

    def wake(self) -> None:
        """Make ``wait`` return; from any thread."""

    def set_active(self, active: bool) -> None:
        """Say whether there are jobs: only then is it worth looking for more workers."""

    def forget_job(self, job: int) -> None:
        """Say that no command for this job will follow."""

    def close(self) -> None:
        """Let go of all workers."""

    def abandon(self) -> None:
        """Let go without a word to anybody: this is a forked child, which owns nothing."""
