"""The messages of the data channel as dataclasses of plain values.

Each message becomes one frame: a fixed head packed with ``struct``, then its buffers.
The client may send a chunk without asking whether the worker knows its function: it has
sent the function before on the same connection, or the worker answers ``NeedFunction``.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from seppo.errors import ProtocolError
from seppo.payload.batch import Batch
from seppo.payload.frames import Frame
from seppo.payload.function import PackedFunction
from seppo.payload.serialize import Buffer, Packed

PROTOCOL_VERSION = 2

# attempt, job, index, count, task_timeout, alone, digest, number of columns
_CHUNK = struct.Struct("!QQQQd?32sH")
_COLUMN = struct.Struct("!BIQ")  # kind, number of parts, count
_RESULTS = struct.Struct("!QQd")  # attempt, count, seconds
_NUMBER = struct.Struct("!Q")
_RETURNED = struct.Struct("!QQ")  # attempt, kept


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
    """Know this function from now on."""

    function: PackedFunction


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
    """The worker's first message: who it is, as plain values."""

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
    """A worker has a big function where others on its host can map it."""

    digest: bytes
    location: str


@dataclass(frozen=True)
class FunctionAt:
    """The answer to ``NeedFunction`` for a big function: map it there."""

    digest: bytes
    location: str


@dataclass(frozen=True)
class NeedFiles:
    """Of the bundle of this function, files with these digests are not here."""

    digest: bytes
    files: tuple[bytes, ...]


@dataclass(frozen=True)
class File:
    """A file of a bundle; or why it cannot be had."""

    digest: bytes
    content: Buffer
    problem: str = ""


@dataclass(frozen=True)
class Release:
    """No map of this client uses the function any more."""

    digest: bytes


@dataclass(frozen=True)
class Differs:
    """What a function's environment is on the worker, where it is not as at the client."""

    digest: bytes
    versions: dict[str, str]


# --- between a client and a supervisor


@dataclass(frozen=True)
class Ping:
    """Are you there? From the client."""


@dataclass(frozen=True)
class Pong:
    """The answer."""


@dataclass(frozen=True)
class Uses:
    """The client has this channel of this worker: both end together."""

    name: str
    channel: int


@dataclass(frozen=True)
class KillWorker:
    """Kill the worker's process if it still runs this attempt of this channel.

    With ``only_frozen``, kill it if it is frozen, also when it has not begun the attempt yet;
    leave it alone if it uses the processor, or waits inside another client's item.
    """

    name: str
    channel: int
    attempt: int
    only_frozen: bool = False


@dataclass(frozen=True)
class WorkerEnded:
    """A worker's process has ended: how, and what it was running then.

    Attributes:
        name: The worker.
        how: ``"SIGSEGV"``, ``"exit code 3"``, ...
        channel: Whose item ran; 0 if none did.
        attempt: Of which attempt.
        first: The first item that may have been running, by its position in the input.
        stop: The one after the last.
        timed_out: Whether it was killed because the item exceeded its time.
    """

    name: str
    how: str
    channel: int
    attempt: int
    first: int
    stop: int
    timed_out: bool


@dataclass(frozen=True)
class Draining:
    """The workers of this supervisor finish what runs, and then end."""


Message = (
    Chunk | Function | Recall | Cancel | Welcome | Results | Returned | NeedFunction
    | Stored | FunctionAt | NeedFiles | File | Release | Differs
    | Ping | Pong | Uses | KillWorker | WorkerEnded | Draining
)  # fmt: skip

_KINDS: dict[type, int] = {
    kind: number
    for number, kind in enumerate(
        (
            Chunk,
            Function,
            Recall,
            Cancel,
            Welcome,
            Results,
            Returned,
            NeedFunction,
            Stored,
            FunctionAt,
            NeedFiles,
            File,
            Release,
            Differs,
            Ping,
            Pong,
            Uses,
            KillWorker,
            WorkerEnded,
            Draining,
        ),
        start=1,
    )
}


