"""What to do: everything that the scheduler can ask for.

When the scheduler returns a command, its own state already counts it as done.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SendChunk:
    """Send items ``start`` up to, not including, ``stop`` to the worker.

    Attributes:
        worker: The worker.
        attempt: The number of this try.
        job: The job that the items belong to.
        start: The first item.
        stop: The one after the last.
        task_timeout: Seconds that one item may take; None for any time.
        alone: Run one item at a time, each marked exactly, and tell its result at once.
    """

    worker: str
    attempt: int
    job: int
    start: int
    stop: int
    task_timeout: float | None = None
    alone: bool = False


@dataclass(frozen=True)
class RecallChunk:
    """Ask the worker to give back what it has not begun of this attempt."""

    worker: str
    attempt: int


@dataclass(frozen=True)
class CancelAttempt:
    """Tell the worker to drop this attempt; what it still sends is ignored."""

    worker: str
    attempt: int


@dataclass(frozen=True)
class KillWorker:
    """Have the worker's process killed if it still runs this attempt."""

    worker: str
    attempt: int


@dataclass(frozen=True)
class Deliver:
    """Hand over the results of ``count`` items from ``index`` on.

    They are ``payload[offset : offset + count]``, or, when ``payload`` is a ``LostItem``,
    the one item that has no result.
    """

    job: int
    index: int
    count: int
    payload: object
    offset: int = 0


@dataclass(frozen=True)
class LostItem:
    """Why an item has no result: its workers were lost, ``tries`` times."""

    worker: str
    reason: str
    tries: int


@dataclass(frozen=True)
class FinishJob:
    """Every result of the job has been delivered, and no item will follow."""

    job: int


@dataclass(frozen=True)
class FailJob:
    """The job cannot go on: there is no worker left.

    Attributes:
        job: The job.
        delivered: Items that were delivered.
        undone: Items without a result, or None while the input has not ended.
        losses: One line for each lost worker, oldest first.
    """

    job: int
    delivered: int
    undone: int | None
    losses: tuple[str, ...]


Command = SendChunk | RecallChunk | CancelAttempt | KillWorker | Deliver | FinishJob | FailJob
