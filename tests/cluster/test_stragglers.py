"""Workers that are frozen, with real signals: their items go elsewhere."""

import contextlib
import os
import signal
import time
from collections import Counter

import pytest
import userland
from cluster import wait_until
from processes import PATIENCE

import seppo


@contextlib.contextmanager
def frozen(pid):
    """Freeze a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def says_when_it_begins(path, x):
    """Write who runs which item, and take a while."""
    userland.appends(path, f"{os.getpid()} {x}")
    time.sleep(0.1)
    return x


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_with_one_of_two_workers_frozen_completes(own_cluster, tmp_path, ordered):
    own_cluster(2)
    log = tmp_path / "log"
    results = seppo.map_parallel(
        lambda x: says_when_it_begins(log, x), range(40), ordered=ordered, fallback="error"
    )
    wait_until(lambda: len({line.split()[0] for line in lines(log)}) == 2, "two busy workers")
    pid = int(lines(log)[0].split()[0])
    with frozen(pid):
        assert sorted(results) == list(range(40))
    runs = Counter(int(line.split()[1]) for line in lines(log))
    assert max(runs.values()) <= 2
    assert sum(runs.values()) < 60


def test_a_worker_that_goes_on_is_used_again(own_cluster, tmp_path):
    cluster = own_cluster(2)
    log = tmp_path / "log"
    results = seppo.map_parallel(lambda x: says_when_it_begins(log, x), range(20), fallback="error")
    wait_until(lambda: len({line.split()[0] for line in lines(log)}) == 2, "two busy workers")
    pid = int(lines(log)[0].split()[0])
    with frozen(pid):
        assert list(results) == list(range(20))
    pids = set()
    deadline = time.monotonic() + PATIENCE
    while len(pids) < 2:
        assert time.monotonic() < deadline, "it gets nothing"
        pids |= set(seppo.map_parallel(userland.pid_after, [0.05] * 8))
    assert pids == set(cluster.pids())


def test_an_item_that_takes_much_longer_than_others_is_copied(own_cluster, tmp_path):
    own_cluster(2)
    log = tmp_path / "log"

    def slow_once(x):
        userland.appends(log, x)
        if x == 3 and lines(log).count("3") == 1:
            time.sleep(600)
        return x

    assert list(seppo.map_parallel(slow_once, range(10))) == list(range(10))
    assert lines(log).count("3") == 2


def test_without_copies_a_slow_item_begins_once(own_cluster, tmp_path):
    own_cluster(2)
    log = tmp_path / "log"

    def slow(x):
        userland.appends(log, x)
        time.sleep(4.0 if x == 3 else 0)
        return x

    options = {"duplicate": False, "retries_on_loss": 0, "chunksize": 2}
    assert list(seppo.map_parallel(slow, range(10), **options)) == list(range(10))
    assert Counter(lines(log)) == Counter(map(str, range(10)))


def test_where_nothing_may_begin_twice_a_killed_worker_costs_its_item(own_cluster, tmp_path):
    own_cluster(2)
    log = tmp_path / "log"

    def deadly(x):
        userland.appends(log, x)
        if x in (5, 11):
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    results = seppo.map_parallel(
        deadly, range(20), retries_on_loss=0, duplicate=False, fallback="error"
    )
    found = []
    for x in range(20):
        if x in (5, 11):
            with pytest.raises(seppo.WorkerLostError, match=f"item {x}") as caught:
                next(results)
            assert caught.value.tries == 1
        else:
            found.append(next(results))
    assert found == [x for x in range(20) if x not in (5, 11)]
    assert max(Counter(lines(log)).values()) == 1
