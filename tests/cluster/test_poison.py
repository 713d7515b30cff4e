"""Items that end their worker: each costs only itself, and how often each item ran.

A file counts the runs: every item appends its number when it begins.
"""

import collections
import os
import signal
import sys

import deadly
import pytest
from cluster import wait_until
from processes import parent_of

import seppo
from seppo.core.events import WorkerLost

N, GUILTY = 40, 13


def counted(path):
    """Return how often each item ran."""
    return collections.Counter(map(int, path.read_text().split()))


def visitor(path):
    """Return ``deadly.visit``, counting."""
    name = str(path)

    def visit(given):
        if isinstance(given, tuple):
            with open(name, "a") as file:
                file.write(f"{given[0]}\n")
        return deadly.visit(given)

    return visit


def outcomes(results, n):
    """Return what comes at each place: a value, or the error that is raised there."""
    found = []
    for _ in range(n):
        try:
            found.append(next(results))
        except seppo.SeppoError as error:
            found.append(error)
    with pytest.raises(StopIteration):
        next(results)
    return found


# Whose garbage it was that ended a process, nobody can know but where items run alone.
EXACT = [stage for stage in deadly.STAGES if stage != "garbage"]


@pytest.mark.parametrize(
    ("way", "stage", "n_workers"),
    [("kill", stage, n_workers) for stage in EXACT for n_workers in (1, 2)]
    + [(way, "running", 2) for way in deadly.WAYS if way != "kill"],
)
def test_only_the_guilty_item_fails_and_says_how(own_cluster, tmp_path, way, stage, n_workers):
    own_cluster(n_workers)
    path = tmp_path / "runs"
    items = [deadly.item(x, GUILTY, way, stage) for x in range(N)]
    found = outcomes(seppo.map_parallel(visitor(path), items), N)
    error = found.pop(GUILTY)
    assert found == [x for x in range(N) if x != GUILTY]
    assert isinstance(error, seppo.WorkerLostError)
    assert (error.index, error.tries) == (GUILTY, 3)
    assert deadly.WAYS[way] in error.reason
    runs = counted(path)
    if stage in ("running", "pickling"):
        # Three times alone, and before that once in a burst, if that held others as well.
        assert 3 <= runs[GUILTY] <= 4
    # A neighbour runs again only when its result was lost with the worker, and that is once:
    # from then on the guilty one is alone.
    assert all(1 <= runs[x] <= 2 for x in range(N) if x != GUILTY)


@pytest.mark.parametrize(("stage", "n_workers"), [("running", 1), *((stage, 2) for stage in EXACT)])
def test_items_that_are_sent_alone_run_exactly_as_often_as_told(
    own_cluster, tmp_path, stage, n_workers
):
    own_cluster(n_workers)
    path = tmp_path / "runs"
    items = [deadly.item(x, GUILTY, "kill", stage) for x in range(N)]
    results = seppo.map_parallel(
        visitor(path), items, chunksize=1, duplicate=False, retries_on_loss=1
    )
    found = outcomes(results, N)
    assert isinstance(found[GUILTY], seppo.WorkerLostError)
    assert found[GUILTY].tries == 2
    expected = collections.Counter(x for x in range(N) if x != GUILTY)
    if stage in ("running", "pickling"):  # otherwise it never gets as far as counting
        expected[GUILTY] = 2
    assert counted(path) == expected


def test_leaving_politely_is_an_exception_like_any_other(cluster, tmp_path):
    path = tmp_path / "runs"
    name = str(path)

    def leave(x):
        with open(name, "a") as file:
            file.write(f"{x}\n")
        if x == GUILTY:
            sys.exit(3)
        return x

    results = seppo.map_parallel(leave, range(N))
    found = [next(results) for _ in range(GUILTY)]
    with pytest.raises(SystemExit):
        next(results)
    found += results
    assert found == [x for x in range(N) if x != GUILTY]
    assert counted(path) == collections.Counter(range(N))


def test_many_guilty_items_are_each_found(own_cluster):
    own_cluster(2)
    guilty = {5, 6, 20, 39}

    def visit(x):
        if x in guilty:
            os._exit(3)
        return x

    found = outcomes(seppo.map_parallel(visit, range(N)), N)
    for x in range(N):
        if x in guilty:
            assert isinstance(found[x], seppo.WorkerLostError)
            assert "exit code 3" in found[x].reason
        else:
            assert found[x] == x


def test_a_worker_killed_from_outside_blames_nobody_for_good(own_cluster, tmp_path):
    cluster = own_cluster(2)
    path = tmp_path / "runs"
    name = str(path)

    def nap(x):
        import time

        with open(name, "a") as file:
            file.write(f"{x}\n")
        time.sleep(0.02)
        return x

    results = seppo.map_parallel(nap, range(200))
    found = [next(results)]
    for pid in cluster.pids():
        os.kill(pid, signal.SIGKILL)
    found += results
    assert found == list(range(200))
    runs = counted(path)
    assert all(1 <= runs[x] <= 3 for x in range(200))
    wait_until(lambda: len(cluster.pids()) == 2, "the successors")
    assert WorkerLost("a", "b").verdict is None  # the default: nobody can tell


def test_an_item_that_kills_its_parent_process_leaves_the_host_to_the_next_map(own_cluster):
    cluster = own_cluster(2)
    items = [deadly.item(x, GUILTY, "parent", "running") for x in range(N)]
    found = outcomes(seppo.map_parallel(deadly.visit, items), N)
    assert [x for x in range(N) if isinstance(found[x], seppo.WorkerLostError)] == [GUILTY]
    wait_until(lambda: len(cluster.pids()) == 2, "the successors")
    assert list(seppo.map_parallel(abs, range(-N, 0))) == list(range(N, 0, -1))


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_a_host_whose_helper_is_killed_goes_on_and_blames_nobody(own_cluster):
    cluster = own_cluster(2)

    def nap(x):
        import time

        time.sleep(0.02)
        return x

    results = seppo.map_parallel(nap, range(100), retries_on_loss=0)
    found = [next(results)]
    os.kill(parent_of(parent_of(cluster.pids()[0])), signal.SIGKILL)
    assert found + list(results) == list(range(100))
    assert list(seppo.map_parallel(abs, range(-N, 0))) == list(range(N, 0, -1))
