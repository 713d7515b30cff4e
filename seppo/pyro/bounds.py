"""Pyro messages under bounds: by size, by time and by what they may contain.

Pyro5 itself inflates compressed messages and runs whatever serializer the sender names,
before anybody is known. Here a message is looked at while no more than its head is there:
a compressed one, a foreign serializer or too many bytes end the connection. So do the flags
that make Pyro5 do more than one call: a kept serialization is read with ``marshal``, a batch
multiplies its answer, a one-way call starts a thread.

What strangers send has to be *plain* besides: of the classes that Pyro5 would make from it,
a proxy connects to wherever its sender likes as soon as it is looked into.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

import serpent
from Pyro5 import errors, protocol, serializers
from Pyro5.socketutil import SocketConnection

from seppo.trust.proof import TLS_ALERT, alert, receive_exactly, send_before

# Every Pyro5 has it, and its parser is in C and takes time and memory in proportion.
JSON = serializers.serializers["json"]
SERPENT = serializers.serializers["serpent"]  # what Pyro's own tools send to name servers
OURS = frozenset([JSON.serializer_id])
PYROS = frozenset([JSON.serializer_id, SERPENT.serializer_id])

FLAGS = protocol.FLAGS_EXCEPTION | protocol.FLAGS_CORR_ID  # all that are accepted
PLAIN_CLASSES = ("Pyro5.core.URI", "float")  # what else may be among plain values: no harm in it

_HEAD = struct.Struct("!4sHBBHHII16sHH")  # as Pyro5's protocol module has it

LARGEST_STRANGE = 16 << 10  # bytes of a message of somebody who has proved nothing
LARGEST_TRUSTED = 16 << 20  # bytes; control calls carry no items
DEEPEST = 20  # values within values in a message of a stranger; a registration has 4
LARGEST_ANSWER = 4 << 20  # bytes of a name server's answer; a host takes about 500


# misc: Pyro5 has no types, so that its class is Any to the type checker.
class BoundedConnection(SocketConnection):  # type: ignore[misc]
    """A connection from which Pyro5's own code reads messages.

    Args:
        sock: A connected socket.
        largest: The largest message accepted, in bytes.
        serializer_ids: The serializers accepted.
        message_seconds: How long one message may take, from its first byte, or until it
            is sent.
        idle_seconds: How long the peer may be silent between two messages; None for ever.
        plain: Accept nothing but plain values.
    """

    def __init__(
        self,
        sock: socket.socket,
        largest: int,
        serializer_ids: frozenset[int],
        message_seconds: float,
        idle_seconds: float | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(sock, keep_open=True)  # whoever accepted it closes it
        self._largest = largest
        self._serializer_ids = serializer_ids
        self._message_seconds = message_seconds
        self.idle_seconds = idle_seconds
        self._plain = plain
        self._message = b""  # received and checked, for Pyro5 to read piece by piece

    def recv(self, size: int) -> bytes:
        """Return the next ``size`` bytes; Pyro5 asks for what belongs to one message."""
        if not self._message and size:
            self._message = self._receive()
        data, self._message = self._message[:size], self._message[size:]
        return data

    def _receive(self) -> bytes:
        self.sock.settimeout(self.idle_seconds)
        try:
            first = self.sock.recv(1)
            if not first:
                raise errors.ConnectionClosedError("the peer closed the connection")
            deadline = time.monotonic() + self._message_seconds
            head = first + receive_exactly(self.sock, _HEAD.size - 1, deadline)
            size = check_head(head, self._largest, self._serializer_ids)
            rest = receive_exactly(self.sock, size, deadline)
        except OSError as error:
            raise errors.ConnectionClosedError(str(error)) from error
        if self._plain:
            check_plain(head, rest)
        return bytes(head + rest)

    def send(self, data: bytes) -> None:
        """Send a message."""
        try:
            send_before(self.sock, data, time.monotonic() + self._message_seconds)
        except OSError as error:
            raise errors.ConnectionClosedError(str(error)) from error


def check_head(head: bytes, largest: int, serializer_ids: frozenset[int]) -> int:
    """Return how many bytes follow the head of a message.

    Raises:
        Pyro5.errors.ProtocolError: If the message is not one to be read.
    """
    tag, _, _, serializer_id, flags, _, n_data, n_annotations, _, _, _ = _HEAD.unpack(head)
    if tag != b"PYRO":
        raise errors.ProtocolError("these bytes are not a Pyro message")
    if flags & protocol.FLAGS_COMPRESSED:
        raise errors.ProtocolError("a compressed message is not accepted")
    if flags & ~FLAGS:
        raise errors.ProtocolError(f"a message with flags {flags:#x} is not accepted")
    if serializer_id not in serializer_ids:
        raise errors.ProtocolError(f"serializer {serializer_id} is not accepted")
    if n_data + n_annotations > largest:
        raise errors.ProtocolError(f"a message of {n_data + n_annotations} bytes is too large")
    return int(n_data + n_annotations)


def check_plain(head: bytes, rest: bytes) -> None:
    """Accept a message that consists of plain values, not too deeply nested.

    Args:
        head: The head of the message, which was checked.
        rest: What follows it.

    Raises:
        Pyro5.errors.ProtocolError: If it is not one to be read.
    """
    _, _, kind, serializer_id, _, _, _, n_annotations, _, _, _ = _HEAD.unpack(head)
    if kind == protocol.MSG_PING:
        return  # nobody looks at what is in it
    loads = serpent.loads if serializer_id == SERPENT.serializer_id else json.loads
    try:
        _walk(loads(rest[n_annotations:]), DEEPEST)
    except errors.ProtocolError:
        raise
    except Exception as error:  # parsers meet what nobody has thought of
        raise errors.ProtocolError(f"a message makes no sense: {error!r:.100}") from error


def _walk(value: Any, depth: int) -> None:
    if depth == 0:
        raise errors.ProtocolError("a message is too deeply nested")
    if isinstance(value, dict):
        if value.get("__class__", "float") not in PLAIN_CLASSES or b"__class__" in value:
            raise errors.ProtocolError(f"a {value.get('__class__')!r:.50} is not accepted")
        for key, inner in value.items():
            _walk(key, depth - 1)
            _walk(inner, depth - 1)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            _walk(inner, depth - 1)


def receive_message(
    sock: socket.socket, largest: int, deadline: float
) -> protocol.ReceivingMessage:
    """Return one message in our serializer.

    Raises:
        SecurityError: If the peer speaks TLS, or has revoked our certificate.
        Pyro5.errors.ProtocolError: If it is not one to be read.
        TimeoutError: If it has not come by the deadline.
        OSError: If the connection breaks.
    """
    head = receive_exactly(sock, len(TLS_ALERT), deadline)
    if head == TLS_ALERT:
        raise alert(sock)
    head += receive_exactly(sock, _HEAD.size - len(head), deadline)
    size = check_head(head, largest, OURS)
    rest = receive_exactly(sock, size, deadline)
    try:
        return protocol.ReceivingMessage(head, rest)
    except ValueError as error:  # of its annotations
        raise errors.ProtocolError(f"a message makes no sense: {error!r:.100}") from error
