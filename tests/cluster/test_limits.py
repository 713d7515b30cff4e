"""Time limits and ends that a caller asks for, on real workers, with real signals."""

import collections
import ctypes
import os
import signal
import time

import pytest
import userland
from cluster import is_alive, wait_until

import seppo
from seppo.core import watch

N, SLOW = 12, 5


def runs_of(path):
    """Return how often each item ran."""
    return collections.Counter(map(int, path.read_text().split()))


def sleeps(x):
    time.sleep(600)


def holds_the_interpreter(x):
    ctypes.PyDLL(None).sleep(600)


def swallows(x):
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass


@pytest.mark.parametrize(
    ("way", "retries_on_loss"), [(sleeps, 2), (holds_the_interpreter, 0), (swallows, 2)]
)
def test_an_item_over_its_limit_fails_alone_and_is_begun_once(
    own_cluster, tmp_path, way, retries_on_loss
):
    own_cluster(2)
    path = tmp_path / "runs"

    def work(x):
        userland.appends(path, x)
        if x == SLOW:
            way(x)
        return x

    results = seppo.map_parallel(
        work,
        range(N),
        task_timeout=0.5,
        retries_on_loss=retries_on_loss,
        duplicate=False,
        fallback="error",
    )
    for x in range(N):
        if x == SLOW:
            with pytest.raises(seppo.TaskTimeoutError, match=f"item {x}") as caught:
                next(results)
            assert (caught.value.index, caught.value.seconds) == (SLOW, 0.5)
        else:
            assert next(results) == x
    assert list(results) == []
    assert runs_of(path)[SLOW] == 1
    if retries_on_loss == 0:
        assert max(runs_of(path).values()) == 1  # and no neighbour has begun twice


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_without_copies_a_frozen_worker_is_killed_and_its_items_move(
    own_cluster, tmp_path, monkeypatch, when
):
    monkeypatch.setattr(watch, "kill_after", lambda asked: 0.5 * (asked + 1))
    cluster = own_cluster(2)
    path = tmp_path / "log"

    def work(x):
        userland.appends(path, f"{os.getpid()}")
        time.sleep(0.05)
        return x

    assert list(seppo.map_parallel(abs, range(100))) == list(range(100))
    victim = cluster.pids()[0]
    if when == "idle":
        os.kill(victim, signal.SIGSTOP)
    results = seppo.map_parallel(work, range(40), duplicate=False, fallback="error")
    if when == "busy":
        wait_until(lambda: path.exists() and str(victim) in path.read_text(), "busy")
        os.kill(victim, signal.SIGSTOP)
    assert list(results) == list(range(40))
    wait_until(lambda: not is_alive(victim), "the end of the frozen worker")
