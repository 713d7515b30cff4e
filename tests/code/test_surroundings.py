"""Workers whose surroundings are not the caller's, and what happens when they die."""

import importlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from cluster import Cluster, wait_until
from projects import Project

import seppo
from seppo.shipping import depends


@pytest.fixture
def other_site(tmp_path, monkeypatch):
    """A worker that has packages of its own; returns their folder, the project and the cluster."""
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "cwd").mkdir()
    with Cluster(1, cwd=tmp_path / "cwd", PYTHONPATH=str(site)) as cluster:
        for name in ("PYRO_NS_HOST", "PYRO_NS_PORT"):
            monkeypatch.setenv(name, cluster.environ[name])
        folder = tmp_path / "project"
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        before = set(sys.modules)
        yield site, Project(folder, cluster), cluster
        for name in set(sys.modules) - before:
            if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


def install(site, name, version, text):
    (site / f"{name}.py").write_text(text)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}.py,,\n")


def test_another_version_of_a_distribution_is_told_once_with_a_table(other_site):
    site, project, _ = other_site
    install(site, "foreign_one", "2.0", "def where(x): return 'there'\n")
    install(project.folder, "foreign_one", "1.0", "def where(x): return 'here'\n")
    install(site, "foreign_two", "3.0", "")
    install(project.folder, "foreign_two", "3.0", "")
    project.write(
        "uses_both.py",
        "import foreign_one, foreign_two\ndef work(x): return foreign_one.where(x)\n",
    )
    module = project.load("uses_both")
    with pytest.warns(RuntimeWarning, match="not the same") as told:
        assert list(seppo.map_parallel(module.work, [1, 2])) == ["there", "there"]
    text = str(told[0].message)
    (row,) = [line.split() for line in text.splitlines() if "foreign" in line]
    assert row[:3] == ["foreign_one", "1.0", "2.0"]
    assert row[3].startswith("seppo.")
    assert len(told) == 1
    assert list(seppo.map_parallel(module.work, [1])) == ["there"]  # no second warning


def test_a_stale_copy_on_the_worker_is_not_used(other_site):
    site, project, _ = other_site
    (site / "stale").mkdir()
    (site / "stale" / "__init__.py").write_text("VERSION = 'stale'\n")
    (site / "stale" / "work.py").write_text("def work(x): return 'stale'\n")
    (site / "stale" / "gone.py").write_text("")
    project.write("stale/__init__.py", "VERSION = 'fresh'\n")
    project.write(
        "stale/work.py",
        """
        from . import VERSION
        def work(x):
            try:
                import stale.gone
            except ImportError:
                return VERSION
        """,
    )
    # The worker has imported its own before.
    assert list(seppo.map_parallel(importlib.import_module, ["stale.work"], [None]))
    work = project.load("stale.work").work
    assert list(seppo.map_parallel(work, [1, 2])) == ["fresh", "fresh"]


def extension_file():
    """Return an extension module of Python's own that is a file."""
    found = sorted(Path(os.__file__).parent.glob("lib-dynload/_bisect*.so"))
    return found[0] if found else None


@pytest.mark.skipif(extension_file() is None, reason="this Python has no _bisect as a file")
def test_an_extension_module_of_an_own_package_is_the_workers(other_site):
    site, project, _ = other_site
    for folder in (site, project.folder):
        (folder / "with_ext").mkdir()
        shutil.copy(extension_file(), folder / "with_ext")
    (site / "with_ext" / "__init__.py").write_text("WHOSE = 'stale'\n")
    project.write("with_ext/__init__.py", "WHOSE = 'fresh'\n")
    project.write(
        "with_ext/work.py",
        """
        from . import WHOSE, _bisect
        def work(x):
            return WHOSE, _bisect.bisect_right([1, 2, 3], x), _bisect.__file__
        """,
    )
    work = project.load("with_ext.work").work
    ((whose, place, file),) = seppo.map_parallel(work, [2])
    assert (whose, place) == ("fresh", 2)
    assert file.startswith(str(site))


def test_a_worker_that_was_killed_leaves_no_folder_and_the_next_gets_the_code(other_site):
    _, project, cluster = other_site
    file = project.write("data.txt", "data")  # for which it has a folder of its own
    project.write("survives.py", "import os\ndef work(x): return os.getpid(), os.getcwd()\n")
    work = project.load("survives").work
    ((pid, folder),) = set(seppo.map_parallel(work, range(3), depends=[file]))
    assert folder != os.getcwd()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(folder))
    wait_until(lambda: cluster.pids() not in ([], [pid]))
    ((again, other),) = set(seppo.map_parallel(work, range(3), depends=[file]))
    assert again != pid
    assert other != folder


CLEANS = """
    import os
    import time
    from pathlib import Path

    def clean(x):
        if x == 0:
            host = Path(__file__).parents[4]
            os.system(f"chmod -R u+w {host} && rm -rf {host}")

    def then_late(x):
        clean(x)
        if x == 0:
            time.sleep(0.01)  # the burst ends with this item
            return 0
        from . import late
        return late.X

    def from_at_once(x):
        clean(x)
        from . import later
        return later.X

    def late_at_once(x):
        clean(x)
        import cleans.last
        return cleans.last.X
"""


