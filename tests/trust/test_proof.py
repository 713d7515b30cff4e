"""The proof of the key, both sides, without any socket; and the deadlines with one."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from seppo.errors import ProtocolError, SecurityError
from seppo.place import loopback_domain
from seppo.trust import proof
from seppo.trust.keyfile import Key
from seppo.trust.proof import ClientProof, ProofContext, ServerProof, address_binding
from seppo.version import PROTOCOL_VERSION

OURS = Key(b"k" * 32, "/ours")
OTHER = Key(b"x" * 32, "/other")
CHANNEL = ProofContext("seppo.worker", b"tcp 127.0.0.1 1 127.0.0.1 2")


def meet(client_key=OURS, server_key=OURS, client_channel=CHANNEL, server_channel=CHANNEL):
    client, server = (
        ClientProof(client_key, client_channel),
        ServerProof(server_key, server_channel),
    )
    server.check(client.answer(server.reply(client.hello())))


def test_two_that_hold_the_key_accept_each_other():
    meet()


def test_the_client_finds_out_that_the_keys_differ_and_says_what_to_copy():
    with pytest.raises(SecurityError, match=r"the key in /ours: copy that file"):
        meet(server_key=OTHER)


@pytest.mark.parametrize(
    "other",
    [
        ProofContext("seppo.supervisor", CHANNEL.binding),
        ProofContext("seppo.worker", b"tcp 127.0.0.1 1 127.0.0.1 3"),
        ProofContext("seppo.worke", b"r" + CHANNEL.binding),  # the same bytes, cut elsewhere
    ],
    ids=["role", "relayed", "shifted"],
)
def test_a_proof_is_good_for_its_channel_only(other):
    with pytest.raises(SecurityError):
        meet(server_channel=other)


def test_the_server_finds_out_that_a_client_has_no_key():
    server = ServerProof(OURS, CHANNEL)
    server.reply(ClientProof(OTHER, CHANNEL).hello())
    with pytest.raises(SecurityError, match="/ours"):
        server.check(bytes(32))


def test_a_recorded_conversation_opens_nothing():
    client, server = ClientProof(OURS, CHANNEL), ServerProof(OURS, CHANNEL)
    hello = client.hello()
    reply = server.reply(hello)
    answer = client.answer(reply)
    fresh = ServerProof(OURS, CHANNEL)
    fresh.reply(hello)
    with pytest.raises(SecurityError):  # to another server
        fresh.check(answer)
    with pytest.raises(SecurityError):  # to another client
        ClientProof(OURS, CHANNEL).answer(reply)


def test_nobody_is_convinced_by_its_own_words():
    client, server = ClientProof(OURS, CHANNEL), ServerProof(OURS, CHANNEL)
    reply = server.reply(client.hello())
    with pytest.raises(SecurityError):
        server.check(reply[-32:])  # the server's own proof, sent back


def test_an_answer_before_any_hello_is_refused():
    with pytest.raises(SecurityError):
        ServerProof(OURS, CHANNEL).check(b"")


def test_every_single_changed_bit_is_noticed():
    for position in range(ClientProof.reply_size * 8):
        client, server = ClientProof(OURS, CHANNEL), ServerProof(OURS, CHANNEL)
        reply = bytearray(server.reply(client.hello()))
        reply[position // 8] ^= 1 << position % 8
        with pytest.raises((SecurityError, ConnectionError)):
            client.answer(bytes(reply))


def test_another_version_is_told_once_the_key_is_proved(monkeypatch):
    client, server = ClientProof(OURS, CHANNEL), ServerProof(OURS, CHANNEL)
    hello = client.hello()
    monkeypatch.setattr(proof, "PROTOCOL_VERSION", 77)
    reply = server.reply(hello)
    monkeypatch.setattr(proof, "PROTOCOL_VERSION", PROTOCOL_VERSION)
    with pytest.raises(ProtocolError, match="speaks protocol 77"):
        client.answer(reply)


def test_somebody_else_who_listens_there_is_no_matter_of_security():
    reply = b"HTTP/1.1 400 Bad Request" + bytes(ClientProof.reply_size)
    with pytest.raises(ConnectionError, match="no seppo worker"):
        ClientProof(OURS, CHANNEL).answer(reply[: ClientProof.reply_size])


def test_a_server_expects_a_key_first():
    with pytest.raises(SecurityError):
        ServerProof(OURS, CHANNEL).reply(b"PYRO" + bytes(ServerProof.hello_size - 4))


def test_addresses_are_compared_in_one_spelling():
    assert address_binding(("::ffff:127.0.0.1", 1), ("127.0.0.1", 2)) == address_binding(
        ("127.0.0.1", 1), ("::ffff:127.0.0.1", 2)
    )
    assert address_binding(("fe80::1%eth0", 1), ("fe80::2", 2)) == b"tcp fe80::1 1 fe80::2 2"


def test_on_loopback_the_machine_is_named_since_all_have_the_same_addresses():
    assert address_binding(("127.0.0.1", 1), ("127.0.0.1", 2)).startswith(b"tcp 127.0.0.1 1 ")
    assert address_binding(("::1", 1), ("::1", 2)) != b"tcp ::1 1 ::1 2"


def test_on_a_unix_socket_path_and_machine_are_named():
    there = address_binding("", "/run/seppo-1")
    assert there.startswith(b"unix /run/seppo-1 ")
    assert there.endswith(loopback_domain().encode())


def test_bytes_that_come_slowly_do_not_stretch_the_deadline():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"abc")
        deadline = time.monotonic() + 0.2
        with pytest.raises(TimeoutError):
            proof.receive_exactly(ours, 4, deadline)
        with pytest.raises(TimeoutError):  # it has passed: no further byte is waited for
            proof.receive_exactly(ours, 1, deadline)


def test_a_peer_that_leaves_in_between_is_a_broken_connection():
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(struct.pack("!H", 1))
        theirs.close()
        with pytest.raises(ConnectionError):
            proof.receive_exactly(ours, 4, time.monotonic() + 20)
