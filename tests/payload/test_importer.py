"""Sets of modules that take turns under the same names."""

import gc
import hashlib
import importlib
import os
import pickle
import sys
import traceback
import weakref

import pytest

from seppo.payload import importer
from seppo.payload.folder import Folder
from seppo.payload.importer import ModuleSet
from seppo.payload.manifest import DataEntry, Manifest, ModuleEntry


@pytest.fixture
def folder():
    folder = Folder("test")
    yield folder
    importer.enter(None)
    folder.remove()


@pytest.fixture
def make(folder):
    """Make a set of modules from their sources."""
    numbers = iter(range(100))

    def add(text):
        digest = hashlib.sha256(text.encode()).hexdigest()
        folder.add(digest, text.encode())
        return digest

    def entry(name, text):
        if text is None:
            return ModuleEntry(name, "namespace", True)
        is_package = name.startswith("*")
        return ModuleEntry(
            name.lstrip("*"), is_package=is_package, digest=add(text), size=len(text),
            origin=f"/caller/{name}.py",
        )  # fmt: skip

    def make(modules, data=()):
        manifest = Manifest(
            tuple(entry(name, text) for name, text in modules.items()),
            tuple(DataEntry(name, add(text), len(text)) for name, text in dict(data).items()),
        )
        return ModuleSet(manifest, folder.bundle(manifest, str(next(numbers))))

    return make


def load(name):
    return importlib.import_module(name)


def test_each_set_has_its_own_modules_and_keeps_their_state(make):
    one = make({"*taking_turns": "N = []\nVERSION = 1\n", "taking_turns.sub": "from . import N\n"})
    two = make({"*taking_turns": "N = []\nVERSION = 2\n"})
    importer.enter(one)
    first = load("taking_turns.sub")
    first.N.append("state")
    importer.enter(two)
    assert load("taking_turns").VERSION == 2
    assert load("taking_turns").N == []
    with pytest.raises(ModuleNotFoundError):
        load("taking_turns.sub")
    importer.enter(one)
    assert load("taking_turns.sub") is first
    assert sys.modules["taking_turns"].N == ["state"]
    importer.enter(None)
    with pytest.raises(ModuleNotFoundError):
        load("taking_turns")


def test_modules_of_this_process_are_put_aside_meanwhile(make, tmp_path, monkeypatch):
    (tmp_path / "put_aside").mkdir()
    (tmp_path / "put_aside" / "__init__.py").write_text("WHOSE = 'process'\n")
    (tmp_path / "put_aside" / "old.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours, old = load("put_aside"), load("put_aside.old")
    importer.enter(make({"*put_aside": "WHOSE = 'bundle'\n"}))
    assert load("put_aside").WHOSE == "bundle"
    with pytest.raises(ModuleNotFoundError):
        load("put_aside.old")
    importer.enter(None)
    assert load("put_aside") is ours
    assert load("put_aside.old") is old
    del sys.modules["put_aside"], sys.modules["put_aside.old"]


def test_a_namespace_is_shared_with_what_is_installed_here(make, tmp_path, monkeypatch):
    (tmp_path / "shared_space").mkdir()
    (tmp_path / "shared_space" / "installed.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = load("shared_space.installed")
    importer.enter(make({"shared_space": None, "shared_space.mine": "X = 1\n"}))
    assert load("shared_space.mine").X == 1
    assert load("shared_space.installed") is installed
    assert load("shared_space").installed is installed
    importer.enter(None)
    with pytest.raises(ModuleNotFoundError):
        load("shared_space.mine")
    assert load("shared_space.installed") is installed


def test_pickles_by_reference_mean_the_set_that_is_entered(make):
    sets = [make({"by_name": f"class C: version = {n}\n"}) for n in range(2)]
    data = []
    for one in sets:
        importer.enter(one)
        data.append(pickle.dumps(load("by_name").C()))
    assert data[0] == data[1]
    for n, one in enumerate(sets):
        importer.enter(one)
        assert pickle.loads(data[0]).version == n


def test_a_set_that_is_forgotten_leaves_nothing(make):
    before = len(sys.modules), len(sys.meta_path), len(sys.path_importer_cache), list(sys.path)
    one = make({"*short_lived": "class C: pass\n", "short_lived.sub": "from . import C\n"})
    importer.enter(one)
    seen = weakref.ref(load("short_lived.sub").C)
    importer.enter(None)
    one.forget()
    del one
    gc.collect()
    assert seen() is None
    after = len(sys.modules), len(sys.meta_path), len(sys.path_importer_cache), list(sys.path)
    assert after == before


def test_tracebacks_show_the_source_that_runs(make):
    for text in ("def f():\n    1 / 0  # first\n", "def f():\n    1 / 0  # second\n"):
        importer.enter(make({"shows_lines": text}))
        with pytest.raises(ZeroDivisionError) as caught:
            load("shows_lines").f()
        told = "".join(traceback.format_exception(caught.value))
        assert "/caller/shows_lines.py" in told
        assert text.splitlines()[1].strip() in told


def test_the_working_directory_is_the_bundles_while_it_has_data(make):
    before = os.getcwd()
    importer.enter(make({}, {"a/b.txt": "content"}))
    with open("a/b.txt") as file:
        assert file.read() == "content"
    importer.enter(make({"without_data": ""}))
    assert os.getcwd() == before


def test_a_set_grows(make, folder):
    one, more = make({"grows_a": "N = 1\n"}), make({"grows_b": "N = 2\n"})
    importer.enter(one)
    a = load("grows_a")
    grown = Manifest(one.manifest.modules + more.manifest.modules)
    folder.bundle(grown, one.folder.name)
    one.extend(grown)
    assert load("grows_b").N == 2
    assert load("grows_a") is a


def test_a_module_that_fails_to_load_is_tried_again(make):
    importer.enter(make({"fails_first": "import sys\nsys.fails_first_tries.append(1)\n1 / 0\n"}))
    sys.fails_first_tries = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load("fails_first")
    assert len(sys.fails_first_tries) == 2
    del sys.fails_first_tries
