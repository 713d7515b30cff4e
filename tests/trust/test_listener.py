"""Accepting: a thread for each connection, room for few strangers, and a clean end."""

from __future__ import annotations

import socket
import threading

import pytest
from processes import wait_until

from seppo.trust import listener as module
from seppo.trust.listener import Listener


class Service:
    """Echoes one byte; "t" makes the connection trusted, "e" raises."""

    def __init__(self) -> None:
        self.listener = Listener("127.0.0.1", 0, self.serve)
        self.listener.listen()
        self.listener.start()

    def serve(self, connection):
        while byte := connection.sock.recv(1):
            if byte == b"t":
                connection.trust()
            if byte == b"e":
                raise RuntimeError("the service failed")
            connection.sock.sendall(byte)

    def connect(self, first=b""):
        sock = socket.create_connection((self.listener.host, self.listener.port), 20)
        if first:
            assert ask(sock, first) == first
        return sock


def ask(sock, byte):
    try:
        sock.sendall(byte)
        return sock.recv(1)
    except OSError:
        return b""


@pytest.fixture
def service():
    service = Service()
    yield service
    service.listener.close()


def close(socks):
    for sock in socks:
        sock.close()


def test_each_connection_is_served_apart(service):
    silent = [service.connect() for _ in range(10)]
    with service.connect() as sock:
        assert ask(sock, b"x") == b"x"
    close(silent)


def test_newcomers_take_the_place_of_the_strangers_that_were_there_longest(service, monkeypatch):
    monkeypatch.setattr(module, "STRANGERS", 5)
    socks = [service.connect(b"x") for _ in range(6)]
    assert ask(socks[0], b"x") == b""
    assert all(ask(sock, b"x") == b"x" for sock in socks[1:])
    close(socks)


def test_who_is_trusted_stays_whatever_strangers_come(service, monkeypatch):
    monkeypatch.setattr(module, "STRANGERS", 5)
    friend = service.connect(b"t")
    strangers = [service.connect(b"x") for _ in range(20)]
    assert ask(friend, b"x") == b"x"
    close([friend, *strangers])


def test_there_is_a_limit_for_the_trusted_too(service, monkeypatch):
    monkeypatch.setattr(module, "CONNECTIONS", module.STRANGERS + 3)
    friends = [service.connect(b"t") for _ in range(3)]
    with service.connect() as late:
        assert ask(late, b"x") == b""
    close(friends)
    wait_until(lambda: service.listener.n_connections == 0)
    service.connect(b"x").close()


def test_an_error_of_one_connection_ends_that_one(service, caplog):
    with service.connect() as bad, service.connect(b"x") as good:
        assert ask(bad, b"e") == b""
        assert ask(good, b"x") == b"x"
    wait_until(lambda: "the service failed" in caplog.text)


def test_closing_ends_connections_and_threads():
    before = threading.active_count()
    service = Service()
    socks = [service.connect(b"x"), service.connect(b"t"), service.connect()]
    service.listener.close()
    assert all(ask(sock, b"x") == b"" for sock in socks)
    wait_until(lambda: threading.active_count() <= before)
    close(socks)


def test_an_address_that_is_not_ours_is_an_error():
    with pytest.raises(OSError, match="assign"):
        Listener("192.0.2.1", 0, lambda connection: None)


def test_a_connection_that_was_taken_over_outlives_the_listener():
    taken = []
    listener = Listener("127.0.0.1", 0, lambda connection: taken.append(connection.take_over()))
    listener.listen()
    listener.start()
    with socket.create_connection((listener.host, listener.port), 20) as sock:
        wait_until(lambda: taken)
        listener.close()
        with taken[0]:
            taken[0].sendall(b"x")
            assert sock.recv(1) == b"x"
