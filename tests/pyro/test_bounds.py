"""Pyro messages are looked at before they are read."""

from __future__ import annotations

import socket
import time

import pytest
from Pyro5 import errors, protocol, serializers

from seppo.pyro.bounds import JSON, OURS, PYROS, BoundedConnection, receive_message


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def message(data=b"{}", serializer_id=JSON.serializer_id, flags=0):
    sent = bytearray(protocol.SendingMessage(protocol.MSG_INVOKE, 0, 1, serializer_id, data).data)
    sent[9] |= flags
    return bytes(sent)


def bounded(sock, largest=1000, ids=OURS, seconds=20.0, idle=None):
    return BoundedConnection(sock, largest, ids, seconds, idle)


def test_pyro_reads_messages_one_after_the_other(ends):
    ours, theirs = ends
    connection = bounded(ours)
    for data in (b"first", b"", b"third"):
        theirs.sendall(message(data))
    got = [bytes(protocol.recv_stub(connection, [protocol.MSG_INVOKE]).data) for _ in range(3)]
    assert got == [b"first", b"", b"third"]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (message(b"x" * 2000), "too large"),
        (message(flags=protocol.FLAGS_COMPRESSED), "compressed"),
        (message(serializer_id=serializers.MarshalSerializer.serializer_id), "serializer"),
        (message(serializer_id=serializers.SerpentSerializer.serializer_id), "serializer"),
        (b"GET / HTTP/1.1\r\nHost: somebody.example\r\n\r\n", "not a Pyro message"),
    ],
    ids=["large", "compressed", "marshal", "serpent", "http"],
)
def test_what_is_not_to_be_read_is_refused_by_its_head(ends, sent, reason):
    ours, theirs = ends
    theirs.sendall(sent)
    with pytest.raises(errors.ProtocolError, match=reason):
        protocol.recv_stub(bounded(ours), [protocol.MSG_INVOKE])


def test_a_name_server_takes_what_pyros_own_tools_send(ends):
    ours, theirs = ends
    theirs.sendall(message(serializer_id=serializers.SerpentSerializer.serializer_id))
    protocol.recv_stub(bounded(ours, ids=PYROS), [protocol.MSG_INVOKE])


def test_a_message_that_comes_too_slowly_ends_the_connection(ends):
    ours, theirs = ends
    theirs.sendall(message()[:-1])
    with pytest.raises(errors.ConnectionClosedError):
        protocol.recv_stub(bounded(ours, seconds=0.1), [protocol.MSG_INVOKE])


def test_silence_between_messages_has_its_own_limit(ends):
    ours, theirs = ends
    with pytest.raises(errors.ConnectionClosedError):
        protocol.recv_stub(bounded(ours, idle=0.1), [protocol.MSG_INVOKE])
    theirs.close()
    with pytest.raises(errors.ConnectionClosedError):
        protocol.recv_stub(bounded(ours), [protocol.MSG_INVOKE])


def test_a_peer_that_does_not_read_its_answer_ends_the_connection(ends):
    ours, _ = ends
    with pytest.raises(errors.ConnectionClosedError):
        bounded(ours, seconds=0.1).send(bytes(1 << 24))


def test_an_answer_has_a_deadline_and_a_size(ends):
    ours, theirs = ends
    with pytest.raises(TimeoutError):
        receive_message(ours, 1000, time.monotonic() + 0.1)
    theirs.sendall(message(b"x" * 2000))
    with pytest.raises(errors.ProtocolError, match="too large"):
        receive_message(ours, 1000, time.monotonic() + 20)
