"""Commands: everything that the scheduler can ask the driver to do.

When the scheduler returns a command, its own state already counts it as done.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SendChunk:
    """Send items ``start`` up to, not including, ``stop`` to the worker.

    Attributes:
        worker: Where to.
        attempt: The number of this try.
        job: Whose items.
        start: The first item.
        stop: Behind the last one.
        task_timeout: Most seconds that each item may run; None for any.
        alone: An item may be guilty of a loss: run one at a time, each marked exactly,
            and tell each result at once.
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
    """Have the worker's process ended if it still holds this attempt, and is frozen.

    It has given no sign for long, and its items must not be copied. The engine that carries this
    out looks first: a process that uses the processor is busy, though it answers nothing
    (C code that holds the interpreter's lock), and so is one to which something large is
    still being sent; they are left alone, and the command comes again. What follows is
    ``WorkerLost``.
    """

    worker: str
    attempt: int


@dataclass(frozen=True)
class Deliver:
    """Hand over the results of ``count`` items from ``index`` on.

    They are ``payload[offset : offset + count]``. When ``payload`` is a ``LostItem``, the
    one item has no result; when it is ``RunHere``, the caller is to run the items.
    """

    job: int
    index: int
    count: int
    payload: object
    offset: int = 0


@dataclass(frozen=True)
class LostItem:
    """Why an item has no result: its workers were lost, ``tries`` times.

    Attributes:
        worker: The last of them.
        reason: How it ended: a signal, an exit code, or what the connection said.
        tries: How often the item was begun.
        timed_out: Whether the item exceeded its ``task_timeout`` instead.
    """

    worker: str
    reason: str
    tries: int
    timed_out: bool = False


@dataclass(frozen=True)
class RunHere:
    """In place of results: all workers are gone, and the caller is to run these items."""

    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinishJob:
    """Every result of the job has been delivered, and no item will follow."""

    job: int


@dataclass(frozen=True)
class Unready:
    """The cause that ends workers before any item runs.

    Attributes:
        worker: The last of them.
        what: What was done: the initializer, or the function was unpickled.
        reason: How it ended.
        tries: How many workers it has ended.
    """

    worker: str
    what: str
    reason: str
    tries: int


@dataclass(frozen=True)
class FailJob:
    """The job cannot go on: no worker is left and none will come, or its time is up.

    Attributes:
        job: The job.
        delivered: Items that were delivered.
        undone: Items without a result, or None while the input has not ended.
        losses: One line for each lost worker, oldest first.
        timed_out: Whether its time is up.
        unready: What ends its workers before any item runs, if that is why.
    """

    job: int
    delivered: int
    undone: int | None
    losses: tuple[str, ...]
    timed_out: bool = False
    unready: Unready | None = None


Command = SendChunk | RecallChunk | CancelAttempt | KillWorker | Deliver | FinishJob | FailJob
