"""What goes into a bundle, and looking at modules without waking them."""

import importlib
import sys

import pytest
from projects import Project

from seppo.shipping.bundle import bundle_for, grown
from seppo.values.function import pack_function


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Project(tmp_path, None)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_only_what_is_needed_goes_along(project):
    for name in ("needed_a", "needed_b", "other_c"):
        project.write(f"{name}.py", "")
    project.write("needed_a.py", "import needed_b, json, numpy\ndef f(x): return x\n")
    project.load("other_c")
    function = pack_function(project.load("needed_a").f)
    assert function.bundle.names() == {"needed_a", "needed_b"}
    environment = function.bundle.manifest.environment
    assert {"python", "platform", "cloudpickle", "numpy"} == set(environment)


def test_all_modules_of_a_package_whose_modules_are_listed_go_along(project):
    for name in ("__init__", "b", "deep/__init__", "deep/d"):
        project.write(f"listed_pkg/{name}.py", "raise RuntimeError\n" if name[-1] == "b" else "")
    project.write("listed_pkg/a.py", "import listed_helper\n")
    project.write("listed_helper.py", "")
    text = "import pkgutil, listed_pkg\ndef f(_): return {}\n"
    project.write("asks_for_all.py", text.format("pkgutil.iter_modules(listed_pkg.__path__)"))
    project.write("asks_for_one.py", text.format("listed_pkg.__name__"))
    lists, uses = project.load("asks_for_all").f, project.load("asks_for_one").f

    def names(func):
        found = pack_function(func).bundle.names()
        return {name for name in found if name.startswith("listed_")}

    whole = {"listed_pkg", "listed_helper"} | {
        f"listed_pkg.{name}" for name in ("a", "b", "deep", "deep.d")
    }
    assert names(lists) == whole
    assert names(uses) == {"listed_pkg"}
    assert "listed_pkg.b" not in sys.modules
    project.write("listed_pkg/deep/new.py", "")
    assert names(lists) == {*whole, "listed_pkg.deep.new"}
    (project.folder / "listed_pkg" / "b.py").unlink()
    assert "listed_pkg.b" not in names(lists)


def test_what_is_looked_for_is_not_imported(project):
    project.write("lazy_pkg/__init__.py", "")
    project.write("lazy_pkg/sub.py", "raise RuntimeError('imported')\n")
    project.write("asks.py", "def f(x):\n    from lazy_pkg import sub\n    import nobody_has_it\n")
    asks = project.load("asks")
    names = pack_function(asks.f).bundle.names()
    assert names == {"asks", "lazy_pkg", "lazy_pkg.sub"}
    assert "lazy_pkg" not in sys.modules


def test_a_lazily_imported_file_that_changes_before_it_is_loaded_is_taken_as_it_is(project):
    file = project.write("not_yet.py", "A = 1\n")
    project.write("uses_it.py", "def f(x):\n    import not_yet\n    return not_yet.A\n")
    module = project.load("uses_it")
    before = pack_function(module.f)
    file.write_text("A = 1000\n")
    assert before.digest != wait_for_another(module.f, before).digest


def wait_for_another(func, before):
    from cluster import wait_until

    return wait_until(lambda: (after := pack_function(func)).digest != before.digest and after)


def test_objects_that_do_something_when_they_are_looked_at(project, monkeypatch):
    """As six has them; the file is newer than this process, so its functions are compared."""
    project.write(
        "moves.py",
        """
        class Lazy:
            def __getattr__(self, name):
                raise ImportError(name)

        class Holder:
            lazy = Lazy()

        lazy = Lazy()
        def f(x): return x
        """,
    )
    moves = project.load("moves")
    assert pack_function(moves.f).bundle.names() == {"moves"}


def test_a_bundle_grows_by_what_is_new_and_keeps_what_it_has(project):
    file = project.write("first_one.py", "A = 1\n")
    project.write("second_one.py", "import first_one\n")
    first = project.load("first_one")
    before = bundle_for({"first_one"})
    assert grown(before, {"first_one", "json"}) is before
    file.write_text("A = 222\n")
    importlib.reload(first)
    project.load("second_one")
    after = grown(before, {"second_one"})
    entries = {entry.name: entry for entry in after.manifest.modules}
    assert set(entries) == {"first_one", "second_one"}
    assert entries["first_one"] == before.manifest.modules[0]


def test_nothing_needed_is_no_bundle():
    assert not bundle_for(()).manifest
    assert not bundle_for({"os", "json", "seppo.errors"}).manifest
