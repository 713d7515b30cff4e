"""A supervisor and its workers as real processes, and what it says of how they ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from processes import (
    CREDENTIALS,
    PATIENCE,
    NameServerProcess,
    SupervisorProcess,
    is_running,
    parent_of,
    wait_until,
)

from seppo.payload.batch import pack_values
from seppo.payload.function import pack_function
from seppo.payload.protocol import (
    Chunk,
    Draining,
    Function,
    KillWorker,
    Ping,
    Pong,
    Uses,
    Welcome,
    WorkerEnded,
    from_frame,
    to_parts,
)
from seppo.settings import Settings
from seppo.transport.nameserver import NameServer
from seppo.transport.proxy import attach, call
from seppo.transport.stream import Stream
from seppo.worker.supervisor import describe_status


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


def test_workers_are_registered_with_their_facts(nameserver):
    with SupervisorProcess(nameserver, 2, "facts", group="lab") as supervisor:
        entries = NameServer(Settings(ns_port=nameserver.port)).find("lab")
        assert {entry.name for entry in entries} == supervisor.registered()
        assert all(entry.speaks_our_protocol for entry in entries)
        assert {int(entry.facts["pid"]) for entry in entries} == set(supervisor.pids())
        assert {entry.facts["supervisor"] for entry in entries} == {str(supervisor.address)}
        info = supervisor.info()
        assert info["pid"] == supervisor.pid
        assert info["group"] == "lab"
        assert call(CREDENTIALS, supervisor.address, "ping", timeout=PATIENCE) == "pong"
        for entry in entries:
            assert call(CREDENTIALS, entry.address, "info", timeout=PATIENCE)["group"] == "lab"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_and_leaves_the_name_server_clean(nameserver, number):
    with SupervisorProcess(nameserver, 2, "signal") as supervisor:
        pids = supervisor.pids()
        assert len(pids) == 2
        supervisor.kill(number)
        assert supervisor.wait() == 0
        assert not any(map(is_running, pids))
        assert supervisor.registered() == set()


def test_a_worker_that_was_killed_is_started_again(nameserver):
    with SupervisorProcess(nameserver, 2, "again") as supervisor:
        names = supervisor.registered()
        victim, other = supervisor.pids()
        killed(victim)
        wait_until(lambda: len(set(supervisor.pids()) - {victim}) == 2)
        wait_until(lambda: len(supervisor.registered()) == 2 and supervisor.registered() != names)
        assert other in supervisor.pids()
        assert sum(worker["restarts"] for worker in supervisor.info()["workers"]) == 1
    assert "SIGKILL" in supervisor.output


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # a worker of a supervisor that the test has started


def test_killing_the_supervisor_leaves_no_orphan(nameserver):
    with SupervisorProcess(nameserver, 2, "orphan") as supervisor:
        pids = supervisor.pids()
        helpers = {parent_of(pid) for pid in pids} if sys.platform == "linux" else set()
        supervisor.kill(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, [*pids, *helpers])))


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_losing_the_helper_that_forks_ends_the_supervisor_with_a_reason(nameserver):
    with SupervisorProcess(nameserver, 1, "helper") as supervisor:
        (pid,) = supervisor.pids()
        killed(parent_of(pid))
        assert supervisor.wait() != 0
        assert "helper process" in supervisor.output
        wait_until(lambda: not is_running(pid), "the end of the worker")
        assert supervisor.registered() == set()


CRASHING = """
import seppo.worker.launcher, sys
def crash(*_):
    sys.exit(7)
