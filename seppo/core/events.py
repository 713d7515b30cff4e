"""Events: everything that can be reported to the scheduler.

Workers, jobs and attempts are numbers or names that the outside chose (workers, jobs)
or the scheduler chose (attempts). ``payload`` is opaque: the scheduler passes it on.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """What the caller of one job asked for.

    Attributes:
        chunksize: Items in each chunk; None lets measured cost decide.
        ordered: Deliver in input order, or as results come.
        max_ahead: Most items that may be handed out beyond those taken by the consumer.
        max_ahead_bytes: The same in bytes of items and results; there is always room for
            one item for each worker.
        keeps_input: The items lie in the caller's memory anyway, as those of a sequence:
            only results count in ``max_ahead_bytes``.
        max_workers: Most workers that may work for this job at once; None for all.
        retries_on_loss: How often an item is begun again after its worker was lost.
        likeness: Jobs of the same likeness, other than None, cost about the same: what was
            measured for the one before is where the next one begins.
        taken_on_delivery: Results count as taken once they are delivered: nobody holds
            them back.
        duplicate: Whether an item may be run by two workers at once: a straggler is copied
            then, and what a silent worker holds goes elsewhere.
        task_timeout: Most seconds that an item may run; None for any.
        timeout: Seconds after which the job fails if it is not done; None for never.
        finishes_here: When all workers are gone, leave the rest to the caller's process
            (``RunHere``) instead of failing.
    """

    chunksize: int | None = None
    ordered: bool = True
    max_ahead: int = 1 << 20
    max_ahead_bytes: int = 64 << 20
    keeps_input: bool = False
    max_workers: int | None = None
    retries_on_loss: int = 2
    likeness: Hashable = None
    taken_on_delivery: bool = False
    duplicate: bool = True
    task_timeout: float | None = None
    timeout: float | None = None
    finishes_here: bool = False


@dataclass(frozen=True)
class JobOpened:
    """A map or an executor began; its items follow in ``InputOffered``."""

    job: int
    policy: Policy


@dataclass(frozen=True)
class InputOffered:
    """``count`` more items of the job can be handed out; with ``last``, there are no others."""

    job: int
    count: int
    last: bool = False


@dataclass(frozen=True)
class InputEnded:
    """No more items of the job will be offered."""

    job: int


@dataclass(frozen=True)
class JobClosed:
    """The consumer has left: stop everything for this job."""

    job: int


@dataclass(frozen=True)
class ResultsTaken:
    """The consumer took ``count`` more results."""

    job: int
    count: int


@dataclass(frozen=True)
class WorkerJoined:
    """A worker is connected and idle."""

    worker: str


@dataclass(frozen=True)
class Verdict:
    """What is known about the end of a worker.

    Attributes:
        how: ``"SIGSEGV"``, ``"exit code 3"``, ``"out of memory (SIGKILL)"``.
        attempt: The attempt of which an item ran when it ended; None if no item of ours did.
        first: The first item that may have been running, by its index.
        stop: Behind the last one; exactly one ran if ``stop - first == 1``.
        timed_out: Whether it was ended because the item exceeded its ``task_timeout``.
        setup: What was done before any of these items, in words; empty if they ran.
    """

    how: str
    attempt: int | None
    first: int = 0
    stop: int = 0
    timed_out: bool = False
    setup: str = ""


@dataclass(frozen=True)
class WorkerLost:
    """A worker will not answer any more; without a verdict, the cause is not known."""

    worker: str
    reason: str
    verdict: Verdict | None = None


@dataclass(frozen=True)
class WorkersJoining:
    """The number of workers that are connected and have not joined yet; some may never join."""

    count: int


@dataclass(frozen=True)
class WorkerDrains:
    """A worker finishes what it has begun, gives back the rest, and takes nothing new."""

    worker: str


@dataclass(frozen=True)
class ChunkSent:
    """A chunk was packed and queued for its worker; it weighs ``nbytes``."""

    attempt: int
    nbytes: int


@dataclass(frozen=True)
class ItemsDone:
    """The next ``count`` items of an attempt are done, in order.

    Attributes:
        attempt: The attempt they belong to.
        count: How many items.
        seconds: Time that the worker spent on them.
        nbytes: Weight of the results.
        payload: The results, one for each item, opaque.
    """

    attempt: int
    count: int
    seconds: float
    nbytes: int
    payload: object


@dataclass(frozen=True)
class RestReturned:
    """A worker gives back what it has not begun: all but the first ``kept`` items."""

    attempt: int
    kept: int


@dataclass(frozen=True)
class Wakeup:
    """Time has passed, and nothing else has happened."""


Event = (
    JobOpened
    | InputOffered
    | InputEnded
    | JobClosed
    | ResultsTaken
    | WorkerJoined
    | WorkerLost
    | WorkerDrains
    | WorkersJoining
    | ChunkSent
    | ItemsDone
    | RestReturned
    | Wakeup
)
