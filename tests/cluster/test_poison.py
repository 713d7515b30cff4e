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


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize(
    ("way", "stage"),
    [("kill", stage) for stage in EXACT]
    + [(way, "running") for way in deadly.WAYS if way != "kill"],
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
        # Once in a chunk, where it may be one of several suspects, and three times exactly.
        assert 3 <= runs[GUILTY] <= 4
    # A neighbour runs again only when its result was lost with the worker.
    assert all(1 <= runs[x] <= 5 for x in range(N) if x != GUILTY)


def test_with_no_retries_a_guilty_item_never_runs_again(own_cluster, tmp_path):
    """Of what a burst held, nobody knows which one it was, unless each is marked alone."""
    own_cluster(1)
    path = tmp_path / "runs"
    items = [deadly.item(x, GUILTY, "kill", "running") for x in range(N)]
    results = seppo.map_parallel(visitor(path), items, chunksize=1)
    found = outcomes(results, N)
    assert isinstance(found[GUILTY], seppo.WorkerLostError)
    assert counted(path)[GUILTY] == found[GUILTY].tries


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
