"""Each client has processes of its own, and each changed version of its code fresh ones."""

import importlib
import os
import threading

from cluster import wait_until

import seppo

WORKERS = {"fallback": "error", "chunksize": 1}


def results_of(func, items, **options):
    return list(seppo.map_parallel(func, items, **WORKERS, **options))


# --- what one client leaves in its processes

SPOILS = """
    import decimal, io, logging, numpy, os, signal, sys

    def look(_):
        umask = os.umask(0)
        os.umask(umask)
        return (
            os.environ.get("SPOILT"), umask, "/spoilt" in sys.path, sys.getrecursionlimit(),
            decimal.getcontext().prec, logging.root.manager.disable, type(sys.stdout).__name__,
            signal.getitimer(signal.ITIMER_REAL)[0] > 0, str(signal.getsignal(signal.SIGALRM)),
            numpy.geterr()["divide"],
        )

    def spoil(x):
        os.chdir("/")
        os.environ["SPOILT"] = "yes"
        os.umask(0o77)
        sys.path.insert(0, "/spoilt")
        sys.setrecursionlimit(sys.getrecursionlimit() + 1000)
        decimal.getcontext().prec = 5
        logging.disable(logging.CRITICAL)
        numpy.seterr(divide="raise")
        sys.stdout = io.StringIO()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 3600)
        return look(x)
"""


def test_settings_of_one_client_are_not_anothers(project):
    project.write("spoils.py", SPOILS)
    spoils = project.load("spoils")
    (before, *_) = set(results_of(spoils.look, range(4)))
    spoilt = results_of(spoils.spoil, range(4))
    assert all(
        was != is_now for result in spoilt[:1] for was, is_now in zip(before, result, strict=True)
    )
    script = """
        import os, seppo, spoils
        options = {"fallback": "error", "chunksize": 1}
        print(*set(seppo.map_parallel(spoils.look, range(8), **options)))
        print(*set(seppo.map_parallel(lambda _: os.getcwd(), range(8), **options)))
    """
    assert project.script(script) == f"{before}\n{project.folder}\n"


def test_what_a_script_leaves_in_modules_is_not_there_in_its_next_run(project):
    project.write("counted.py", "SEEN = []\n")
    script = """
        import seppo, counted
        SEEN = []

        def work(x):
            SEEN.append(x)
            counted.SEEN.append(x)
            return len(SEEN), len(counted.SEEN)

        print(next(seppo.map_parallel(work, [1], fallback="error")))
    """
    for _ in range(3):
        assert project.script(script) == "(1, 1)\n"


def test_a_long_item_of_one_client_holds_no_other_up(project, tmp_path):
    project.write(
        "lasts.py",
        """
        import os, time

        def last(folder):
            open(os.path.join(folder, str(os.getpid())), "w").close()
            while not os.path.exists(os.path.join(folder, "go")):
                time.sleep(0.01)
        """,
    )
    lasts = project.load("lasts")
    folder = tmp_path / "marks"
    folder.mkdir()
    with seppo.map_parallel(lasts.last, [str(folder)] * 2, duplicate=False, **WORKERS) as results:
        wait_until(lambda: len(os.listdir(folder)) == 2, what="both places are taken")
        script = "import seppo\nprint(*seppo.map_parallel(abs, [-1, -2], fallback='error'))\n"
        assert project.script(script) == "1 2\n"
        (folder / "go").touch()
        assert list(results) == [None, None]


# --- what one map leaves for the next

RATES = """
    RATE = None

    def begin(rate):
        global RATE
        RATE = rate

    def work(x):
        return RATE
"""


def test_maps_with_other_arguments_of_the_initializer(project):
    project.write("rates.py", RATES)
    rates = project.load("rates")

    def rates_of(rate, n=20):
        return results_of(rates.work, range(n), initializer=rates.begin, initargs=(rate,))

    assert [rates_of(rate) for rate in range(3)] == [[rate] * 20 for rate in range(3)]
    endless = iter(int, 1)
    options = {"initializer": rates.begin, "initargs": ("first",), **WORKERS}
    with seppo.map_parallel(rates.work, endless, **options) as first:
        assert next(first) == "first"
        assert rates_of("second") == ["second"] * 20
        assert {next(first) for _ in range(20)} == {"first"}


