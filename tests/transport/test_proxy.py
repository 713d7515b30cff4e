"""Calls under a time limit; Pyro's errors become builtin ones."""

from __future__ import annotations

import socket
import time

import pytest
from processes import free_port

from seppo.transport.address import Address
from seppo.transport.daemon import ControlDaemon
from seppo.transport.proxy import attach, call, connected


@pytest.fixture
def silent():
    """Somebody who accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("x", *server.getsockname())


@pytest.fixture
def daemon():
    daemon = ControlDaemon("x", "127.0.0.1", 0, {"ping": lambda: "pong"})
    daemon.start()
    yield daemon
    daemon.close()


def test_nobody_there_is_a_connection_error_at_once():
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="PYRO:x@127"):
        call(Address("x", "127.0.0.1", free_port()), "ping", timeout=5.0)
    assert time.monotonic() - began < 1.0


def test_silence_is_a_timeout_and_says_how_long(silent):
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        call(silent, "ping", timeout=0.1)
    with pytest.raises(TimeoutError):
        attach(silent, 0.1)


def test_a_host_without_address_is_a_connection_error():
    for host in ("no-such-host.invalid", "a" * 100, "a..b"):
        with pytest.raises(ConnectionError):
            call(Address("x", host, 80), "ping", timeout=1.0)


def test_an_object_that_is_not_there_is_a_connection_error(daemon):
    with pytest.raises(ConnectionError):
        call(Address("y", "127.0.0.1", daemon.address.port), "ping", timeout=5.0)


def test_many_calls_over_one_connection(daemon):
    with connected(daemon.address, 5.0) as proxy:
        assert [proxy.ping() for _ in range(3)] == ["pong"] * 3


def test_the_attached_socket_outlives_the_proxy_and_has_a_time_limit():
    daemon = ControlDaemon("x", "127.0.0.1", 0, {}, lambda sock: sock.sendall(b"hello"))
    daemon.start()
    try:
        sock = attach(daemon.address, 3.0)
        with sock:
            assert sock.gettimeout() == 3.0
            assert sock.recv(100) == b"hello"
            assert sock.recv(100) == b""
    finally:
        daemon.close()
