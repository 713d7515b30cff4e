"""What one process has of its client, in a process of its own."""

import functools
import os
import shutil
import sys
from pathlib import Path

import hostile
import pytest
from projects import Project
from worlds import OtherWorld

from seppo.shipping.depends import Depends
from seppo.values.function import pack_function
from seppo.values.outcome import Failure
from seppo.values.setup import Setup
from seppo.worker.functions import Known
from seppo.worker.world import World


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Project(folder, None)
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture
def start(tmp_path, cache):
    """Start a process as a world, elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    started = []

    def start(**options):
        started.append(OtherWorld(cache, options.pop("cwd", tmp_path / "elsewhere"), **options))
        return started[-1]

    yield start
    for world in started:
        world.kill()


@pytest.fixture
def world(start):
    return start()


def bundles(cache):
    return sorted(cache.glob("seppo/*/bundles/*"))


# --- modules


def test_modules_are_files_that_can_be_listed(project, world):
    project.write("listed/__init__.py", "from . import one, two\n__version__ = '1'\n")
    project.write("listed/one.py", "")
    project.write("listed/two.py", "")
    project.write(
        "listed/work.py",
        """
        import glob, importlib.resources, inspect, os, pkgutil
        from pathlib import Path
        import listed

        def work(_):
            names = [found.name for found in pkgutil.iter_modules(listed.__path__)]
            globbed = sorted(map(os.path.basename, glob.glob(f"{os.path.dirname(__file__)}/*.py")))
            beside = Path(__file__).parent.joinpath("one.py").exists()
            resource = importlib.resources.files("listed").joinpath("two.py").is_file()
            return names, globbed, beside, resource, inspect.getsource(work).count("globbed")
        """,
    )
    work = project.load("listed.work").work
    here = work(None)
    assert here[0] == ["one", "two", "work"]
    assert world.call(work) == here


def test_the_folder_is_read_only(project, world):
    project.write("kept_clean/__init__.py", "")
    project.write(
        "kept_clean/work.py",
        """
        import os, stat
        def modes(_):
            found = os.path.dirname(__file__), __file__, os.path.dirname(os.path.dirname(__file__))
            return [stat.S_IMODE(os.stat(path).st_mode) for path in found]
        """,
    )
    assert world.call(project.load("kept_clean.work").modes) == [0o555, 0o444, 0o555]


def test_nothing_is_imported_before_it_is_needed_and_circles_as_at_the_caller(project, world):
    project.write("circle_a.py", "import circle_b\nX = 1\ndef get(_): return circle_b.total()\n")
    project.write("circle_b.py", "import circle_a\ndef total(): return circle_a.X\n")
    project.write("circle_late.py", "raise RuntimeError('nobody has asked for this')\n")
    project.write(
        "circle_user.py",
        """
        import sys
        def work(now):
            if now:
                import circle_late
            import circle_a
            return circle_a.get(0), sorted(name for name in sys.modules if "circle" in name)
        """,
    )
    work = project.load("circle_user").work
    assert world.call(work) == (1, ["circle_a", "circle_b", "circle_user"])
    # From b first, a would find itself half made.
    project.write("needs_a.py", "import order_a\ndef work(_): return order_a.Y\n")
    project.write("order_a.py", "X = 1\nimport order_b\nY = order_b.Z\n")
    project.write("order_b.py", "from order_a import X\nimport order_a\nZ = X + 1\n")
    assert world.call(project.load("needs_a").work) == 2


def test_tracebacks_show_source(project, world):
    file = project.write("raises.py", "def fail(x):\n    raise ValueError(x)  # the very line\n")
    make = "def make():\n    def inner(x):\n        return 1 / x  # by value\n    return inner\n"
    project.write("makes_functions.py", make)
    shown = "import traceback\ndef shown(f):\n    try: f(0)\n    except Exception:\n"
    project.write("shows.py", f"{shown}        return traceback.format_exc()\n")
    fail, shows = project.load("raises").fail, project.load("shows")
    text = world.call(lambda _: shows.shown(fail))
    assert "# the very line" in text
    failure = Failure("ValueError", "0", traceback=text)
    assert f'File "{file}", line 2' in str(failure.to_exception(0, "w").__cause__)
    inner = project.load("makes_functions").make()
    pack_function(inner)
    (project.folder / "makes_functions.py").unlink()  # it is not to be had there
    assert "# by value" in world.call(lambda _: shows.shown(inner))


def test_metadata_of_a_project_that_is_installed_in_place(project, world, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "in_place_project-3.1.dist-info"
    info.mkdir(parents=True)
    url = f'{{"url": "file://{project.folder}", "dir_info": {{"editable": true}}}}'
    (info / "direct_url.json").write_text(url)
    (info / "METADATA").write_text("Name: in-place-project\nVersion: 3.1\n")
    (info / "RECORD").write_text("in_place_project-3.1.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(site))
    project.write("in_place_project/__init__.py", "")
    project.write(
        "in_place_project/work.py",
        """
        import in_place_project
        from importlib.metadata import version
        def work(_):
            return version(in_place_project.__name__)
        """,
    )
    assert world.call(project.load("in_place_project.work").work) == "3.1"


def test_a_project_that_was_built_in_its_folder(project, world):
    project.write("built_here.egg-info/PKG-INFO", "Name: built-here\nVersion: 0.9\n")
    source = "from importlib.metadata import version\ndef work(_): return version(__name__)\n"
    project.write("built_here.py", source)
    assert world.call(project.load("built_here").work) == "0.9"


def test_a_package_without_a_file_and_one_with_a_file_further_back(project, start, tmp_path):
    site = tmp_path / "site"
    (site / "spaced").mkdir(parents=True)
    (site / "spaced" / "__init__.py").write_text("")
    (site / "shared").mkdir()
    (site / "shared" / "theirs.py").write_text("X = 'theirs'\n")
    project.write("spaced/deep/tool.py", "def work(x): return x, __name__\n")
    project.write("shared/ours.py", "")
    text = "def work(_):\n    import shared.ours, shared.theirs\n    return shared.theirs.X\n"
    project.write("uses_space.py", text)
    world = start(before=f"import sys; sys.path.insert(0, {str(site)!r}); import shared.theirs")
    assert world.call(project.load("spaced.deep.tool").work, 1) == (1, "spaced.deep.tool")
    assert world.call(project.load("uses_space").work) == "theirs"


def test_code_whose_source_is_lost_is_imported_from_bytecode(project, world, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = project.write("only_code.py", "def work(x): return 'loaded', x\n")
    work = project.load("only_code").work
    file.write_text("def work(x): return 'edited, and longer', x\n")
    with pytest.warns(RuntimeWarning, match="has changed"):
        assert world.call(work, 1) == ("loaded", 1)
    assert world.run("import sys; result = sys.modules['only_code'].__file__").endswith(".pyc")


def extension_file():
    found = sorted(Path(os.__file__).parent.glob("lib-dynload/_bisect*.so"))
    return found[0] if found else None


@pytest.mark.skipif(extension_file() is None, reason="this Python has no _bisect as a file")
def test_an_extension_module_of_an_own_package_is_that_of_the_machine(project, start, tmp_path):
    site = tmp_path / "site"
    for folder in (site, project.folder):
        (folder / "with_ext").mkdir(parents=True)
        shutil.copy(extension_file(), folder / "with_ext")
    (site / "with_ext" / "__init__.py").write_text("WHOSE = 'stale'\n")
    project.write("with_ext/__init__.py", "WHOSE = 'fresh'\n")
    text = "from . import WHOSE, _bisect\ndef work(_): return WHOSE, _bisect.__file__\n"
    project.write("with_ext/work.py", text)
    world = start(before=f"import sys; sys.path.insert(0, {str(site)!r})")
    whose, file = world.call(project.load("with_ext.work").work)
    assert whose == "fresh"
    assert file.startswith(str(site))


# --- what was loaded before


def preloaded(start, site, *names, change=""):
    """Start a process in which these modules were imported, from files long unchanged."""
    imports = "; ".join(f"import {name}" for name in names)
    long_ago = "from seppo.shipping import loaded; loaded.PROCESS_BEGAN = 1 << 63"
    return start(
        before=f"import sys; sys.path.insert(0, {str(site)!r}); {imports}{change}; {long_ago}"
    )


def test_what_the_start_script_has_loaded_is_kept_if_it_is_the_callers(project, start, tmp_path):
    site = tmp_path / "site"
    for folder in (project.folder, site):
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "__init__.py").write_text("from . import weights\n")
        (folder / "model" / "weights.py").write_text("LOADED = []\ndef use(_): return LOADED\n")
    world = preloaded(start, site, "model.weights", change="; model.weights.LOADED.append(7)")
    assert world.call(project.load("model.weights").use) == [7]
    # What comes later is the caller's, not what lies beside the module that was kept.
    (site / "model" / "late.py").write_text("def use(_): return 'stale'\n")
    project.write("model/late.py", "def use(_): return 'fresh'\n")
    assert world.call(project.load("model.late").use) == "fresh"
    assert world.call(sys.modules["model.weights"].use) == [7]


def test_what_differs_is_dropped_with_all_that_has_imported_it(project, start, tmp_path):
    site = tmp_path / "site"
    files = {
        "changed.py": "VERSION = {}\n",
        "imports_it.py": "from changed import VERSION\ndef use(_): return VERSION\n",
        "stale/__init__.py": "VERSION = {}\n",
        "stale/sub.py": "from . import VERSION\ndef use(_):\n    return VERSION\n",
        "apart.py": "STATE = []\ndef use(_): return STATE\n",
    }
    for folder, version in ((site, "'stale'"), (project.folder, "'fresh'")):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.format(version))
    (site / "stale" / "gone.py").write_text("")
    world = preloaded(
        start, site, "imports_it", "stale.sub", "stale.gone", "apart",
        change="; apart.STATE.append(1)",
    )  # fmt: skip
    modules = [project.load(name) for name in ("imports_it", "stale.sub", "apart")]

    def work(_):
        try:
            import stale.gone  # noqa: F401
        except ImportError:
            return [module.use(0) for module in modules]

    assert world.call(work) == ["fresh", "fresh", [1]]


def test_what_was_edited_after_it_was_loaded_is_not_kept(project, start, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "edited_there.py").write_text("def version(_): return 'old'\n")
    world = start(before=f"import sys; sys.path.insert(0, {str(site)!r}); import edited_there")
    for folder in (site, project.folder):
        (folder / "edited_there.py").write_text("def version(_): return 'new'\n")
    assert world.call(project.load("edited_there").version) == "new"


def test_an_own_module_that_is_named_like_one_of_pythons(project, start):
    project.write("sched.py", "def mine(x): return 'mine', x\n")
    project.write("uses_sched.py", "import sched\ndef run(x): return sched.mine(x)\n")
    world = start(before="import sched")
    before = sys.modules.pop("sched", None)
    try:
        assert world.call(project.load("uses_sched").run, 1) == ("mine", 1)
    finally:
        del sys.modules["sched"]
        if before is not None:
            sys.modules["sched"] = before


# --- globals that the caller has set


def test_globals_are_set_in_place_and_set_back(project, world):
    project.write("settings_a.py", "N = 1\nSEEN = []\n")
    project.write(
        "reads.py",
        "import settings_a\n"
        "def read(x):\n    settings_a.SEEN.append(x)\n"
        "    return settings_a.N, getattr(settings_a, 'extra', None), len(settings_a.SEEN)\n",
    )
    reads = project.load("reads")
    settings = sys.modules["settings_a"]
    assert world.call(reads.read) == (1, None, 1)
    for n in range(2, 5):
        settings.N = n
        assert world.call(reads.read) == (n, None, n)
        assert world.asked == []
    settings.extra = {"a": [1]}
    assert world.call(reads.read) == (4, {"a": [1]}, 5)
    del settings.extra
    settings.N = 1
    assert world.call(reads.read) == (1, None, 6)
    assert world.call(lambda _: reads.read(0)) == (1, None, 7)
    assert len(list(world.run("import sys; result = sys.path"))) == len(
        set(world.run("import sys; result = sys.path"))
    )


def test_globals_of_modules_that_are_imported_later_are_set_then(project, world):
    project.write("late_settings.py", "N = 1\n")
    project.write(
        "reads_late.py",
        "def read(_):\n    import late_settings\n    return late_settings.N\n"
        "def is_loaded(_):\n    import sys\n    return 'late_settings' in sys.modules\n",
    )
    reads, settings = project.load("reads_late"), project.load("late_settings")
    settings.N = 5
    assert world.call(reads.is_loaded) is False  # nothing eager
    assert world.call(reads.read) == 5
    settings.N = 1
    assert world.call(reads.read) == 1
    assert (
        world.run(
            "import sys; from seppo.worker.modules import _Values\n"
            "result = [f for f in sys.meta_path if isinstance(f, _Values)]"
        )
        == []
    )


def test_a_new_value_changes_no_file_and_makes_no_folder(project, world, cache):
    project.write("valued.py", "N = 0\ndef read(_): return N\n")
    valued = project.load("valued")
    world.call(valued.read)
    before = bundles(cache)
    for n in range(5):
        valued.N = n
        assert world.call(valued.read) == n
    assert bundles(cache) == before


# --- bundles that grow, and those that contradict


def test_a_bundle_that_grows_keeps_what_is_loaded(project, world):
    project.write("grows/__init__.py", "")
    project.write("grows/first.py", "N = []\ndef count(_):\n    N.append(1)\n    return len(N)\n")
    first = project.load("grows.first")
    assert world.call(first.count) == 1
    project.write("grows/second.py", "from .first import N\ndef seen(_): return len(N), __file__\n")
    import importlib

    importlib.invalidate_caches()
    second = importlib.import_module("grows.second")
    assert world.call(second.seen)[0] == 1
    assert len(world.asked) == 1  # what was there before is not sent again
    assert world.call(first.count) == 2
    listing = "result = [found.name for found in pkgutil.iter_modules(grows.__path__)]"
    assert world.run(f"import pkgutil, grows\n{listing}") == ["first", "second"]


def test_another_version_of_what_is_loaded_does_not_fit(project, world):
    file = project.write("contrary.py", "def version(_): return 1\n")
    old = project.load("contrary").version
    assert world.fits(old)
    assert world.call(old) == 1
    file.write_text("def version(_): return 222\n")
    assert not world.fits(project.load("contrary").version)
    assert world.fits(abs)


# --- data, and where functions work


def depending(*depends, **options):
    return Setup(Depends.of(depends), **options)


def read(name):
    import seppo

    return seppo.data_path(name).read_text()


def test_elsewhere_the_working_folder_is_the_processes_own(project, world, cache):
    file = project.write("data/table.txt", "1 2 3")

    def work(name):
        with open(name) as data, open("out.txt", "w") as out:
            out.write(data.read())
        with open(name, "a") as data:  # it is a copy of its own
            data.write(" 4")
        return os.getcwd()

    setup = depending(str(file))
    folder = world.call(work, "table.txt", setup)
    assert folder.startswith(str(cache))
    assert world.call(read, "table.txt", setup) == "1 2 3 4"
    assert file.read_text() == "1 2 3"
    assert world.left_behind() == ["out.txt", "table.txt"]
    world.close()
    assert not os.path.exists(folder)


def test_only_what_the_functions_own_map_has_named_is_found(project, world):
    one, two = project.write("data/one.txt", "1"), project.write("data/two.txt", "2")

    def names(_):
        import seppo

        found = []
        for name in ("one.txt", "two.txt"):
            try:
                found.append(seppo.data_path(name).read_text())
            except FileNotFoundError:
                pass
        return found

    assert world.call(names, None, depending(one)) == ["1"]
    one.write_text("changed")  # what is there of it is out of date
    assert world.call(names, None, depending(two)) == ["2"]
    assert world.call(names) == []
    assert world.call(names, None, depending(two)) == ["2"]


def test_on_the_callers_machine_it_is_the_callers(project, start, tmp_path):
    file = project.write("data/table.txt", "1 2 3")
    caller = {"domain": "this one", "cwd": str(tmp_path)}
    world = start(caller=caller, domain="this one")
    assert world.call(lambda _: os.getcwd()) == str(tmp_path)
    assert world.call(read, "table.txt", depending(str(file))) == "1 2 3"
    world.call(lambda _: open("made.txt", "w").close())
    assert (tmp_path / "made.txt").exists()
    assert world.left_behind() == []


@pytest.mark.parametrize(
    ("domain", "cwd"), [("another", "."), ("this one", "/no/such/folder"), (None, ".")]
)
def test_otherwise_it_is_not(start, tmp_path, cache, domain, cwd):
    caller = {"domain": domain, "cwd": str(tmp_path / cwd)}
    world = start(caller=caller, domain="this one" if domain else None)
    assert world.call(lambda _: os.getcwd()).startswith(str(cache))


def test_files_of_a_package_lie_beside_its_modules(project, world):
    project.write("withdata/__init__.py", "")
    project.write("withdata/tables/t.csv", "1,2,3\n")
    project.write(
        "withdata/reader.py",
        """
        import importlib.resources
        from pathlib import Path
        def read(_):
            found = importlib.resources.files("withdata").joinpath("tables/t.csv").read_text()
            return (Path(__file__).parent / "tables" / "t.csv").read_text(), found
        """,
    )
    reader = project.load("withdata.reader")
    setup = depending(sys.modules["withdata"])
    assert world.call(reader.read, None, setup) == ("1,2,3\n", "1,2,3\n")


def test_a_file_that_is_too_large_is_refused_every_time(project, start, tmp_path):
    file = tmp_path / "large.bin"
    file.write_bytes(bytes(2000))
    world = start(largest=1999)
    for _ in range(3):
        failure = world.call(read, "large.bin", depending(str(file)))
        assert isinstance(failure, Failure)
        assert "--max-file-size" in failure.text
        assert world.asked == []
    assert world.call(abs, -1) == 1


# --- one folder for a host, and what cleaners do


def test_what_one_process_has_others_of_the_host_need_not_ask_for(project, start, cache):
    project.write("asked_once.py", "def work(x): return x\n")
    work = project.load("asked_once").work
    first, second = start(), start()
    assert first.call(work, 1) == 1
    assert len(first.asked) == 1
    assert second.call(work, 2) == 2
    assert second.asked == []
    assert len(bundles(cache)) == 1


@pytest.mark.parametrize(
    "what", ["seppo/*/work/*", "seppo/*/work", "seppo", "seppo/*/work/*/t.txt"]
)
def test_a_cleaner_of_working_folders_costs_a_resend(project, world, cache, what):
    file = project.write("data/t.txt", "1 2 3")
    setup = depending(str(file))

    def read_both(name):
        import seppo

        with open(name) as data:
            return data.read(), seppo.data_path(name).read_text()

    assert world.call(read_both, "t.txt", setup) == ("1 2 3", "1 2 3")
    world.run("from seppo.worker import world as module; module.LOOK = 0.0")
    for _ in range(2):
        os.system(f"chmod -R u+w {cache} && rm -rf {cache}/{what}")
        assert world.call(read_both, "t.txt", setup) == ("1 2 3", "1 2 3")
        assert bool(world.asked) == (what == "seppo")
        assert os.path.isdir(world.call(lambda _: os.getcwd()))
    world.close()
    assert list(cache.glob("seppo/*/work/*")) == []


@pytest.mark.parametrize("what", ["one file", "the folder", "everything", "changed"])
def test_a_cleaner_costs_a_resend_also_while_a_process_uses_it(project, world, cache, what):
    project.write("cleaned/__init__.py", "N = []\n")
    project.write(
        "cleaned/late.py", "def work(x):\n    N.append(x)\n    return len(N)\nfrom . import N\n"
    )
    project.write(
        "cleaned/work.py",
        "from . import N\ndef first(x):\n    N.append(x)\n    return len(N)\n"
        "def second(x):\n    from .late import work\n    return work(x)\n",
    )
    work = project.load("cleaned.work")
    sys.modules["cleaned"].__dict__.pop("late", None)
    assert world.call(work.first) == 1
    assert len(world.asked) == 3
    (folder,) = bundles(cache)
    digest = folder.name
    world.run("from seppo.worker import world as module; module.LOOK = 0.0")
    late = folder / "code" / "cleaned" / "late.py"
    if what == "changed":
        late.chmod(0o600)
        late.write_text("broken")  # of all links to it
    else:
        gone = {"one file": late, "the folder": folder, "everything": cache}[what]
        os.system(f"chmod -R u+w {folder} && rm -rf {gone}")
    assert world.call(work.second) == 2
    # Contents lie apart from the folder: they are sent again only if they are gone, too.
    assert len(world.asked) == {"everything": 3, "changed": 1}.get(what, 0)
    assert [found.name for found in bundles(cache)] == [digest]
    assert world.call(work.second) == 3


# --- initializers and finalizers

MARKS = """
    import time
    STATE = []
    def begin(x): STATE.append(x)
    def end(): open(STATE[0], "w").write(str(STATE))
    def work(x): return list(STATE)
