"""The messages between clients, worker processes and supervisors, as plain values.

How each becomes a frame, and is read from one, is in ``wire.codec``. The client may send a
chunk without asking whether the worker knows its function: it has sent the function before
on the same connection, or the worker answers ``NeedFunction``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seppo.wire.packed import Batch, Buffer, Packed

# --- between a client and a worker process


@dataclass(frozen=True)
class Attach:
    """The client's first message: it is the one that the process was leased to.

    Attributes:
        token: What the supervisor gave to the client, and to nobody else.
        caller: Where the caller runs, as plain values: ``domain``, a text that is equal on the
            same machine, for the same user and mounts; ``cwd``, a path; ``env``, variables
            to set.
    """

    token: str
    caller: dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """Run these items.

    Attributes:
        attempt: The number of this try.
        job: The job that the items belong to.
        index: The first item's position in the input.
        count: How many items.
        digest: The function's.
        columns: The arguments, one batch each, of equal counts.
        task_timeout: Seconds that one item may take; 0 for any time.
        alone: Run one item at a time, each marked exactly, and tell its result at once.
    """

    attempt: int
    job: int
    index: int
    count: int
    digest: bytes
    columns: tuple[Batch, ...]
    task_timeout: float = 0.0
    alone: bool = False


@dataclass(frozen=True)
class Function:
    """Know this function from now on.

    Attributes:
        digest: What it is known by.
        packed: Its content.
        manifest: What its bundle of code consists of; empty for no bundle.
    """

    digest: bytes
    packed: Packed
    manifest: bytes = b""


@dataclass(frozen=True)
class Recall:
    """Give back what has not begun of this attempt."""

    attempt: int


@dataclass(frozen=True)
class Cancel:
    """Drop this attempt, also while it runs."""

    attempt: int


@dataclass(frozen=True)
class Welcome:
    """The first message of a worker or a supervisor: who it is, as plain values."""

    info: dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The next results of an attempt, in order."""

    attempt: int
    seconds: float
    batch: Batch


@dataclass(frozen=True)
class Returned:
    """All but the first ``kept`` items of the attempt were not begun and will not be."""

    attempt: int
    kept: int


@dataclass(frozen=True)
class NeedFunction:
    """The function of this attempt is not known here: send it again."""

    attempt: int
    digest: bytes


@dataclass(frozen=True)
class Stored:
    """A worker has put a big function into memory that others on its host can map."""

    digest: bytes
    location: str


@dataclass(frozen=True)
class FunctionAt:
    """The answer to ``NeedFunction`` for a big function: map it there."""

    digest: bytes
    location: str


@dataclass(frozen=True)
class NeedFiles:
    """Files of a function's bundle that are missing here, by their digests."""

    digest: bytes
    files: tuple[bytes, ...]


@dataclass(frozen=True)
class File:
    """A file of a bundle; or why it cannot be read."""

    digest: bytes
    content: Buffer
    problem: str = ""


@dataclass(frozen=True)
class LeftBehind:
    """Files that functions have left in the process's folder, which is removed with it."""

    names: list[str]


@dataclass(frozen=True)
class Differs:
    """The versions of what a function uses, where the worker's differ from the client's."""

    digest: bytes
    versions: dict[str, str]


# --- between a client and a supervisor


@dataclass(frozen=True)
class Hello:
    """The client's first message: its name for people, ``"user@machine:pid script"``."""

    client: str


@dataclass(frozen=True)
class Want:
    """The client wants to hold ``count`` processes for a world, until its next ``Want`` for it.

    Attributes:
        world: The client's number, from 1.
        count: How many. What it holds beyond them stays its own.
    """

    world: int
    count: int


@dataclass(frozen=True)
class Leased:
    """A process is the client's, for as long as they are connected.

    Attributes:
        world: For which world it was wanted.
        name: The process's.
        address: Where it waits for this client.
        token: What the client has to show there.
    """

    world: int
    name: str
    address: str
    token: str


@dataclass(frozen=True)
class Waiting:
    """The client gets fewer processes than it wants for now: why, and who holds what."""

    reason: str


@dataclass(frozen=True)
class Ping:
    """A question of the client's, whether the supervisor still answers."""


@dataclass(frozen=True)
class Pong:
    """The answer to ``Ping``."""


@dataclass(frozen=True)
class Kill:
    """Kill a process of the client's if it still runs this attempt.

    With ``only_frozen``, kill it if it is frozen, also when it has not begun the attempt yet;
    leave it alone if it uses the processor.
    """

    name: str
    attempt: int
    only_frozen: bool = False


@dataclass(frozen=True)
class WorkerEnded:
    """A process of the client's has ended: how, and what it was running then.

    Attributes:
        name: The process.
        how: ``"SIGSEGV"``, ``"exit code 3"``, ...
        attempt: Whose items ran; 0 if none did.
        first: The first item that may have been running, by its position in the input.
        stop: The one after the last.
        timed_out: Whether it was killed because the item exceeded its time.
        setup: What was done before any of these items; empty if they ran.
    """

    name: str
    how: str
    attempt: int
    first: int
    stop: int
    timed_out: bool
    setup: str = ""


@dataclass(frozen=True)
class Draining:
    """The processes of this host finish what runs, and then end; there will be no others."""


Message = (
    Attach | Chunk | Function | Recall | Cancel | Welcome | Results | Returned | NeedFunction
    | Stored | FunctionAt | NeedFiles | File | LeftBehind | Differs
    | Hello | Want | Leased | Waiting | Ping | Pong | Kill | WorkerEnded | Draining
)  # fmt: skip
