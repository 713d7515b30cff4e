"""A cluster to be attacked, apart from the one of the other tests."""

import threading

import pytest
from attack import Canary
from cluster import Cluster

REAL = ("PYRO_NS_HOST", "PYRO_NS_PORT")


@pytest.fixture(scope="session")
def attacked_cluster():
    with Cluster(2) as cluster:
        # Each refusal is logged: a full pipe would stop who writes there.
        for process in (cluster.workers, cluster.nameserver):
            threading.Thread(target=_drain, args=(process.stdout,)).start()
        yield cluster


def _drain(pipe):
    try:
        for _ in pipe:
            pass
    except ValueError:
        pass  # it was closed


@pytest.fixture
def target(attacked_cluster, monkeypatch):
    """The attacked cluster, found by this process too; it works before and afterwards."""
    for name in REAL:
        monkeypatch.setenv(name, attacked_cluster.environ[name])
    return attacked_cluster


@pytest.fixture
def canary(tmp_path):
    """It has to live."""
    canary = Canary(tmp_path)
    yield canary
    assert not canary.is_dead, "something of the attacker's was unpickled"
