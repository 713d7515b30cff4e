"""What the caller has loaded is what runs: no more, no less, and never a mixture."""

import importlib
import os
import sys
import threading
import warnings

import pytest

import seppo
from seppo.shipping import capture
from seppo.values.function import pack_function


def edit(file, text):
    """Change a file so that its time shows it, as an editor does some seconds later."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 2_000_000_000, before + 2_000_000_000))


def results_of(func, n=4):
    return set(seppo.map_parallel(func, range(n), fallback="error"))


def test_an_edit_and_a_reload_run_the_new_code(project):
    file = project.write("edited.py", "def version(x): return 1\n")
    module = project.load("edited")
    assert results_of(module.version) == {1}
    edit(file, "def version(x): return 2\n")
    importlib.reload(module)
    assert results_of(module.version) == {2}
    edit(file, "def version(x): return 3\n")
    module = project.load("edited")
    assert results_of(module.version) == {3}
    edit(file, "def version(x): return 1\n")
    assert results_of(project.load("edited").version) == {1}


def test_items_of_a_module_that_is_edited_and_reloaded(project):
    """Whose versions are known only once the items are packed."""
    text = "class C:\n    def version(self): return {}\n"
    file = project.write("of_items.py", text.format(1))

    def version(item):
        return item.version()

    for number in range(1, 4):
        edit(file, text.format(number))
        kind = project.load("of_items").C
        for items in ([kind()] * 4, iter([kind()] * 4)):
            assert set(seppo.map_parallel(version, items, fallback="error")) == {number}


def test_a_helper_that_is_edited_and_reloaded_counts_too(project):
    helper = project.write("helper_a.py", "LEVEL = 1\n")
    project.write(
        "user_a.py", "import helper_a\ndef level(x):\n    return helper_a.LEVEL\n"
    )  # fmt: skip
    user = project.load("user_a")
    assert results_of(user.level) == {1}
    edit(helper, "LEVEL = 2\n")
    importlib.reload(sys.modules["helper_a"])
    assert results_of(user.level) == {2}


def test_an_edit_without_a_reload_changes_nothing_and_is_told_once(project):
    file = project.write("half_done.py", "def version(x): return 'loaded'\n")
    module = project.load("half_done")
    assert results_of(module.version) == {"loaded"}
    edit(file, "def version(x: return 'half saved'\n")
    with pytest.warns(RuntimeWarning, match="half_done.py has changed") as told:
        assert results_of(module.version) == {"loaded"}
    assert told[0].filename == __file__
    assert results_of(module.version) == {"loaded"}  # and is not told again
    file.touch()
    assert results_of(module.version) == {"loaded"}


@pytest.mark.parametrize("change", ["def version(x): return 'new'\n", "LEVEL = 'new'\n"])
def test_an_edit_before_the_first_map_changes_nothing(project, change, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    text = "LEVEL = 'old'\ndef version(x): return LEVEL\n"
    file = project.write("edited_early.py", text)
    module = project.load("edited_early")
    edit(file, text.replace("LEVEL = 'old'\n", change) if "LEVEL" in change else change)
    with pytest.warns(RuntimeWarning, match="edited_early.py has changed"):
        assert results_of(module.version) == {"old"}
    assert results_of(module.version) == {"old"}
    importlib.reload(module)
    assert results_of(module.version) == {"new"}


def test_code_that_is_lost_is_told(project, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = project.write("lost_code.py", "def version(x): return 'old'\n")
    module = project.load("lost_code")
    edit(file, "\n\ndef version(x): return 'new'\n")
    with pytest.warns(RuntimeWarning, match="what was loaded is lost: the workers run the file"):
        assert results_of(module.version) == {"new"}


def test_a_touched_file_is_no_change(project):
    file = project.write("touched.py", "def version(x): return 1\n")
    module = project.load("touched")
    before = pack_function(module.version)
    edit(file, "def version(x): return 1\n")
    assert pack_function(module.version) is before


def test_an_unchanged_bundle_is_not_read_again(project, monkeypatch):
    project.write("steady/__init__.py", "from . import a, b\n")
    project.write("steady/a.py", "def work(x): return x\n")
    project.write("steady/b.py", "")
    steady = project.load("steady")
    before = pack_function(steady.a.work)
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(capture, "read_loaded", None)
    assert pack_function(steady.a.work) is before


def test_globals_that_the_caller_has_set_travel(project):
    project.write(
        "configured.py",
        """
        DEBUG = False
        LIMIT = 10
        CALLS = 0

        def state(x):
            return DEBUG, LIMIT

        def count(x):
            global CALLS
            CALLS += 1
            return CALLS
        """,
    )
    module = project.load("configured")
    assert results_of(module.state) == {(False, 10)}
    module.DEBUG, module.LIMIT = True, None
    assert results_of(module.state) == {(True, None)}
    before = pack_function(module.count)
    module.count(0)  # state of the module, which nobody has set from outside
    assert pack_function(module.count) == before


def test_what_the_caller_has_put_into_a_module_travels(project):
    project.write(
        "options.py",
        """
        SEEN = []

        def read(x):
            SEEN.append(x)
            return args.level, paths["data"].name, state()

        def state():
            global ready
            ready = True
            return len(SEEN) > 0
        """,
    )
    import argparse
    import pathlib

    module = project.load("options")
    module.args = argparse.Namespace(level=3)
    module.paths = {"data": pathlib.Path("/somewhere/table.csv")}
    assert results_of(module.read) == {(3, "table.csv", True)}
    before = pack_function(module.read)
    assert module.read(0)
    assert module.ready  # its own doing
    assert pack_function(module.read) == before
    module.args.level = 4
    assert results_of(module.read) == {(4, "table.csv", True)}


def test_state_and_caches_survive_between_maps_of_the_same_code(project):
    project.write(
        "stateful.py",
        """
        import functools, os
        COMPUTED = []

        @functools.lru_cache
        def model(n):
            COMPUTED.append(n)
            return n

        def use(x):
            return os.getpid(), model(1), len(COMPUTED)

        def other(x):
            return os.getpid(), len(COMPUTED)
        """,
    )
    stateful = project.load("stateful")
    for _ in range(5):
        assert {(one, n) for _, one, n in seppo.map_parallel(stateful.use, range(20))} == {(1, 1)}
    pids = {pid for pid, _, _ in seppo.map_parallel(stateful.use, range(20))}
    counts = dict(seppo.map_parallel(stateful.other, range(20)))  # another function, same code
    assert {counts[pid] for pid in pids & set(counts)} == {1}


def test_a_script_that_is_edited_and_run_again(project):
    script = "import seppo, mod\nprint(set(seppo.map_parallel(mod.version, range(5))))\n"
    for version in range(3):
        project.write("mod.py", f"def version(x): return {version}\n")
        assert project.script(script) == f"{{{version}}}\n"
        project.write("script_of_its_own.py", "")
        own = f"import seppo\ndef v(x): return {version}\nprint(set(seppo.map_parallel(v, [1])))\n"
        assert project.script(own) == f"{{{version}}}\n"


def test_two_clients_with_two_versions_at_the_same_time(project, tmp_path):
    """Each sees its own code and its own state only, in every item."""
    text = """
        import time
        VERSION = {version}
        from versioned import helper
        SEEN = set()
        def work(x):
            import versioned.late
            SEEN.add(VERSION)
            time.sleep(0.002)
            return VERSION, helper.VERSION, versioned.late.VERSION, len(SEEN)
    """
    script = """
        import seppo
        from versioned import main
        found = set()
        for _ in range(20):
            found |= set(seppo.map_parallel(main.work, range(30), chunksize=1, fallback="error"))
        print(found)
    """
    outputs = {}

    def run(version):
        folder = tmp_path / f"client_{version}"
        client = type(project)(folder, project.cluster)
        client.write("versioned/__init__.py", "")
        client.write("versioned/main.py", text.format(version=version))
        for name in ("helper", "late"):
            client.write(f"versioned/{name}.py", f"VERSION = {version}\n")
        outputs[version] = client.script(script)

    threads = [threading.Thread(target=run, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outputs == {1: "{(1, 1, 1, 1)}\n", 2: "{(2, 2, 2, 1)}\n"}


def test_warnings_as_errors_leave_the_map_usable(project):
    file = project.write("strict.py", "def version(x): return 1\n")
    module = project.load("strict")
    assert results_of(module.version) == {1}
    edit(file, "def version(x): return 2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            results_of(module.version)
        assert results_of(module.version) == {1}
