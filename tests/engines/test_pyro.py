"""The engine with real workers that are frozen, cut off, idle, or told of twice."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace

import pytest
from engine_client import EngineClient
from processes import NameServerProcess, SupervisorProcess, is_running, wait_until

from seppo.core.events import WorkerJoined, WorkerLost
from seppo.engines.base import WorldOver
from seppo.values.function import pack_function
from seppo.values.setup import SetupFacts
from seppo.wire.messages import WorkerEnded
from seppo.wire.packed import SHARED_FROM

MUCH = 32 << 20  # bytes; more than lies in the sockets


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def shared(nameserver):
    """A supervisor of two places."""
    with SupervisorProcess(nameserver, 2, "pair", group="pair") as supervisor:
        yield supervisor


@pytest.fixture
def client(nameserver, shared):
    with EngineClient(nameserver, 2, group="pair") as client:
        yield client
    wait_until(lambda: not shared.leased(), what="the client's processes end")


def pid_of(supervisor, worker):
    clients = supervisor.info()["clients"]
    return next(p["pid"] for c in clients for p in c["processes"] if p["name"] == worker)


@pytest.mark.parametrize("nbytes", [SHARED_FROM, 32 * SHARED_FROM])
def test_a_frozen_worker_that_was_sent_a_big_function_holds_up_nobody_else(client, shared, nbytes):
    first, second = client.workers
    pid = pid_of(shared, first)
    data = os.urandom(nbytes)

    def add(x):
        return x + len(data)

    os.kill(pid, signal.SIGSTOP)
    try:
        client.run(7, add, [1], worker=first)
        client.run(8, add, [2], worker=second)
        client.wait(lambda: client.outcomes(8) == [2 + nbytes])
    finally:
        os.kill(pid, signal.SIGCONT)
    client.wait(lambda: client.outcomes(7) == [1 + nbytes])


def test_a_process_whose_connection_breaks_ends_and_is_replaced(client, shared):
    name = client.workers[0]
    pid = pid_of(shared, name)
    before = len(client.events)
    client.stream(name).sock.shutdown(socket.SHUT_RDWR)
    client.wait(lambda: client.last(WorkerJoined) in client.events[before:])
    client.wait_for(WorkerLost)  # its supervisor may say later how it ended
    told = [e for e in client.events[before:] if isinstance(e, WorkerLost | WorkerJoined)]
    lost, joined = sorted(told, key=lambda event: isinstance(event, WorkerJoined))
    assert (type(lost), lost.worker) == (WorkerLost, name)
    assert joined.worker not in client.workers
    assert not is_running(pid)
    client.run(9, abs, [-1], worker=joined.worker)
    client.wait(lambda: client.outcomes(9) == [1])


def test_an_end_that_is_told_twice_in_one_turn_leaves_nothing_due(client):
    engine, name = client.engine, client.workers[0]
    ended = WorkerEnded(name, "SIGKILL", 0, 0, 0, False)
    sock = client.stream(name).sock
    sock.shutdown(socket.SHUT_RDWR)
    client.wait(lambda: sock.fileno() == -1)
    engine._hosts._news += [ended, ended]
    client.turn(0.0)
    assert client.loss().worker == name
    assert engine._workers.next_deadline() == float("inf")
    assert not engine._hosts.can_tell(name)


def test_a_world_without_work_is_idle_and_keeps_its_processes(client, shared, monkeypatch):
    monkeypatch.setattr("seppo.engines.pyro.IDLE_SECONDS", 0.1)
    pids = shared.leased()

    def wanted():
        return [count for c in shared.info()["clients"] for count in c["wanted"].values()]

    assert wanted() == [2]
    client.want(0)
    client.wait(lambda: wanted() == [0])
    assert shared.leased() == pids
    client.want(2)
    client.wait(lambda: wanted() == [2])
    client.run(7, abs, [-1])
    client.wait(lambda: client.outcomes(7) == [1])


def test_a_world_without_work_is_idle_at_once_when_another_one_wants_processes(
    client, shared, monkeypatch
):
    monkeypatch.setattr("seppo.engines.pyro.IDLE_SECONDS", 1000.0)

    def wanted():
        return [c["wanted"] for c in shared.info()["clients"]]

    client.want(0)
    other = client.open(8, replace(pack_function(abs), setup=SetupFacts(key=b"other")))
    client.want(1, other)
    client.wait(lambda: wanted() == [{"1": 0, str(other): 1}])
    client.engine.close_job(8)
    client.want(0, other)
    client.want(2)
    client.wait(lambda: wanted() == [{"1": 2, str(other): 0}])


def test_the_processes_of_a_world_that_is_over_end(client, shared):
    once = replace(pack_function(abs), setup=SetupFacts(key=b"once", has_finalizer=True))
    before = shared.leased()
    world = client.open(8, once)
    client.want(1, world)
    worker = client.wait_for(WorkerJoined, 3)[-1].worker
    pid = pid_of(shared, worker)
    client.engine.close_job(8)
    client.wait_for(WorldOver)
    assert client.loss().worker == worker
    client.wait(lambda: not is_running(pid))
    # Its host may hear of the end of its process before it hears that nobody wants another.
    client.engine._hosts.want(world, 1)
    client.wait(lambda: shared.leased() != before)
    client.engine._hosts.want(world, 0)
    client.wait(lambda: shared.leased() == before)


def test_the_end_of_a_job_copies_what_it_lent_and_nothing_else(client, shared):
    numpy = pytest.importorskip("numpy")
    name = client.workers[0]
    stream = client.stream(name)
    arrays = {job: numpy.zeros(MUCH, numpy.uint8) for job in (7, 8)}
    pid = pid_of(shared, name)
    os.kill(pid, signal.SIGSTOP)
    try:
        for job, array in arrays.items():
            client.run(job, len, [array], worker=name)
        lent = {lender: view for view, lender in stream._out if lender is not None}
        assert set(lent) == {7, 8}
        client.engine.close_job(8)
        assert {lender: view for view, lender in stream._out if lender is not None} == {7: lent[7]}
        arrays[8][:] = 1
    finally:
        os.kill(pid, signal.SIGCONT)
    client.wait(lambda: client.outcomes(7) == client.outcomes(8) == [MUCH])