FUNCTION = _KINDS[Function]  # the kind of frame that carries a function


def to_parts(message: Message) -> tuple[int, list[Buffer]]:
    """Return a message's kind and buffers, as ``frames.encode`` takes them."""
    parts: list[Buffer]
    match message:
        case Chunk():
            head = _CHUNK.pack(
                message.attempt,
                message.job,
                message.index,
                message.count,
                message.task_timeout,
                message.alone,
                message.digest,
                len(message.columns),
            )
            parts = [head + b"".join(map(_column, message.columns))]
            for column in message.columns:
                parts.extend(column.parts)
        case Results(batch=batch):
            head = _RESULTS.pack(message.attempt, batch.count, message.seconds)
            parts = [head + _column(batch), *batch.parts]
        case Function(function=function):
            packed = function.packed
            parts = [function.digest, function.manifest, packed.data, *packed.buffers]
        case Recall(attempt=attempt) | Cancel(attempt=attempt):
            parts = [_NUMBER.pack(attempt)]
        case Returned(attempt=attempt, kept=kept):
            parts = [_RETURNED.pack(attempt, kept)]
        case NeedFunction(attempt=attempt, digest=digest):
            parts = [_NUMBER.pack(attempt) + digest]
        case (
            Stored(digest=digest, location=location) | FunctionAt(digest=digest, location=location)
        ):
            parts = [digest, location.encode()]
        case NeedFiles(digest=digest, files=files):
            parts = [digest, b"".join(files)]
        case File(digest=digest, content=content, problem=problem):
            parts = [digest, problem.encode(), content]
        case Release(digest=digest):
            parts = [digest]
        case Differs(digest=digest, versions=versions):
            parts = [digest, json.dumps(versions).encode()]
        case Welcome(info=info):
            parts = [json.dumps(info).encode()]
        case Ping() | Pong() | Uses() | KillWorker() | WorkerEnded() | Draining():
            parts = [json.dumps(vars(message)).encode()]
    return _KINDS[type(message)], parts


def _column(batch: Batch) -> bytes:
    return _COLUMN.pack(batch.kind, len(batch.parts), batch.count)


def from_frame(frame: Frame) -> Message:
    """Return the message in a frame.

    Raises:
        ProtocolError: If there is none.
    """
    try:
        message: Message = _READERS[frame.kind](frame.parts)
    except (KeyError, IndexError, ValueError, RecursionError, struct.error) as error:
        raise ProtocolError(f"a frame of kind {frame.kind} makes no sense: {error!r}") from error
    return message


def _read_chunk(parts: tuple[memoryview, ...]) -> Chunk:
    attempt, job, index, count, limit, alone, digest, n_columns = _CHUNK.unpack_from(parts[0])
    columns = _read_columns(parts, _CHUNK.size, n_columns)
    if any(column.count != count for column in columns) or not columns:
        raise ValueError("columns of different lengths")
    if not 0.0 <= limit < float("inf"):
        raise ValueError("a time limit that is none")
    return Chunk(attempt, job, index, count, digest, columns, limit, alone)


def _read_columns(parts: tuple[memoryview, ...], at: int, n: int) -> tuple[Batch, ...]:
    columns = []
    first = 1
    for i in range(n):
        kind, n_parts, count = _COLUMN.unpack_from(parts[0], at + i * _COLUMN.size)
        columns.append(Batch(kind, count, parts[first : first + n_parts]))
        first += n_parts
    if first != len(parts):
        raise ValueError("a number of parts that does not fit")
    return tuple(columns)


def _read_results(parts: tuple[memoryview, ...]) -> Results:
    attempt, count, seconds = _RESULTS.unpack_from(parts[0])
    (batch,) = _read_columns(parts, _RESULTS.size, 1)
    if batch.count != count:
        raise ValueError("a count that does not fit")
    return Results(attempt, seconds, batch)