def test_clients_with_other_arguments_of_the_initializer(project):
    project.write("rates.py", RATES)
    script = """
        import sys, seppo, rates
        rate = sys.argv[1]
        print(*{
            result
            for _ in range(5)
            for result in seppo.map_parallel(rates.work, range(20), chunksize=1,
                fallback="error", initializer=rates.begin, initargs=(rate,))
        })
    """
    printed = {}

    def run(rate):
        printed[rate] = project.script(script, rate, name=f"script_{rate}.py")

    threads = [threading.Thread(target=run, args=(rate,)) for rate in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert printed == {"one": "one\n", "two": "two\n"}


def test_what_an_interrupted_item_leaves_half_done_is_gone(project, tmp_path):
    project.write(
        "half.py",
        """
        import time
        CACHE = {}

        def fill(mark):
            CACHE["half"] = True
            open(mark, "w").close()
            time.sleep(600)

        def read(_):
            return dict(CACHE)
        """,
    )
    half = project.load("half")
    marks = [tmp_path / "0", tmp_path / "1"]
    with seppo.map_parallel(half.fill, map(str, marks), duplicate=False, **WORKERS):
        wait_until(lambda: all(mark.exists() for mark in marks), what="half filled caches")
    assert results_of(half.read, range(20)) == [{}] * 20


def test_what_a_copy_that_lost_the_race_leaves_half_done_is_gone(project, tmp_path):
    project.write(
        "races.py",
        """
        import os, time
        CACHE = {}

        def fill(x, mark):
            if x < 20:
                time.sleep(0.05)  # so that it is known what is usual
                return CACHE.get("half")
            CACHE["half"] = True
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:  # the copy, which wins
                CACHE.clear()
                return "copy"
            time.sleep(600)

        def read(_):
            time.sleep(0.01)
            return dict(CACHE)
        """,
    )
    races = project.load("races")
    marks = [str(tmp_path / "mark")] * 21
    results = list(seppo.map_parallel(races.fill, range(21), marks, fallback="error"))
    assert results == [None] * 20 + ["copy"]
    assert results_of(races.read, range(40)) == [{}] * 40


def test_code_that_registers_itself_works_after_an_edit(project):
    text = """
        import logging, multiprocessing
        multiprocessing.set_start_method("spawn")  # which can be done once in a process
        logging.getLogger("registered").addHandler(logging.NullHandler())

        def work(x):
            return {version}, len(logging.getLogger("registered").handlers)
    """
    script = """
        import seppo, registers
        print(set(seppo.map_parallel(registers.work, range(8), chunksize=1, fallback="error")))
    """
    for version in range(3):
        project.write("registers.py", text.format(version=version))
        assert project.script(script) == f"{{({version}, 1)}}\n"


def test_code_that_registers_itself_works_after_an_edit_of_a_loaded_helper(project):
    """In one client: the module is loaded anew here, and on workers in fresh processes."""
    file = project.write("registry.py", "NAMES = []\nVERSION = 0\n")
    project.write(
        "registered.py",
        """
        import registry
        assert "mine" not in registry.NAMES, "registered twice"
        registry.NAMES.append("mine")

        def work(x):
            return registry.VERSION, list(registry.NAMES)
        """,
    )
    for version in range(3):
        file.write_text(f"NAMES = []\nVERSION = {version}\n{'#' * version}")
        project.load("registry")
        registered = project.load("registered")
        assert results_of(registered.work, range(8)) == [(version, ["mine"])] * 8


def test_bundles_that_grow_in_two_directions_have_no_old_file(project):
    project.write("grown/__init__.py", "")
    one = project.write("grown/one.py", "VERSION = 1\n")
    project.write("grown/two.py", "VERSION = 1\n")
    for name in ("one", "two"):
        project.write(
            f"grown/with_{name}.py",
            f"from . import {name}\ndef work(x): return {name}.VERSION\n",
        )
    assert results_of(project.load("grown.with_one").work, range(4)) == [1] * 4
    with_two = importlib.import_module("grown.with_two")
    assert results_of(with_two.work, range(4)) == [1] * 4
    one.write_text("VERSION = 22\n")
    assert results_of(project.load("grown.with_one").work, range(4)) == [22] * 4
    with_two = importlib.import_module("grown.with_two")
    assert results_of(with_two.work, range(4)) == [1] * 4
    assert results_of(importlib.import_module("grown.with_one").work, range(4)) == [22] * 4


# --- own modules are files


def test_packages_find_their_modules_files_and_version(project):
    project.write("complete.egg-info/PKG-INFO", "Name: complete\nVersion: 4.2\n")
    project.write("complete/__init__.py", "")
    project.write("complete/plugin_one.py", "")
    project.write("complete/plugin_two.py", "")
    project.write("complete/table.txt", "1 2 3")
    project.write(
        "complete/work.py",
        """
        import glob, importlib.metadata, importlib.resources, os, pkgutil
        from pathlib import Path
        import complete

        def look(_):
            return (
                sorted(found.name for found in pkgutil.iter_modules(complete.__path__)),
                sorted(map(os.path.basename, glob.glob(os.path.dirname(__file__) + "/plugin*"))),
                (Path(__file__).parent / "table.txt").read_text(),
                importlib.resources.files(complete).joinpath("table.txt").read_text(),
                importlib.metadata.version(complete.__name__),
            )
        """,
    )
    look = project.load("complete.work").look
    complete = importlib.import_module("complete")
    (found,) = results_of(look, [1], depends=[complete])
    assert found == look(1)


def test_an_item_works_where_the_script_does(project):
    script = """
        import os, seppo
        os.makedirs("out", exist_ok=True)

        def write(x):
            with open(f"out/{x}.txt", "w") as file:
                file.write(str(x))

        list(seppo.map_parallel(write, range(3), fallback="error"))
        print(sorted(os.listdir("out")))
    """
    assert project.script(script) == "['0.txt', '1.txt', '2.txt']\n"
