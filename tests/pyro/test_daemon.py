"""Control calls and the upgrade of a connection, both ends in this process."""

from __future__ import annotations

import logging
import socket
import threading

import pytest
from processes import CREDENTIALS, wait_until

from seppo.pyro.daemon import ControlDaemon
from seppo.pyro.proxy import attach, call
from seppo.wire.address import Address
from seppo.wire.stream import Stream


class Peer:
    """A daemon whose data channels echo one frame and end."""

    def __init__(self) -> None:
        self.channels: list[socket.socket] = []
        self.ended = threading.Event()
        self.fails = False
        calls = {"ping": lambda: "pong", "add": lambda a, b: a + b, "fail": self.fail}
        self.daemon = ControlDaemon(
            "peer", "127.0.0.1", 0, calls, self.on_attach, credentials=CREDENTIALS
        )
        self.address = self.daemon.address
        self.daemon.start()

    def fail(self) -> None:
        raise ValueError("no")

    def on_attach(self, sock: socket.socket) -> None:
        self.channels.append(sock)
        stream = Stream(sock)
        try:
            if self.fails:
                raise RuntimeError("the service failed")
            stream.send(9, [b"welcome"])
            stream.send(1, [bytes(part) for part in stream.receive_one(20).parts])
        finally:
            self.ended.set()


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.daemon.close()


def test_the_address_names_the_port_it_got(peer):
    assert peer.address.object == "peer"
    assert peer.address.port > 0


def test_control_calls_are_answered(peer):
    assert call(CREDENTIALS, peer.address, "ping", timeout=5.0) == "pong"
    assert call(CREDENTIALS, peer.address, "add", 2, 3, timeout=5.0) == 5


def test_an_error_of_a_control_call_arrives(peer):
    with pytest.raises(ValueError, match="no"):
        call(CREDENTIALS, peer.address, "fail", timeout=5.0)


def test_only_what_is_published_can_be_called(peer):
    for name in ("close", "__class__", "shutdown"):
        with pytest.raises(Exception, match=r"unknown|private|attribute"):
            call(CREDENTIALS, peer.address, name, timeout=5.0)


def test_an_attached_connection_carries_frames_both_ways(peer):
    stream = Stream(attach(CREDENTIALS, peer.address, 5.0))
    try:
        assert bytes(stream.receive_one(20).parts[0]) == b"welcome"
        stream.send(1, [b"hello", b"again"])
        assert [bytes(part) for part in stream.receive_one(20).parts] == [b"hello", b"again"]
        with pytest.raises(EOFError):  # closed without a Pyro answer in the stream
            stream.receive_one(20)
    finally:
        stream.close()


def test_big_frames_survive_the_upgrade(peer):
    stream = Stream(attach(CREDENTIALS, peer.address, 5.0))
    body = bytes(range(256)) * 1000
    try:
        stream.receive_one(20)
        stream.send(1, [body])
        assert bytes(stream.receive_one(20).parts[0]) == body
    finally:
        stream.close()


def test_control_calls_are_answered_while_channels_are_open(peer):
    streams = [Stream(attach(CREDENTIALS, peer.address, 5.0)) for _ in range(20)]
    try:
        for stream in streams:
            stream.receive_one(20)
        assert call(CREDENTIALS, peer.address, "ping", timeout=5.0) == "pong"
    finally:
        for stream in streams:
            stream.close()


def test_an_error_of_the_service_ends_the_channel_and_is_logged(peer, caplog):
    peer.fails = True
    with caplog.at_level(logging.ERROR):
        stream = Stream(attach(CREDENTIALS, peer.address, 5.0))
        try:
            with pytest.raises(EOFError):
                stream.receive_one(20)
        finally:
            stream.close()
        wait_until(lambda: "the service failed" in caplog.text)


def test_a_client_that_leaves_ends_the_channel(peer):
    attach(CREDENTIALS, peer.address, 5.0).close()
    assert peer.ended.wait(20)


def test_junk_on_the_port_harms_nobody(peer):
    with socket.create_connection((peer.address.host, peer.address.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    assert call(CREDENTIALS, peer.address, "ping", timeout=5.0) == "pong"


def test_a_stranger_that_says_nothing_blocks_nobody(peer):
    with socket.create_connection((peer.address.host, peer.address.port)):
        assert call(CREDENTIALS, peer.address, "ping", timeout=5.0) == "pong"


def test_a_port_in_use_is_an_error():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(OSError, match="in use"),
    ):
        ControlDaemon("x", "127.0.0.1", server.getsockname()[1], {}, credentials=CREDENTIALS)


def test_closing_ends_it(peer):
    daemon = ControlDaemon("short", "127.0.0.1", 0, {}, credentials=CREDENTIALS)
    daemon.start()
    address = daemon.address
    daemon.close()
    wait_until(lambda: not is_listening(address))


def is_listening(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=1).close()
    except OSError:
        return False
    return True
