"""Messages to frames and back: each frame is checked against the types of a message's fields.

Each message becomes one frame: its head, then its buffers, if it has any. The head of a
chunk and of its results, of which there are thousands a second, is packed with ``struct``;
that of every other message is a small JSON object, and one reader checks them all.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, get_args

from seppo.errors import ProtocolError
from seppo.wire.frames import Frame
from seppo.wire.messages import Chunk, File, Function, Message, Results
from seppo.wire.packed import Batch, Buffer, Packed

# attempt, job, index, count, task_timeout, alone, digest, number of columns
_CHUNK = struct.Struct("!QQQQd?32sH")
_COLUMN = struct.Struct("!BIQ")  # kind, number of parts, count
_RESULTS = struct.Struct("!QQd")  # attempt, count, seconds

LARGEST_HEAD = 16 << 20  # bytes of JSON: digests of a hundred thousand files
LONGEST_TEXT = 4096  # characters of a name, an address, a reason
LONGEST_LOCATION = 1 << 20  # characters: it lists the sizes of a function's buffers
DIGEST = 32  # bytes

_KINDS: dict[type, int] = {kind: number for number, kind in enumerate(get_args(Message), 1)}
_TYPES: dict[int, type] = {number: kind for kind, number in _KINDS.items()}

FUNCTION = _KINDS[Function]  # the kind of frame that carries a function


# --- writing


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
        case Function(packed=packed):
            parts = [_json(digest=message.digest), message.manifest, packed.data, *packed.buffers]
        case File(content=content):
            parts = [_json(digest=message.digest, problem=message.problem), content]
        case _:
            parts = [_json(**vars(message))]
    return _KINDS[type(message)], parts


def _json(**values: Any) -> bytes:
    return json.dumps({name: _plain(value) for name, value in values.items()}).encode()


def _plain(value: Any) -> Any:
    if type(value) is bytes:
        return value.hex()
    return [one.hex() for one in value] if type(value) is tuple else value


def _column(batch: Batch) -> bytes:
    return _COLUMN.pack(batch.kind, len(batch.parts), batch.count)


# --- reading


def from_frame(frame: Frame) -> Message:
    """Return the message in a frame.

    Raises:
        ProtocolError: If there is none.
    """
    try:
        kind = _TYPES[frame.kind]
        if kind is Chunk:
            return _read_chunk(frame.parts)
        if kind is Results:
            return _read_results(frame.parts)
        if kind is Function:
            return read_function(frame.parts)
        values = _read_head(frame.parts[0], _FIELDS[kind])
        if kind is File:
            _, values["content"] = frame.parts
        elif len(frame.parts) != 1:
            raise ValueError("a number of parts that does not fit")
        message: Message = kind(**values)
        return message
    except (KeyError, IndexError, ValueError, RecursionError, struct.error) as error:
        raise ProtocolError(f"a frame of kind {frame.kind} is not valid: {error!r}") from error


def read_function(parts: Sequence[memoryview]) -> Function:
    """Return the function in the parts of its frame.

    Raises:
        IndexError, ValueError, RecursionError: If there is none.
    """
    (digest,) = _read_head(parts[0], {"digest": _digest}).values()
    return Function(digest, Packed(bytes(parts[2]), tuple(parts[3:])), bytes(parts[1]))


def _read_chunk(parts: tuple[memoryview, ...]) -> Chunk:
    attempt, job, index, count, limit, alone, digest, n_columns = _CHUNK.unpack_from(parts[0])
    columns = _read_columns(parts, _CHUNK.size, n_columns)
    if any(column.count != count for column in columns) or not columns:
        raise ValueError("columns of different lengths")
    if not 0.0 <= limit < float("inf"):
        raise ValueError("an invalid time limit")
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


def _read_head(part: memoryview, readers: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if len(part) > LARGEST_HEAD:
        raise ValueError(f"a head of {len(part)} bytes")
    values = json.loads(bytes(part))
    if type(values) is not dict or values.keys() != readers.keys():
        raise ValueError("other fields are needed")
    return {name: read(values[name]) for name, read in readers.items()}


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError("a whole number is needed")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false is needed")
    return value


def _text(value: Any, longest: int = LONGEST_TEXT) -> str:
    if type(value) is not str or len(value) > longest:
        raise ValueError(f"a text of up to {longest} characters is needed")
    return value


def _location(value: Any) -> str:
    return _text(value, LONGEST_LOCATION)


def _digest(value: Any) -> bytes:
    digest = bytes.fromhex(_text(value))
    if len(digest) != DIGEST:
        raise ValueError("a digest of the wrong size")
    return digest


def _digests(value: Any) -> tuple[bytes, ...]:
    if type(value) is not list:
        raise ValueError("a list is needed")
    return tuple(map(_digest, value))


def _names(value: Any) -> list[str]:
    if type(value) is not list:
        raise ValueError("a list is needed")
    return list(map(_text, value))


def _mapping(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("a mapping is needed")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in _mapping(value).items()}


# By the types of the fields, as they are written above.
_BY_TYPE: dict[Any, Callable[[Any], Any]] = {
    "int": _number,
    "bool": _truth,
    "str": _text,
    "bytes": _digest,
    "tuple[bytes, ...]": _digests,
    "list[str]": _names,
    "dict[str, str]": _texts,
    "dict[str, Any]": _mapping,
}
_FIELDS: dict[type, dict[str, Callable[[Any], Any]]] = {
    kind: {
        field.name: _location if field.name == "location" else _BY_TYPE[field.type]
        for field in fields(kind)
        if field.type != "Buffer"  # that is no part of the head
    }
    for kind in _KINDS
    if kind not in (Chunk, Results, Function)
}