def test_what_is_removed_while_a_chunk_runs_is_sent_again(other_site):
    _, project, _ = other_site
    project.write("cleans/__init__.py", "")
    for name in ("late", "later", "last"):
        project.write(f"cleans/{name}.py", "X = 5")
    project.write("cleans/work.py", CLEANS)
    work = project.load("cleans.work")
    options = {"chunksize": 5, "task_timeout": 60, "fallback": "error"}
    assert list(seppo.map_parallel(work.then_late, range(5), **options)) == [0, 5, 5, 5, 5]
    for func, name in ((work.from_at_once, "later"), (work.late_at_once, "last")):
        with pytest.raises(
            ImportError, match=f"'cleans.{name}' was removed from the worker's cache"
        ):
            list(seppo.map_parallel(func, [0], **options))
        assert list(seppo.map_parallel(func, [1, 2], **options)) == [5, 5]


def test_a_worker_that_dies_in_the_middle_costs_nothing(other_site, tmp_path):
    _, project, _ = other_site
    project.write(
        "dies_once.py",
        """
        import os, signal
        def work(x, flag):
            if x == 5 and not os.path.exists(flag):
                open(flag, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return x
        """,
    )
    work = project.load("dies_once").work
    flags = [str(tmp_path / "flag")] * 10
    assert list(seppo.map_parallel(work, range(10), flags, chunksize=1)) == list(range(10))


def test_an_executor_runs_what_is_loaded_when_a_call_is_submitted(other_site):
    _, project, _ = other_site
    project.write("called.py", "class C:\n    VERSION = 1\ndef work(x): return C.VERSION, x\n")
    with seppo.Executor() as executor:
        module = project.load("called")
        assert executor.submit(module.work, 0).result() == (1, 0)
        project.write("called.py", "class C:\n    VERSION = 22\ndef work(x): return C.VERSION, x\n")
        importlib.reload(module)
        assert executor.submit(module.work, 0).result() == (22, 0)
        (version, item) = executor.submit(module.work, module.C()).result()
        assert (version, type(item)) == (22, module.C)


def test_a_map_inside_an_item_sends_the_code_on(other_site):
    _, project, cluster = other_site
    cluster.start_workers(1, "inner")
    project.write("nested_helper.py", "class R:\n    def __init__(self, x): self.x = x\n")
    project.write(
        "nested.py",
        """
        import seppo
        from nested_helper import R

        def inner(x):
            return R(10 * x)

        def outer(x):
            found = list(seppo.map_parallel(inner, range(x), group="inner", fallback="error"))
            assert all(type(r) is R for r in found)
            return found
        """,
    )
    nested = project.load("nested")
    found = list(seppo.map_parallel(nested.outer, [1, 3]))
    assert [[r.x for r in part] for part in found] == [[0], [0, 10, 20]]
    assert type(found[1][2]) is nested.R


def test_the_main_module_of_a_spawned_process(other_site):
    _, project, _ = other_site
    script = """
        import multiprocessing
        import seppo

        class C:
            def __init__(self, x): self.x = x

        def work(x):
            return C(x + 1)

        def child(queue):
            found = list(seppo.map_parallel(work, [1, 2], fallback="error"))
            queue.put([(c.x, type(c) is C) for c in found])

        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            queue = context.SimpleQueue()
            process = context.Process(target=child, args=(queue,))
            process.start()
            print(queue.get())
            process.join()
    """
    assert project.script(script) == "[(2, True), (3, True)]\n"


def test_a_file_that_cannot_be_read_any_more_is_told(other_site, monkeypatch):
    _, project, _ = other_site
    big = project.folder / "big.bin"
    big.write_bytes(bytes(depends.SMALL + 1))
    monkeypatch.setattr(depends, "_read", lambda *_: os.stat("/no/such/file"))
    with pytest.raises(seppo.SetupError, match="cannot read it"):
        list(seppo.map_parallel(abs, [1], depends=[big]))
    monkeypatch.undo()


def test_a_module_that_fails_to_import_fails_its_items_with_its_own_error(other_site):
    _, project, _ = other_site
    project.write(
        "fails_there.py",
        """
        import os
        if "SEPPO_INSIDE_WORKER" in os.environ:
            raise KeyError("only there")
        def work(x): return x
        """,
    )
    work = project.load("fails_there").work
    for _ in range(2):
        with pytest.raises(KeyError, match="only there"):
            list(seppo.map_parallel(work, [1]))


def test_processes_that_an_item_starts_find_the_modules(other_site):
    _, project, _ = other_site
    project.write("used_by_children.py", "def triple(x): return 3 * x\n")
    project.write(
        "starts_children.py",
        """
        import multiprocessing
        import used_by_children

        def work(x):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.map(used_by_children.triple, [x, x + 1])
        """,
    )
    work = project.load("starts_children").work
    assert list(seppo.map_parallel(work, [1])) == [[3, 6]]
