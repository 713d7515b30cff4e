"""Items over their time limit: told as failures, and ended with their process."""

from __future__ import annotations

import os
import time

import pytest
from lessee import Lessee
from processes import SupervisorProcess, is_running, wait_until

from seppo.errors import TaskTimeoutError
from seppo.values.outcome import Failure
from seppo.wire.messages import Results, Returned, WorkerEnded


@pytest.fixture(scope="module")
def supervisor():
    with SupervisorProcess(None, 1, "limits") as supervisor:
        yield supervisor


@pytest.fixture
def client(supervisor):
    with Lessee(supervisor) as client:
        client.lease()
        yield client


@pytest.fixture
def worker(client):
    return client.workers[0]


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


def stubborn(x):
    while x == 2:
        try:
            time.sleep(60)
        except BaseException:
            pass
    return x


@pytest.mark.parametrize("func", [lambda x: (time.sleep(60 * (x == 2)), x)[1], stubborn])
def test_an_item_over_its_limit_fails_and_ends_its_process(client, worker, func):
    worker.run(6, func, [0])  # to have it loaded
    worker.outcomes(6, 1)
    worker.run(7, func, range(5), index=10, task_timeout=0.5)
    worker.run(8, abs, range(3))
    assert client.ended(worker) == WorkerEnded(worker.name, "exit code 75", 0, 0, 0, False)
    assert not is_running(worker.pid)
    wait_until(worker.has_ended)
    assert list(map(outcome, worker.told(7))) == [0, 1, OVER]
    error = worker.told(7)[2].to_exception(12, "w")
    assert isinstance(error, TaskTimeoutError)
    assert (error.index, error.seconds, error.worker) == (12, 0.5, worker.name)
    assert Returned(7, 3) in worker.heard
    assert Returned(8, 0) in worker.heard
    (successor,) = client.attach()
    successor.run(9, abs, [-1])
    assert successor.outcomes(9, 1) == [1]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("where", ["unpack", "pack"])
def test_unpacking_and_packing_count_too(client, worker, where, alone):
    def same(x):
        return SleepsAtPickling() if x == "pack" else x

    worker.run(6, same, [0])  # to have it loaded
    worker.outcomes(6, 1)
    items = [1, SleepsAtUnpickling() if where == "unpack" else "pack", 3]
    worker.run(7, same, items, task_timeout=0.5, alone=alone)
    client.ended(worker)
    wait_until(worker.has_ended)
    assert list(map(outcome, worker.told(7))) == [1, OVER]
    assert Returned(7, 2) in worker.heard


def test_quick_items_do_not_mind_a_limit(worker):
    worker.run(7, lambda x: [x], list(range(5000)), task_timeout=20.0)
    assert worker.outcomes(7, 5000) == [[x] for x in range(5000)]


def test_the_limit_is_for_each_item_not_for_the_chunk(worker):
    worker.run(7, lambda x: time.sleep(0.1), range(40), task_timeout=3.5)
    assert worker.outcomes(7, 40) == [None] * 40


def test_alone_each_result_is_told_at_once(worker):
    worker.run(7, lambda x: (time.sleep(0.3 * (x == 2)), x)[1], range(3), alone=True)
    assert worker.outcomes(7, 3) == [0, 1, 2]
    assert [message.batch.count for message in worker.of_kind(Results)] == [1, 1, 1]


def test_a_client_that_does_not_read_holds_nobody_up(supervisor, worker):
    with Lessee(supervisor) as other:
        (deaf,) = other.lease()
        deaf.run(1, lambda x: bytes(1 << 20), range(200))  # and never looks again
        worker.run(7, lambda x: os.getpid(), [0])
        assert worker.outcomes(7, 1) == [worker.pid]
