"""Workers that were started elsewhere and can import nothing of ours, and projects for them."""

import importlib
import sys
import textwrap

import pytest
from cluster import Cluster


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Two workers in an empty folder, with an empty PYTHONPATH."""
    with Cluster(2, cwd=tmp_path_factory.mktemp("elsewhere"), PYTHONPATH="") as cluster:
        yield cluster


class Project:
    """A folder of the caller's own modules, written on the spot."""

    def __init__(self, folder, cluster):
        self.folder = folder
        self.cluster = cluster

    def write(self, path, text):
        """Write a file, and return its path."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def script(self, text, *arguments, name="script.py", **keywords):
        """Run a script of this project as a client, and return what it prints."""
        script = self.write(name, text)
        return self.cluster.run(script, *arguments, cwd=self.folder, **keywords).stdout

    def load(self, name):
        """Import a module of this project into this process, anew."""
        for known in [m for m in sys.modules if m.partition(".")[0] == name.partition(".")[0]]:
            del sys.modules[known]
        importlib.invalidate_caches()
        return importlib.import_module(name)


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