"""


def test_the_initializer_once_and_the_finalizer_at_the_end(project, world, tmp_path):
    project.write("marks.py", MARKS)
    marks, log = project.load("marks"), tmp_path / "log"
    setup = depending(initializer=marks.begin, initargs=(str(log),), finalizer=marks.end)
    for _ in range(3):
        assert world.call(marks.work, None, setup) == [str(log)]
    assert world.call(lambda x: marks.work(x), None, setup) == [str(log)]
    assert not log.exists()
    world.finish()
    assert log.read_text() == str([str(log)])
    log.unlink()
    world.finish()
    assert not log.exists()


def test_a_finalizer_that_fails_harms_nobody(project, world):
    project.write("bad_end.py", "def end(): raise SystemExit(3)\ndef work(x): return x\n")
    bad_end = project.load("bad_end")
    assert world.call(bad_end.work, 1, depending(finalizer=bad_end.end)) == 1
    world.finish()
    assert world.call(lambda x: x + 1, 1) == 2


def test_a_file_that_cannot_be_had_fails_the_function_once(world):
    told = world.run(
        "from seppo.values.serialize import dump\n"
        "function = Known(Function(bytes(32), dump(abs)))\n"
        "world.refuse(function, 'a file', 'the disk is full')\n"
        "missing = world.missing(function)\n"
        "world.enter(function)\n"
        "result = missing, world.load(function).text, world.load(function)(-1)"
    )
    assert told[0] == ()  # or it would be asked for again, and again
    assert "disk is full" in told[1]
    assert told[2] == 1


def test_a_bundle_whose_file_cannot_be_had_fails_with_that_reason(project, world):
    project.write("never_sent.py", "def work(x): return x\n")
    function = pack_function(project.load("never_sent").work)
    told = world.run(
        f"function = Known(Function({function.digest!r}, "
        f"Packed({function.packed.data!r}), {function.manifest!r}))\n"
        "asked = world.missing(function)\n"
        "world.refuse(function, 'a file', 'the caller cannot read it')\n"
        "again = world.missing(function)\n"
        "world.enter(function)\n"
        "result = len(asked), again, world.load(function).text\n"
    )
    assert told[:2] == (1, ())
    assert "cannot read it" in told[2]


def test_processes_that_an_item_starts_find_the_modules(project, world):
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
    assert world.call(project.load("starts_children").work, 1) == [3, 6]


# --- functions


def test_a_function_is_loaded_once():
    world, known = World(), Known(pack_function(functools.partial(pow, 2)))
    func = world.load(known)
    assert func(3) == 8
    assert world.load(known) is func


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit, ImportError])
def test_a_function_that_cannot_be_loaded_is_a_failure_and_tried_again_the_next_time(kind):
    known = Known(pack_function(functools.partial(pow, hostile.RaisesAtUnpickling(kind))))
    world = World()
    for _ in range(2):
        failure = world.load(known)
        assert type(failure) is Failure
        assert "at unpickling" in failure.text
        assert "seppo/worker" not in failure.traceback
