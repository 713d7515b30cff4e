"""What every engine does, driven as a map drives it: one suite over all of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import hostile
import numpy as np
import pytest
from local_engine import LocalEngine
from processes import NameServerProcess, SupervisorProcess, wait_until

from seppo.core.commands import Deliver, FailJob, FinishJob
from seppo.core.events import Policy
from seppo.driver import Broken, Driver, JobHandle
from seppo.engines.base import Answer, Engine
from seppo.engines.pyro import PyroEngine
from seppo.values.batch import unpack_all
from seppo.values.function import pack_function
from seppo.values.outcome import Failure
from seppo.values.source import SequenceSource, StreamSource


@pytest.fixture(scope="module")
def settings() -> Iterator[Any]:
    """Two real workers, started only when an engine needs them."""
    with NameServerProcess() as nameserver, SupervisorProcess(nameserver, 2, "contract"):
        yield nameserver.settings


@pytest.fixture(scope="module", params=["local", "pyro"])
def driver(request) -> Iterator[Driver]:
    engine: Engine
    if request.param == "local":
        engine = LocalEngine(2)
    else:
        engine = PyroEngine(request.getfixturevalue("settings"))
    assert engine.find()
    driver = Driver(engine)
    wait_until(lambda: driver.n_workers == 2 or (engine.wake() and False))
    yield driver
    driver.stop()
    assert not driver._thread.is_alive()


class Job:
    """A job whose outcomes are gathered by position."""

    def __init__(self, driver: Driver, source: Any, **policy: Any) -> None:
        self.values: dict[int, Any] = {}
        self.order: list[int] = []
        self.end: Any = None
        self._outcomes: SimpleQueue[Any] = SimpleQueue()
        self.handle: JobHandle = driver.open(source, self._outcomes.put, Policy(**policy))

    def listen(self, until: Callable[[], Any]) -> None:
        """Take what is delivered, and say so, until a condition holds."""

        def heard() -> Any:
            while not self._outcomes.empty():
                self._take(self._outcomes.get())
            return until()

        wait_until(heard)

    def _take(self, outcome: Any) -> None:
        match outcome:
            case Deliver(payload=Answer(batch=batch)):
                values = unpack_all(batch, str)[outcome.offset : outcome.offset + outcome.count]
                for position, value in enumerate(values, outcome.index):
                    assert position not in self.values, "delivered twice"
                    self.values[position] = value
                    self.order.append(position)
                self.handle.take(outcome.count)
            case Deliver():
                self.values[outcome.index] = outcome.payload
                self.order.append(outcome.index)
                self.handle.take(outcome.count)
            case FinishJob() | FailJob() | Broken():
                self.end = outcome

    def results(self) -> list[Any]:
        """Return all outcomes by position, when the job has finished."""
        self.listen(lambda: self.end is not None)
        assert isinstance(self.end, FinishJob), self.end
        assert sorted(self.values) == list(range(len(self.values)))
        return [self.values[position] for position in range(len(self.values))]


def start(driver: Driver, func: Any, *columns: Any, **policy: Any) -> Job:
    """Begin a job over sequences."""
    job = Job(driver, SequenceSource(pack_function(func), columns), **policy)
    job.handle.offer(min(map(len, columns)))
    job.handle.end()
    return job


def test_results_come_in_order(driver):
    job = start(driver, lambda x: x * x, range(5000))
    assert job.results() == [x * x for x in range(5000)]
    assert job.order == list(range(5000))


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_any_chunksize_gives_the_same(driver, chunksize):
    job = start(driver, lambda x, y: f"{x}{y}", list(range(100)), "ab" * 50, chunksize=chunksize)
    assert job.results() == [f"{x}{'ab'[x % 2]}" for x in range(100)]


def test_a_job_without_items_finishes(driver):
    assert start(driver, abs, []).results() == []


def test_arrays_travel(driver):
    blocks = np.arange(400_000, dtype="f8").reshape(40, -1)
    results = start(driver, lambda row: row * 2, blocks).results()
    assert all((a == 2 * b).all() for a, b in zip(results, blocks, strict=True))


def test_closures_and_objects_of_our_classes_travel(driver):
    results = start(driver, lambda x: hostile.Oops(x), [1, 2]).results()
    assert [type(value) for value in results] == [hostile.Oops] * 2


def test_errors_arrive_at_their_place_and_the_rest_goes_on(driver):
    results = start(driver, lambda x: 1 // (x - 5), range(10)).results()
    error = results[5].to_exception(5, "w")
    assert type(error) is ZeroDivisionError
    assert "ZeroDivisionError" in str(error.__cause__)
    assert results[4] == -1
    assert results[6] == 1


@pytest.mark.parametrize(
    "func",
    [
        hostile.exit_politely,
        hostile.stop_iteration,
        hostile.returns_unpicklable,
        lambda _: hostile.RaisesAtPickling(SystemExit),
    ],
)
def test_hostile_items_cost_only_themselves(driver, func):
    results = start(driver, lambda x: func(x) if x == 3 else x, range(6)).results()
    assert type(results[3]) is Failure
    assert results[:3] + results[4:] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit])
@pytest.mark.parametrize("bomb", [hostile.RaisesAtPickling, hostile.RaisesAtUnpickling])
def test_items_that_cannot_travel_cost_only_themselves(driver, bomb, kind):
    results = start(driver, lambda x: x, [[0], bomb(kind), [2]]).results()
    assert (results[0], results[2]) == ([0], [2])
    assert "item 1" in results[1].text


def test_a_function_that_does_not_load_fails_every_item(driver):
    bomb = hostile.RaisesAtUnpickling(SystemExit)
    results = start(driver, lambda x, bomb=bomb: x, range(5)).results()
    assert [type(value) for value in results] == [Failure] * 5


def test_items_arrive_one_by_one(driver):
    source = StreamSource(pack_function(lambda x: x + 1), 1)
    job = Job(driver, source)
    for index in range(20):
        source.add(index, (index,))
        job.handle.offer(1)
        job.listen(lambda count=index + 1: len(job.values) == count)
    job.handle.end()
    assert job.results() == list(range(1, 21))


def test_items_arrive_from_a_buffer_that_is_used_again(driver):
    source = StreamSource(pack_function(lambda array: array.sum()), 1)
    job = Job(driver, source)
    buffer = np.zeros(2000)
    for index in range(50):
        buffer[:] = index
        source.add(index, (buffer,))
        job.handle.offer(1)
    job.handle.end()
    assert job.results() == [2000.0 * index for index in range(50)]


def test_unordered_results_come_as_they_are_done(driver):
    def slow_first(x: int) -> int:
        time.sleep(0.5 if x == 0 else 0.001)
        return x

    job = start(driver, slow_first, range(20), ordered=False, chunksize=1)
    assert job.results() == list(range(20))
    assert job.order[0] != 0


def test_both_workers_take_part(driver):
    def where(_: int) -> tuple[int, int]:
        time.sleep(0.02)
        return os.getpid(), threading.get_ident()

    assert len(set(start(driver, where, range(20)).results())) == 2


def test_a_mispaced_chunk_is_recalled_and_shared(driver):
    # The quick items invite a large chunk; the slow ones in it must not stay with one.
    def func(x: int) -> tuple[int, int]:
        if x >= 2000:
            time.sleep(0.02)
        return os.getpid(), threading.get_ident()

    job = start(driver, func, range(2080), chunksize=None)
    results = job.results()
    assert len(results) == 2080
    assert len(set(results[2000:])) == 2


def test_a_closed_job_frees_the_workers(driver):
    job = start(driver, lambda x: time.sleep(0.05), range(10_000))
    job.listen(lambda: len(job.values) > 2)
    job.handle.close()
    assert start(driver, lambda x: x, range(10)).results() == list(range(10))


def test_jobs_run_side_by_side(driver):
    jobs = [start(driver, lambda x, n=n: x + n, range(300)) for n in range(5)]
    for n, job in enumerate(jobs):
        assert job.results() == list(range(n, 300 + n))


def test_one_job_does_not_wait_for_another_that_is_long(driver):
    long = start(driver, lambda x: time.sleep(0.05), range(10_000))
    wait_until(lambda: driver.n_workers == 2)
    assert start(driver, lambda x: x, range(10)).results() == list(range(10))
    long.handle.close()


def test_the_same_function_may_be_used_again(driver):
    func = lambda x: x + 1  # noqa: E731
    for _ in range(3):
        assert start(driver, func, range(10)).results() == list(range(1, 11))


def test_large_results_of_many_items_pass(driver):
    results = start(driver, lambda x: bytes([x]) * (1 << 20), range(60)).results()
    assert [value[0] for value in results] == list(range(60))
    assert {len(value) for value in results} == {1 << 20}
