"""Items over their time limit on a real worker: interrupted, or ended with their process."""

from __future__ import annotations

import os
import select
import time

import pytest
from engine_client import EngineClient
from processes import (
    KEEPING,
    PATIENCE,
    NameServerProcess,
    SupervisorProcess,
    is_running,
    wait_until,
)

from seppo.core.events import ItemsDone, RestReturned, Verdict, WorkerLost
from seppo.errors import TaskTimeoutError
from seppo.payload.outcome import Failure


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def supervisor(nameserver):
    with SupervisorProcess(nameserver, 1, "limits", first=KEEPING) as supervisor:
        yield supervisor


@pytest.fixture
def client(nameserver, supervisor):
    wait_until(lambda: len(supervisor.registered()) == 1, what="the worker")
    with EngineClient(nameserver) as client:
        yield client


class SleepsAtUnpickling:
    def __reduce__(self):
        return time.sleep, (60,)


class SleepsAtPickling:
    def __reduce__(self):
        time.sleep(60)
        return str, ()


def outcome(value):
    return value.type_name if type(value) is Failure else value


OVER = "seppo.errors.TaskTimeoutError"


def test_an_item_over_its_limit_fails_and_the_others_run(client, supervisor):
    (pid,) = supervisor.pids()
    func = lambda x: (time.sleep(60) if x == 2 else None, x)[1]  # noqa: E731
    client.run(7, func, range(5), task_timeout=0.3)
    client.wait(lambda: len(client.outcomes(7)) == 5)
    assert list(map(outcome, client.outcomes(7))) == [0, 1, OVER, 3, 4]
    error = client.outcomes(7)[2].to_exception(2, "w")
    assert isinstance(error, TaskTimeoutError)
    assert (error.index, error.seconds, error.worker) == (2, 0.3, client.workers[0])
    client.run(8, abs, [-1])
    client.wait(lambda: client.outcomes(8) == [1])
    assert supervisor.pids() == [pid]


def test_the_index_is_that_of_the_input(client):
    client.run(7, lambda x: time.sleep(60), range(20), first=15, task_timeout=0.1)
    client.wait(lambda: client.outcomes(7))
    assert "item 15 " in client.outcomes(7)[0].text


@pytest.mark.parametrize("alone", [False, True])
def test_unpacking_and_packing_count_too(client, alone):
    def same(x):
        return SleepsAtPickling() if x == "pack" else x

    items = [1, SleepsAtUnpickling(), 2, "pack", 3]
    client.run(7, same, items, task_timeout=0.3, alone=alone)
    client.wait(lambda: len(client.outcomes(7)) == 5)
    assert list(map(outcome, client.outcomes(7))) == [1, OVER, 2, OVER, 3]


def test_quick_items_do_not_mind_a_limit(client):
    client.run(7, lambda x: [x], list(range(5000)), task_timeout=5.0)
    client.wait(lambda: len(client.outcomes(7)) == 5000)
    assert client.outcomes(7) == [[x] for x in range(5000)]


def test_the_limit_is_for_each_item_not_for_the_chunk(client):
    client.run(7, lambda x: time.sleep(0.05), range(20), task_timeout=0.8)
    client.wait(lambda: len(client.outcomes(7)) == 20)
    assert client.outcomes(7) == [None] * 20


def test_an_item_that_cannot_be_interrupted_ends_its_worker_and_costs_nothing_else(
    client, supervisor
):
    (pid,) = supervisor.pids()

    def stubborn(x):
        while x == 2:
            try:
                time.sleep(60)
            except BaseException:
                pass
        return x

    client.run(7, stubborn, range(5), task_timeout=0.3)
    client.run(8, abs, range(3))
    loss = client.loss()
    assert loss.verdict == Verdict("exit code 75", None)
    assert list(map(outcome, client.outcomes(7))) == [0, 1, OVER]
    returned = [event for event in client.events if isinstance(event, RestReturned)]
    assert RestReturned(7, 3) in returned
    assert RestReturned(8, 0) in returned
    assert not is_running(pid)


def test_alone_each_result_is_told_at_once(client):
    client.run(7, lambda x: (time.sleep(0.3 * (x == 2)), x)[1], range(3), alone=True)
    client.wait(lambda: len(client.outcomes(7)) == 3)
    counts = [event.count for event in client.events if hasattr(event, "count")]
    assert counts == [1, 1, 1]


def test_clients_get_equal_shares_whatever_their_chunks(nameserver, client):
    """One sends a chunk of a hundred thousand items, the other single ones."""

    def nap(x):
        time.sleep(0.005)
        return time.monotonic()

    with EngineClient(nameserver) as big, EngineClient(nameserver) as small:
        big.run(1, nap, range(100_000))
        big.wait(lambda: big.outcomes(1))
        for number in range(10, 310):  # all at once, so that it always has work
            small.run(number, nap, [0])

        def times():
            return [value for number in range(10, 310) for value in small.outcomes(number)]

        small.wait_for(ItemsDone, 200)
        mine = times()
        first, last = min(mine), max(mine)
        big.wait(lambda: big.outcomes(1)[-1] > last)
        others = sum(first <= at <= last for at in big.outcomes(1))
        assert 0.5 <= others / len(mine) <= 2.0


def test_a_client_that_does_not_read_holds_nobody_up(nameserver, client):
    with EngineClient(nameserver) as deaf:
        deaf.run(1, lambda x: bytes(1 << 20), range(200))
        (peer,) = deaf.engine._peers.values()
        assert select.select([peer.stream], [], [], PATIENCE)[0]  # and it never looks again
        client.run(7, lambda x: x, range(1000))
        client.wait(lambda: len(client.outcomes(7)) == 1000)


def test_a_worker_lives_through_all_this(client, supervisor):
    client.run(7, lambda x: os.getpid(), [0])
    client.wait(lambda: client.outcomes(7) == supervisor.pids())
    assert not [event for event in client.events if isinstance(event, WorkerLost)]