seppo.worker.launcher.run_worker = crash
"""


def test_workers_that_die_at_birth_end_the_supervisor_with_a_reason(nameserver):
    supervisor = SupervisorProcess(nameserver, 1, "stillborn", first=CRASHING, wait=False)
    with supervisor:
        assert supervisor.wait() != 0
    assert "died before they were ready" in supervisor.output
    assert "exit code 7" in supervisor.output


def test_a_supervisor_with_threads_at_its_start_works_too(nameserver):
    first = "import threading, time; "
    first += "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    with SupervisorProcess(nameserver, 1, "threads", first=first) as supervisor:
        (pid,) = supervisor.pids()
        killed(pid)
        wait_until(lambda: supervisor.pids() not in ([], [pid]))


def test_it_works_before_the_name_server_does():
    with NameServerProcess() as late:
        port = late.port
    late.stop()
    supervisor = SupervisorProcess(late, 1, "early", wait=False)
    with supervisor:
        wait_until(lambda: is_up(supervisor))
        with NameServerProcess(port) as nameserver:
            wait_until(lambda: nameserver.names())


def is_up(supervisor: SupervisorProcess) -> bool:
    try:
        return bool(supervisor.pids())
    except (ConnectionError, TimeoutError):
        return False


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-11, "SIGSEGV"), (-99, "signal 99")],
)
def test_ends_are_told_in_words(status, words):
    assert describe_status(status) == words


# --- the control channel


class Client:
    """A client of a supervisor, by hand."""

    def __init__(self, supervisor: SupervisorProcess) -> None:
        self.stream = Stream(attach(CREDENTIALS, supervisor.address, PATIENCE))
        self.heard: list[object] = []
        (self.welcome,) = self.wait_for(Welcome)

    def send(self, *messages: object) -> None:
        for message in messages:
            self.stream.send(*to_parts(message))

    def wait_for(self, kind: type, count: int = 1) -> list:
        def enough() -> list:
            with suppress(EOFError):  # what came before counts
                self.heard += map(from_frame, self.stream.receive())
            found = [message for message in self.heard if isinstance(message, kind)]
            return found if len(found) >= count else []

        return wait_until(enough)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def test_pings_are_answered_and_ends_are_told(nameserver):
    with SupervisorProcess(nameserver, 1, "tells") as supervisor, Client(supervisor) as client:
        assert client.welcome.info == {"supervisor": "tells", "draining": False}
        client.send(Ping(), Ping())
        assert client.wait_for(Pong, 2) == [Pong(), Pong()]
        (name,) = supervisor.registered()
        killed(*supervisor.pids())
        ended = WorkerEnded(name, "SIGKILL", 0, 0, 0, 0, False)
        assert client.wait_for(WorkerEnded) == [ended]
        with Client(supervisor) as late:
            late.send(Uses(name, 1))
            assert late.wait_for(WorkerEnded) == [ended]


def test_a_client_kills_only_what_is_its_own_and_runs(nameserver):
    with (
        SupervisorProcess(nameserver, 1, "guard", group="guard") as supervisor,
        Client(supervisor) as client,
    ):
        (old,) = supervisor.registered()
        killed(*supervisor.pids())
        client.wait_for(WorkerEnded)
        wait_until(lambda: supervisor.registered() not in (set(), {old}), "the successor")
        (entry,) = NameServer(nameserver.settings).find("guard")
        stream = Stream(attach(CREDENTIALS, entry.address, PATIENCE))
        stream.receive_one(PATIENCE)
        client.send(Uses(entry.name, 1), KillWorker(entry.name, 1, 5))  # nothing runs
        func = pack_function(time.sleep)
        stream.send(*to_parts(Function(func)))
        stream.send(*to_parts(Chunk(5, 1, 0, 1, func.digest, (pack_values([600], str),))))
        wait_until(lambda: call(CREDENTIALS, entry.address, "info", timeout=PATIENCE)["busy"])
        with Client(supervisor) as stranger:
            stranger.send(KillWorker(entry.name, 1, 5), Uses(old, 1))
            stranger.wait_for(WorkerEnded)  # is answered after the request before it
        assert call(CREDENTIALS, entry.address, "ping", timeout=PATIENCE) == "pong"
        client.send(KillWorker(entry.name, 1, 4), KillWorker(entry.name, 2, 5))
        client.send(KillWorker("seppo.nobody", 1, 5), Uses("seppo.nobody", 1))
        client.send(KillWorker(entry.name, 1, 5))
        how = "SIGKILL (its client asked for it)"
        _, ended = client.wait_for(WorkerEnded, 2)
        assert ended == WorkerEnded(entry.name, how, 1, 5, 0, 1, False)
        stream.close()
    assert supervisor.output.count("is killed") == 1  # for one of all these requests


def test_a_client_that_sends_nonsense_is_cut_off_and_others_are_served(nameserver):
    func = bytes(32)
    with SupervisorProcess(nameserver, 1, "nonsense") as supervisor, Client(supervisor) as honest:
        for rubbish in (b"\xff" * 100, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"):
            with Client(supervisor) as liar:
                liar.stream.sock.send(rubbish)
                assert_cut_off(liar.stream.sock)
        with Client(supervisor) as liar:
            liar.stream.send(1, [b"no chunk"])
            assert_cut_off(liar.stream.sock)
        with Client(supervisor) as liar:
            liar.send(Chunk(1, 1, 0, 0, func, ()))
            assert_cut_off(liar.stream.sock)
        honest.send(Ping())
        honest.wait_for(Pong)


def assert_cut_off(sock: socket.socket) -> None:
    sock.settimeout(PATIENCE)
    try:
        assert sock.recv(100) == b""
    except ConnectionResetError:
        pass


def test_draining_is_told_and_then_it_ends(nameserver):
    with SupervisorProcess(nameserver, 2, "drain") as supervisor, Client(supervisor) as client:
        pids = supervisor.pids()
        supervisor.kill(signal.SIGTERM)
        client.wait_for(Draining)
        assert [ended.how for ended in client.wait_for(WorkerEnded, 2)] == ["exit code 0"] * 2
        assert supervisor.wait() == 0
        assert not any(map(is_running, pids))


def test_an_end_for_want_of_memory_is_told_as_such(nameserver):
    first = "import itertools, seppo.worker.supervisor as s; n = itertools.count(); "
    first += "s.oom_kills = lambda: next(n)"  # the kernel's counter has grown meanwhile
    with (
        SupervisorProcess(nameserver, 1, "oom", first=first) as supervisor,
        Client(supervisor) as client,
    ):
        killed(*supervisor.pids())
        assert client.wait_for(WorkerEnded)[0].how == "out of memory (SIGKILL)"


def test_workers_that_die_idle_again_and_again_are_started_ever_more_slowly(nameserver):
    with SupervisorProcess(nameserver, 1, "pause") as supervisor, Client(supervisor) as client:
        for count in range(1, 5):
            wait_until(lambda: supervisor.pids())
            killed(*supervisor.pids())
            client.wait_for(WorkerEnded, count)
    assert "starting another in 0.0 s" in supervisor.output
    assert "starting another in 0.4 s" in supervisor.output


def test_workers_that_die_of_items_are_started_again_at_once(nameserver):
    with SupervisorProcess(nameserver, 1, "items", group="items") as supervisor:
        settings = replace(nameserver.settings, group="items")
        engine_ends = 0
        while engine_ends < 4:
            wait_until(lambda: len(supervisor.registered()) == 1)
            (entry,) = NameServer(settings).find("items")
            stream = Stream(attach(CREDENTIALS, entry.address, PATIENCE))
            stream.receive_one(PATIENCE)
            func = pack_function(os._exit)
            column = pack_values([3], str)
            stream.send(*to_parts(Function(func)))
            stream.send(*to_parts(Chunk(1, 1, 0, 1, func.digest, (column,))))
            wait_until(lambda name=entry.name: name not in supervisor.registered())
            stream.close()
            engine_ends += 1
    assert supervisor.output.count("starting another in 0.0 s") == 4