def _read_function(parts: tuple[memoryview, ...]) -> Function:
    digest = bytes(parts[0])
    if len(digest) != 32:
        raise ValueError("a digest of the wrong size")
    manifest = bytes(parts[1])
    return Function(PackedFunction(digest, Packed(bytes(parts[2]), parts[3:]), manifest))


def _read_need(parts: tuple[memoryview, ...]) -> NeedFunction:
    (attempt,) = _NUMBER.unpack_from(parts[0])
    return NeedFunction(attempt, bytes(parts[0][_NUMBER.size :]))


def _read_welcome(parts: tuple[memoryview, ...]) -> Welcome:
    info = json.loads(bytes(parts[0]))
    if not isinstance(info, dict):
        raise ValueError("no mapping")
    return Welcome(info)


def _read_location(parts: tuple[memoryview, ...]) -> tuple[bytes, str]:
    digest, location = parts
    return bytes(digest), bytes(location).decode()


def _read_need_files(parts: tuple[memoryview, ...]) -> NeedFiles:
    digest, files = map(bytes, parts)
    if len(files) % 32:
        raise ValueError("digests of the wrong size")
    return NeedFiles(digest, tuple(files[at : at + 32] for at in range(0, len(files), 32)))


def _read_file(parts: tuple[memoryview, ...]) -> File:
    digest, problem, content = parts
    return File(bytes(digest), content, bytes(problem).decode())


def _read_differs(parts: tuple[memoryview, ...]) -> Differs:
    digest, versions = parts
    told = json.loads(bytes(versions))
    if not isinstance(told, dict):
        raise ValueError("no mapping")
    return Differs(bytes(digest), {str(name): str(value) for name, value in told.items()})


def _reader_of(kind: Any, **types: type) -> Any:
    """Return the reader of a message that travels as a small JSON object."""

    def read(parts: tuple[memoryview, ...]) -> Message:
        (data,) = parts
        values = json.loads(bytes(data))
        if not isinstance(values, dict) or values.keys() != types.keys():
            raise ValueError("other fields are needed")
        for key, value in values.items():
            if type(value) is not types[key]:
                raise ValueError(f"{key} is of the wrong type")
            if type(value) is int and not 0 <= value < 1 << 64:
                raise ValueError(f"{key} makes no sense")
        message: Message = kind(**values)
        return message

    return read


_READERS: dict[int, Any] = {
    _KINDS[Chunk]: _read_chunk,
    _KINDS[Function]: _read_function,
    _KINDS[Recall]: lambda parts: Recall(*_NUMBER.unpack(parts[0])),
    _KINDS[Cancel]: lambda parts: Cancel(*_NUMBER.unpack(parts[0])),
    _KINDS[Welcome]: _read_welcome,
    _KINDS[Results]: _read_results,
    _KINDS[Returned]: lambda parts: Returned(*_RETURNED.unpack(parts[0])),
    _KINDS[NeedFunction]: _read_need,
    _KINDS[Stored]: lambda parts: Stored(*_read_location(parts)),
    _KINDS[FunctionAt]: lambda parts: FunctionAt(*_read_location(parts)),
    _KINDS[NeedFiles]: _read_need_files,
    _KINDS[File]: _read_file,
    _KINDS[Release]: lambda parts: Release(bytes(parts[0])),
    _KINDS[Differs]: _read_differs,
    _KINDS[Ping]: _reader_of(Ping),
    _KINDS[Pong]: _reader_of(Pong),
    _KINDS[Uses]: _reader_of(Uses, name=str, channel=int),
    _KINDS[KillWorker]: _reader_of(
        KillWorker, name=str, channel=int, attempt=int, only_frozen=bool
    ),
    _KINDS[WorkerEnded]: _reader_of(
        WorkerEnded,
        name=str,
        how=str,
        channel=int,
        attempt=int,
        first=int,
        stop=int,
        timed_out=bool,
    ),
    _KINDS[Draining]: _reader_of(Draining),
}
