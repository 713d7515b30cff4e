"""A supervisor and its workers as real processes, and what it says of how they ended."""

from __future__ import annotations

import signal
import sys
import time

import pytest
from processes import (
    CREDENTIALS,
    NameServerProcess,
    SupervisorProcess,
    is_running,
    parent_of,
    wait_until,
)

from seppo.settings import Settings
from seppo.transport.nameserver import NameServer
from seppo.transport.proxy import call
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
        assert call(CREDENTIALS, supervisor.address, "ping", timeout=5.0) == "pong"
        for entry in entries:
            assert call(CREDENTIALS, entry.address, "info", timeout=5.0)["group"] == "lab"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
        wait_until(lambda: len(set(supervisor.pids()) - {victim}) == 2, 5)
        wait_until(
            lambda: len(supervisor.registered()) == 2 and supervisor.registered() != names, 5
        )
        assert other in supervisor.pids()
        assert sum(worker["restarts"] for worker in supervisor.info()["workers"]) == 1
    assert "SIGKILL" in supervisor.output


def killed(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)  # a worker of a supervisor that the test has started


def test_killing_the_supervisor_leaves_no_orphan(nameserver):
    with SupervisorProcess(nameserver, 2, "orphan") as supervisor:
        pids = supervisor.pids()
        helpers = {parent_of(pid) for pid in pids} if sys.platform == "linux" else set()
        supervisor.kill(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, [*pids, *helpers])), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_losing_the_helper_that_forks_ends_the_supervisor_with_a_reason(nameserver):
    with SupervisorProcess(nameserver, 1, "helper") as supervisor:
        (pid,) = supervisor.pids()
        killed(parent_of(pid))
        assert supervisor.wait(10) != 0
        assert "helper process" in supervisor.output
        assert not is_running(pid)
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
        assert supervisor.wait(20) != 0
    assert "died before they were ready" in supervisor.output
    assert "exit code 7" in supervisor.output


def test_a_supervisor_with_threads_at_its_start_works_too(nameserver):
    first = "import threading, time; "
    first += "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    with SupervisorProcess(nameserver, 1, "threads", first=first) as supervisor:
        (pid,) = supervisor.pids()
        killed(pid)
        wait_until(lambda: supervisor.pids() not in ([], [pid]), 10)


def test_it_works_before_the_name_server_does():
    with NameServerProcess() as late:
        port = late.port
    late.stop()
    supervisor = SupervisorProcess(late, 1, "early", wait=False)
    with supervisor:
        wait_until(lambda: is_up(supervisor))
        with NameServerProcess(port) as nameserver:
            began = time.monotonic()
            wait_until(lambda: nameserver.names(), 10)
            assert time.monotonic() - began < 5


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
