"""Fixtures for tests on real processes."""

import os
import signal
import threading

import pytest
from cluster import Cluster

REAL = ("PYRO_NS_HOST", "PYRO_NS_PORT")


@pytest.fixture(scope="session", autouse=True)
def signals_as_usual():
    """In the background of a shell, or under nohup, all would be started with them ignored."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="session", autouse=True)
def no_cluster_from_outside(tmp_path_factory):
    """Tests must not find this machine's workers, nor use anybody's keys and files."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PYRO_", "SEPPO_")):
                patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYRO_NS_PORT", "1")  # nobody listens there
        yield


@pytest.fixture(scope="session")
def shared_cluster():
    """Two workers for all tests that leave them as they were."""
    with Cluster(2) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster, monkeypatch):
    """The shared cluster, found by this process too."""
    for name in REAL:
        monkeypatch.setenv(name, shared_cluster.environ[name])
    return shared_cluster


@pytest.fixture
def own_cluster(monkeypatch):
    """Make a cluster for one test, which may do to it what it likes."""
    made = []

    def make(n_workers=2, **keywords):
        cluster = Cluster(n_workers, **keywords)
        made.append(cluster)
        for name in REAL:
            monkeypatch.setenv(name, cluster.environ[name])
        return cluster

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture
def no_new_threads(monkeypatch):
    """No thread of ours starts any more, as when the main thread has ended (Python 3.12)."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("seppo-"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield patch
