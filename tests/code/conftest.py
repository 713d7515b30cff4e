"""Workers that were started elsewhere and can import nothing of ours, and projects for them."""

import sys

import pytest
from cluster import Cluster
from projects import Project


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Two workers in an empty folder, with an empty PYTHONPATH."""
    with Cluster(2, cwd=tmp_path_factory.mktemp("elsewhere"), PYTHONPATH="") as cluster:
        yield cluster


@pytest.fixture
def project(tmp_path, elsewhere, monkeypatch):
    """A project whose scripts, and this process, find the workers elsewhere."""
    for name in ("PYRO_NS_HOST", "PYRO_NS_PORT"):
        monkeypatch.setenv(name, elsewhere.environ[name])
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Project(folder, elsewhere)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]
