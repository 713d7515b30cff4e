"""Entries of the name server that are not what they say: tried side by side, and no hang."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from dataclasses import replace

import pytest
from processes import CREDENTIALS, NameServerProcess, SupervisorProcess, free_port, wait_until

from seppo.engines import discovery as module
from seppo.engines.connectors import CONNECTORS, Connectors
from seppo.engines.discovery import Discovery
from seppo.engines.pyro import PyroEngine
from seppo.pyro.nameserver import Entry, NameServer
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def supervisor(nameserver):
    with SupervisorProcess(nameserver, 1, "live", group="mixed") as supervisor:
        yield supervisor


@pytest.fixture
def engine_of(nameserver):
    """Make an engine for a group."""
    with contextlib.ExitStack() as stack:

        def make(group, **settings):
            engine = PyroEngine(replace(nameserver.settings, group=group, **settings))
            stack.callback(engine.abandon)
            stack.callback(engine.close)
            return engine

        yield make


def register(nameserver, name, port, group):
    facts = {"protocol": str(PROTOCOL_VERSION), "group": group, "key": CREDENTIALS.key.fingerprint}
    entry = Entry(name, Address("seppo.supervisor", "127.0.0.1", port), facts)
    NameServer(nameserver.settings).register(entry)
    return entry


@pytest.fixture
def black_hole():
    """A port at which connecting never ends: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@pytest.fixture
def other_program():
    """A program on a port that answers whatever comes with what it likes."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def silent_program():
    """A program that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield listening.getsockname()[1]


def test_an_entry_whose_port_is_dead_is_removed(nameserver, engine_of):
    register(nameserver, "seppo.dead", free_port(), "dead")
    engine = engine_of("dead")
    assert engine.arrivals.discovery.look_once() == []
    assert engine.arrivals.n_hosts == 0
    wait_until(lambda: "seppo.dead" not in nameserver.names(), what="the removal")


def test_an_entry_that_has_moved_meanwhile_stays(nameserver, engine_of, silent_program):
    old = register(nameserver, "seppo.moved", free_port(), "moved")
    register(nameserver, "seppo.moved", silent_program, "moved")
    engine_of("moved").arrivals.discovery._remove(old)
    assert "seppo.moved" in nameserver.names()


def test_what_is_no_host_is_let_alone(nameserver, engine_of, other_program):
    register(nameserver, "seppo.other", other_program, "other")
    engine = engine_of("other")
    assert engine.arrivals.discovery.look_once() == []
    assert engine.arrivals.n_hosts == 0
    assert "seppo.other" in nameserver.names()


@pytest.fixture
def silent_programs():
    """Twice as many of them as there are connectors at first."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(2 * CONNECTORS):
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            ports.append(listening.getsockname()[1])
        yield ports


def test_all_kinds_of_strangers_do_not_keep_the_live_host(
    nameserver, supervisor, engine_of, black_hole, other_program, silent_programs
):
    # All sort before it.
    for i, port in enumerate([black_hole, other_program, free_port(), *silent_programs]):
        register(nameserver, f"seppo.a{i:03}", port, "mixed")
    engine = engine_of("mixed", connect_timeout=600.0)  # nobody waits for one that is silent
    assert engine.arrivals.discovery.look_once() == []
    assert engine.arrivals.n_hosts == 1


def test_who_does_not_answer_is_not_waited_for(nameserver, engine_of, black_hole):
    register(nameserver, "seppo.hole", black_hole, "hole")
    engine = engine_of("hole", connect_timeout=0.2)
    assert engine.arrivals.discovery.look_once() == []
    assert engine.arrivals.n_hosts == 0
    assert "seppo.hole" in nameserver.names()  # it may be overloaded


def test_what_waits_is_tried_when_threads_start_again(supervisor, engine_of, no_new_threads):
    engine = engine_of("mixed")
    engine.set_active(True)
    assert engine.arrivals.discovery.look_once() == []
    assert engine.arrivals.n_hosts == 0
    no_new_threads.undo()
    engine.arrivals.discovery.look_once()
    wait_until(lambda: engine.arrivals.n_hosts == 1, what="the host")


class Looks:
    """In place of a name server: when it was asked."""

    def __init__(self):
        self.times = []

    def find_ours(self, _):
        self.times.append(time.monotonic())
        return [], 0


@pytest.fixture
def looks(nameserver, monkeypatch):
    """Make a discovery that looks once in an interval; return it and its looks."""
    discoveries = []

    def make(interval):
        monkeypatch.setattr(module, "INTERVAL", interval)
        found = Discovery(
            nameserver.settings, CREDENTIALS, Connectors(), lambda _: None, lambda _: False
        )
        monkeypatch.setattr(found, "_nameserver", Looks())
        discoveries.append(found)
        return found, found._nameserver.times

    yield make
    for discovery in discoveries:
        discovery.set_active(False)


def short_map(discovery):
    discovery.set_active(True)
    discovery.set_active(False)


def test_short_maps_with_pauses_look_for_new_hosts(looks):
    discovery, times = looks(0.2)
    discovery.look_once()
    for n in (2, 3, 4):
        short_map(discovery)
        wait_until(lambda n=n: len(times) == n, what="a look")
    assert all(later - sooner >= 0.2 for sooner, later in itertools.pairwise(times))


def test_maps_that_follow_each_other_do_not_look_all_the_time(looks):
    discovery, times = looks(60.0)
    discovery.look_once()
    for _ in range(100):
        short_map(discovery)
    assert len(times) == 1


def test_a_long_map_looks_again_and_again(looks):
    discovery, times = looks(0.05)
    discovery.set_active(True)
    wait_until(lambda: len(times) > 3, what="looks")
    assert all(later - sooner >= 0.05 for sooner, later in itertools.pairwise(times))
