"""The engine with real workers that are frozen, cut off, or told of twice."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from engine_client import EngineClient
from processes import NameServerProcess, SupervisorProcess

from seppo.core.events import WorkerJoined, WorkerLost
from seppo.payload.function import SHARED_FROM
from seppo.payload.protocol import WorkerEnded

MUCH = 32 << 20  # bytes; more than lies in the sockets


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def shared(nameserver):
    """A supervisor of two workers."""
    with SupervisorProcess(nameserver, 2, "pair", group="pair") as supervisor:
        yield supervisor


@pytest.fixture
def client(nameserver, shared):
    with EngineClient(nameserver, 2, group="pair") as client:
        yield client


def pid_of(client, worker):
    from processes import CREDENTIALS

    from seppo.transport.proxy import call

    return call(CREDENTIALS, client.engine._peers[worker].address, "info", timeout=5.0)["pid"]


@pytest.mark.parametrize("nbytes", [SHARED_FROM, 32 * SHARED_FROM])
def test_a_frozen_worker_that_was_sent_a_big_function_holds_up_nobody_else(client, nbytes):
    first, second = client.workers
    pid = pid_of(client, first)
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


def test_a_worker_whose_connection_breaks_is_welcome_again_at_once(client):
    name = client.workers[0]
    before = len(client.events)
    client.engine._peers[name].stream.sock.shutdown(socket.SHUT_RDWR)
    client.wait(lambda: name not in client.engine._peers)
    client.engine.discovery.look_once()  # before the wait for a verdict is over
    client.wait(lambda: client.engine._losses.next_deadline() == float("inf"))
    client.wait(lambda: name not in client.engine._held)
    told = [
        event for event in client.events[before:] if isinstance(event, WorkerLost | WorkerJoined)
    ]
    assert [(type(event), event.worker) for event in told] == [
        (WorkerLost, name), (WorkerJoined, name)
    ]  # fmt: skip
    client.run(9, abs, [-1], worker=name)
    client.wait(lambda: client.outcomes(9) == [1])


def test_an_end_that_is_told_twice_in_one_turn_leaves_nothing_due(client, monkeypatch):
    engine, name = client.engine, client.workers[0]
    ended = WorkerEnded(name, "SIGKILL", 0, 0, 0, 0, False)
    client.engine._peers[name].stream.sock.shutdown(socket.SHUT_RDWR)
    client.wait(lambda: name not in engine._peers)
    engine._hosts._news += [ended, ended]
    client.turn(0.0)
    assert client.loss().verdict.how == "SIGKILL"
    assert engine._losses.next_deadline() == float("inf")


def test_the_end_of_a_job_copies_what_it_lent_and_nothing_else(client):
    numpy = pytest.importorskip("numpy")
    name = client.workers[0]
    stream = client.engine._peers[name].stream
    arrays = {job: numpy.zeros(MUCH, numpy.uint8) for job in (7, 8)}
    pid = pid_of(client, name)
    os.kill(pid, signal.SIGSTOP)
    try:
        for job, array in arrays.items():
            client.run(job, len, [array], worker=name)
        lent = {lender: view for view, lender in stream._out if lender is not None}
        assert set(lent) == {7, 8}
        client.engine.forget_job(8)
        assert {lender: view for view, lender in stream._out if lender is not None} == {7: lent[7]}
        arrays[8][:] = 1
    finally:
        os.kill(pid, signal.SIGCONT)
    client.wait(lambda: client.outcomes(7) == client.outcomes(8) == [MUCH])
