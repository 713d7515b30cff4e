"""Calls under a time limit; Pyro's errors become builtin ones."""

from __future__ import annotations

import socket

import pytest
from processes import CREDENTIALS, free_port

from seppo.errors import SecurityError
from seppo.pyro.daemon import ControlDaemon
from seppo.pyro.proxy import attach, call
from seppo.wire.address import Address


@pytest.fixture
def silent():
    """Somebody who accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("x", *server.getsockname())


@pytest.fixture
def daemon():
    daemon = ControlDaemon("x", "127.0.0.1", 0, {"ping": lambda: "pong"}, credentials=CREDENTIALS)
    daemon.start()
    yield daemon
    daemon.close()


def test_nobody_there_is_a_connection_error_at_once():
    with pytest.raises(ConnectionError, match="PYRO:x@127"):
        call(CREDENTIALS, Address("x", "127.0.0.1", free_port()), "ping", timeout=600)


def test_silence_is_a_timeout_and_says_how_long(silent):
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        call(CREDENTIALS, silent, "ping", timeout=0.1)
    with pytest.raises(TimeoutError):
        attach(CREDENTIALS, silent, 0.1)


def test_a_host_without_address_is_a_connection_error():
    for host in ("no-such-host.invalid", "a" * 100, "a..b"):
        with pytest.raises(ConnectionError):
            call(CREDENTIALS, Address("x", host, 80), "ping", timeout=1.0)


def test_somebody_of_another_role_is_refused(daemon):
    with pytest.raises(SecurityError, match="prove"):
        call(CREDENTIALS, Address("y", "127.0.0.1", daemon.address.port), "ping", timeout=5.0)


def test_the_attached_socket_outlives_the_proxy_and_has_a_time_limit():
    daemon = ControlDaemon(
        "x", "127.0.0.1", 0, {}, lambda sock: sock.sendall(b"hello"), credentials=CREDENTIALS
    )
    daemon.start()
    try:
        sock = attach(CREDENTIALS, daemon.address, 3.0)
        with sock:
            assert sock.gettimeout() == 3.0
            assert sock.recv(100) == b"hello"
            assert sock.recv(100) == b""
    finally:
        daemon.close()
