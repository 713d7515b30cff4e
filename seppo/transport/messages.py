"""Pyro messages under bounds: by size, by time and by what they may contain.

Pyro5 itself inflates compressed messages and runs whatever serializer the sender names,
before anybody is known. Here a message is looked at while no more than its head is there:
a compressed one, a foreign serializer or too many bytes end the connection.
"""

from __future__ import annotations

import socket
import struct
import time

from Pyro5 import errors, protocol, serializers
from Pyro5.socketutil import SocketConnection

from seppo.transport.keys import receive_exactly, send_before

# Every Pyro5 has it, and its parser is in C and takes time and memory in proportion.
JSON = serializers.serializers["json"]
SERPENT = serializers.serializers["serpent"]  # what Pyro's own tools send to name servers
OURS = frozenset([JSON.serializer_id])
PYROS = frozenset([JSON.serializer_id, SERPENT.serializer_id])

_HEAD = struct.Struct("!4sHBBHHII16sHH")  # as Pyro5's protocol module has it

LARGEST_STRANGE = 16 << 10  # bytes of a message of somebody who has proved nothing
LARGEST_TRUSTED = 16 << 20  # bytes; control calls carry no items
LARGEST_ANSWER = 16 << 20  # bytes of a name server's answer; a worker takes about 500


class BoundedConnection(SocketConnection):  # type: ignore[misc]
    """A connection from which Pyro5's own code reads messages.

    Args:
        sock: A connected socket.
        largest: The largest message accepted, in bytes.
        serializer_ids: The serializers accepted.
        message_seconds: How long one message may take, from its first byte, or until it
            is sent.
        idle_seconds: How long the peer may be silent between two messages; None for ever.
    """

    def __init__(
        self,
        sock: socket.socket,
        largest: int,
        serializer_ids: frozenset[int],
        message_seconds: float,
        idle_seconds: float | None = None,
    ) -> None:
        super().__init__(sock, keep_open=True)  # whoever accepted it closes it
        self._largest = largest
        self._serializer_ids = serializer_ids
        self._message_seconds = message_seconds
        self.idle_seconds = idle_seconds
        self._message: bytes = b""  # received and checked, for Pyro5 to read piece by piece

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
    if serializer_id not in serializer_ids:
        raise errors.ProtocolError(f"serializer {serializer_id} is not accepted")
    if n_data + n_annotations > largest:
        raise errors.ProtocolError(f"a message of {n_data + n_annotations} bytes is too large")
    return int(n_data + n_annotations)


def receive_message(
    sock: socket.socket, largest: int, deadline: float
) -> protocol.ReceivingMessage:
    """Return one message in our serializer.

    Raises:
        Pyro5.errors.ProtocolError: If it is not one to be read.
        TimeoutError: If it has not come by the deadline.
        OSError: If the connection breaks.
    """
    head = receive_exactly(sock, _HEAD.size, deadline)
    size = check_head(head, largest, OURS)
    return protocol.ReceivingMessage(head, receive_exactly(sock, size, deadline))
