"""What a map depends on, and what is done before its first item and after its last."""

import importlib
import os
import pkgutil
import sys

import pytest
from cluster import Cluster, wait_until

import seppo
from seppo.values.outcome import Interrupted
from seppo.values.setup import Setup


def test_the_test_module_of_pythoncluster(project, monkeypatch):
    """As its document says: available in the function as if it were globally imported."""
    project.write("test_module.py", "def triple(i): return 3 * i\n")
    project.write("entry_point.py", "def func(i):\n    return test_module.triple(i)\n")
    func = project.load("entry_point").func
    test_module = project.load("test_module")
    assert list(seppo.map_parallel(func, range(5), depends=(test_module,))) == [0, 3, 6, 9, 12]

    def inner(i):
        import random
        import time

        time.sleep(random.randint(0, 10) / 1000.0)
        return test_module.triple(i)

    assert list(seppo.map_parallel(inner, range(5), depends=[test_module])) == [0, 3, 6, 9, 12]
    # The same without any worker.
    assert list(seppo.map_parallel_serial(func, [1], depends=[test_module])) == [3]


def test_the_depends_list_of_discoro(project):
    """Each element can be a function, class, module or path name of a file."""
    project.write("fragments.py", "SCALE = 100\n")
    data = project.write("somewhere/data.txt", "7\n")
    script = f"""
        import seppo

        def main():
            import fragments

            class Pair:
                def __init__(self, a, b):
                    self.a, self.b = a, b

            def add(x, y):
                return x + y

            depends = [add, Pair, fragments, {str(data)!r}]
            for pair in seppo.map_parallel(compute, range(3), depends=depends, fallback="error"):
                print(pair.a, pair.b, type(pair) is Pair)

        def compute(n):
            with open("data.txt") as file:
                number = int(file.read())
            return Pair(add(n, number), fragments.SCALE)

        main()
    """
    assert project.script(script) == "7 100 True\n8 100 True\n9 100 True\n"


def test_files_and_directories_are_found_by_name_and_relative_to_the_working_directory(project):
    single = project.write("data/single.txt", "single")
    project.write("data/many/a.txt", "a")
    project.write("data/many/deep/b.txt", "b")
    big = project.folder / "big.bin"
    big.write_bytes(os.urandom(3_000_000))

    def read(name):
        with open(name, "rb") as file:
            return file.read(), seppo.data_path(name).read_bytes()

    names = ["single.txt", "many/a.txt", "many/deep/b.txt", "big.bin"]
    depends = [str(single), project.folder / "data" / "many", big]
    contents = [b"single", b"a", b"b", big.read_bytes()]
    for found, expected in zip(
        seppo.map_parallel(read, names, depends=depends), contents, strict=True
    ):
        assert found == (expected, expected)

    def find(name):
        return seppo.data_path(name).read_bytes()

    serial = seppo.map_parallel_serial(find, names, depends=depends)
    assert list(serial) == contents


def test_data_that_has_changed_is_sent_again(project):
    file = project.write("value.txt", "1")

    def read(_):
        return seppo.data_path("value.txt").read_text()

    assert set(seppo.map_parallel(read, range(4), depends=[file])) == {"1"}
    file.write_text("23")
    assert set(seppo.map_parallel(read, range(4), depends=[file])) == {"23"}


def same(func, **options):
    """Return what builtin map gives, and see that the workers do."""
    (here,) = seppo.map_parallel_serial(func, [0], **options)
    assert set(seppo.map_parallel(func, range(4), fallback="error", **options)) == {here}
    return here


def test_files_that_were_removed_or_renamed_are_not_found_any_more(project):
    parts = project.folder / "parts"
    for name in "abc":
        project.write(f"parts/{name}", name)

    def names(_):
        return tuple(sorted(path.name for path in seppo.data_path("parts").rglob("*")))

    assert same(names, depends=[parts]) == ("a", "b", "c")
    (parts / "a").unlink()
    assert same(names, depends=[parts]) == ("b", "c")
    (parts / "b").rename(parts / "z")
    assert same(names, depends=[parts]) == ("c", "z")
    (parts / "c").unlink()
    (parts / "z").unlink()
    assert same(names, depends=[parts]) == ()
    (parts / "deep" / "empty").mkdir(parents=True)
    assert same(names, depends=[parts]) == ("deep", "empty")


def test_a_file_that_becomes_a_folder_of_the_same_name(project):
    data = project.write("data", "file")

    def read(_):
        path = seppo.data_path("data")
        return path.read_text() if path.is_file() else sorted(os.listdir(path))

    assert same_text(read, data) == "file"
    data.unlink()
    project.write("data/in", "")
    assert same_text(read, data) == "['in']"
    (data / "in").unlink()
    data.rmdir()
    data.write_text("file again")
    assert same_text(read, data) == "file again"


def same_text(func, *depends):
    return same(lambda x: str(func(x)), depends=depends)


def test_files_beside_modules_that_were_removed_are_not_found_any_more(project):
    project.write("shrinks/__init__.py", "")
    project.write("shrinks/gone.py", "")
    project.write("shrinks/t.csv", "")
    project.write(
        "shrinks/lists.py",
        """
        import os, pkgutil
        import shrinks

        def names(_):
            found = [name for name in os.listdir(os.path.dirname(__file__)) if name[-1] == "v"]
            return *found, *(module.name for module in pkgutil.iter_modules(shrinks.__path__))
        """,
    )
    names, shrinks = project.load("shrinks.lists").names, sys.modules["shrinks"]
    assert same(names, depends=[shrinks]) == ("t.csv", "gone", "lists")
    (project.folder / "shrinks" / "t.csv").unlink()
    assert same(names, depends=[shrinks]) == ("gone", "lists")
    (project.folder / "shrinks" / "gone.py").unlink()
    importlib.invalidate_caches()
    assert same(names, depends=[shrinks]) == ("lists",)


def test_plugins_are_found_by_listing_their_package(project):
    project.write("plugins/__init__.py", "")
    for name in "abc":
        project.write(f"plugins/{name}.py", f"NAME = '{name}'\n")
    plugins = project.load("plugins")

    def load_all(_):
        names = [found.name for found in pkgutil.iter_modules(plugins.__path__)]
        return [importlib.import_module(f"{plugins.__name__}.{name}").NAME for name in names]

    found = list(seppo.map_parallel(load_all, range(2), fallback="error"))
    assert found == [["a", "b", "c"]] * 2
    assert "plugins.a" not in sys.modules


def test_a_package_with_its_data(project):
    project.write("withdata/__init__.py", "")
    project.write("withdata/extra.py", "NAME = 'extra'\n")
    project.write("withdata/tables/t.csv", "1,2,3\n")
    project.write(
        "withdata/reader.py",
        """
        import importlib.resources
        from pathlib import Path

        def read(_):
            extra = importlib.import_module("withdata.extra")
            beside = (Path(__file__).parent / "tables" / "t.csv").read_text()
            found = importlib.resources.files("withdata").joinpath("tables/t.csv").read_text()
            return extra.NAME, beside, found
        """,
    )
    reader = project.load("withdata.reader")
    (found,) = seppo.map_parallel(reader.read, [1], depends=[sys.modules["withdata"]])
    assert found == ("extra", "1,2,3\n", "1,2,3\n")


def test_a_module_given_by_its_path(project):
    file = project.write("apart/by_path.py", "def f(x): return x + 1\n")

    def work(x):
        import by_path

        return by_path.f(x)

    assert list(seppo.map_parallel(work, [1, 2], depends=[str(file)])) == [2, 3]


@pytest.mark.parametrize("wrong", [["/no/such/file"], [7], [{}], [sys]])
def test_what_cannot_travel_is_refused_at_once(wrong):
    if wrong == [sys]:
        assert list(seppo.map_parallel_serial(abs, [1], depends=wrong)) == [1]
        return
    with pytest.raises(seppo.ConfigurationError, match="depends"):
        seppo.map_parallel(abs, [1], depends=wrong)


def test_a_single_path_is_no_list():
    with pytest.raises(TypeError, match="depends must be a list"):
        seppo.map_parallel(abs, [1], depends="file.txt")
    with pytest.raises(TypeError, match="initializer"):
        seppo.map_parallel(abs, [1], initializer=3)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", "nobody.txt"])
def test_only_what_was_named_is_found(name):
    with pytest.raises((ValueError, FileNotFoundError)):
        seppo.data_path(name)


def test_a_worker_takes_files_of_its_limit_only(tmp_path, monkeypatch):
    with Cluster(0, cwd=tmp_path, PYTHONPATH="") as cluster:
        for name in ("PYRO_NS_HOST", "PYRO_NS_PORT"):
            monkeypatch.setenv(name, cluster.environ[name])
        cluster.spawn("-m", "seppo", "worker", "-n", "1", "--max-file-size", "10K")
        wait_until(lambda: len(cluster.entries()) == 1)
        small, large = tmp_path / "small", tmp_path / "large"
        small.write_bytes(bytes(10_000))
        large.write_bytes(bytes(11_000))

        def weigh(name):
            return seppo.data_path(name).stat().st_size

        assert list(seppo.map_parallel(weigh, ["small"], depends=[small])) == [10_000]
        results = seppo.map_parallel(weigh, ["large"] * 3, depends=[large])
        with pytest.raises(seppo.SetupError, match="--max-file-size"):
            list(results)
        assert list(results) == []
        assert list(seppo.map_parallel(weigh, ["small"], depends=[small])) == [10_000]


# --- initializer and finalizer


def lines(path):
    return sorted(path.read_text().split()) if path.exists() else []


def is_balanced(path):
    """Whether each initializer's line has its finalizer's."""
    found = lines(path)
    return found and [line.replace("begin", "end") for line in found if "begin" in line] == [
        line for line in found if "end" in line
    ]


MARKS = """
    import os
    STATE = []

    def note(path, word):
        with open(path, "a") as file:
            file.write(f"{word}-{os.getpid()}\\n")

    def begin(path):
        note(path, "begin")
        STATE.append(path)

    def end():
        note(STATE.pop(), "end")

    def work(x):
        assert len(STATE) == 1, STATE
        return os.getpid()

    def fail(x):
        raise ValueError(x)
"""


def test_once_on_each_worker_before_the_first_item_and_after_the_last(project, tmp_path):
    project.write("marks.py", MARKS)
    marks, log = project.load("marks"), tmp_path / "log"
    for n in range(1, 4):
        pids = set(
            seppo.map_parallel(
                marks.work,
                range(50),
                chunksize=2,
                initializer=marks.begin,
                initargs=(str(log),),
                finalizer=marks.end,
            )
        )
        wait_until(lambda: is_balanced(log))
        found = lines(log)
        assert {f"begin-{pid}" for pid in pids} <= set(found)
        assert [line.replace("begin", "end") for line in found if "begin" in line] == [
            line for line in found if "end" in line
        ]
        assert len(found) <= 4 * n


def test_also_after_errors_and_when_the_caller_leaves(project, tmp_path):
    project.write("marks.py", MARKS)
    marks, log = project.load("marks"), tmp_path / "log"
    options = {"initializer": marks.begin, "initargs": (str(log),), "finalizer": marks.end}
    with seppo.map_parallel(marks.fail, iter(int, 1), **options) as results:
        with pytest.raises(ValueError, match="0"):
            next(results)
        # Other maps with the same initializer find what it has set up, and leave it.
        for _ in range(3):
            assert len(list(seppo.map_parallel(marks.work, range(9), **options))) == 9
        begun = [line for line in lines(log) if "begin" in line]
        assert len(begun) == len(set(begun))
    wait_until(lambda: is_balanced(log))
    n = len(lines(log))
    with seppo.map_parallel(marks.work, iter(int, 1), **options) as endless:
        next(endless)
    wait_until(lambda: len(lines(log)) > n and is_balanced(log))


def test_after_a_client_that_was_killed(project, tmp_path):
    project.write("marks.py", MARKS)
    log = tmp_path / "log"
    script = f"""
        import itertools, os, seppo, marks
        for n, _ in enumerate(seppo.map_parallel(marks.work, itertools.count(), fallback="error",
                initializer=marks.begin, initargs=({str(log)!r},), finalizer=marks.end)):
            if n == 20:
                os.kill(os.getpid(), 9)
    """
    project.write("script.py", script)
    project.cluster.run(project.folder / "script.py", check=False)
    wait_until(lambda: is_balanced(log))


def test_without_a_finalizer_what_was_set_up_is_there_for_the_next_map(project, tmp_path):
    project.write("marks.py", MARKS)
    marks, log = project.load("marks"), tmp_path / "log"
    for _ in range(4):
        options = {"initializer": marks.begin, "initargs": (str(log),)}
        list(seppo.map_parallel(marks.work, range(30), **options))
    assert len(lines(log)) == len(set(lines(log))) <= 2


def test_globals_of_a_script_that_the_initializer_sets(project):
    script = """
        import seppo
        model = None

        def load(name):
            global model
            model = name.upper()

        def close():
            print(model)

        def use(x):
            return model, x

        print(list(seppo.map_parallel(use, range(3), initializer=load, initargs=["abc"],
                                      finalizer=close, fallback="error")))
        print(model)
    """
    assert project.script(script) == "[('ABC', 0), ('ABC', 1), ('ABC', 2)]\nNone\n"


def test_an_initializer_that_fails_is_told_once_and_clearly(project):
    project.write("failing.py", "def start(x):\n    raise OSError(f'no device {x}')\n")
    failing = project.load("failing")
    results = seppo.map_parallel(abs, range(100), initializer=failing.start, initargs=[7])
    with pytest.raises(seppo.SetupError) as caught:
        list(results)
    assert "no device 7" in str(caught.value)
    assert "initializer" in str(caught.value)
    assert caught.value.worker.startswith("seppo.")
    assert "in start" in str(caught.value.__cause__)
    assert list(results) == []
    with pytest.raises(seppo.SetupError):
        list(
            seppo.map_parallel(
                abs, range(9), initializer=failing.start, initargs=[7], return_exceptions=True
            )
        )
    assert list(seppo.map_parallel(abs, [-1])) == [1]


@pytest.mark.parametrize(
    "ending", ["sys.exit(3)", "raise KeyboardInterrupt", "raise GeneratorExit"]
)
def test_an_initializer_that_would_end_a_script_does_not_end_the_callers(project, ending):
    project.write("exits.py", f"import sys\ndef start():\n    {ending}\n")
    start = project.load("exits").start
    with pytest.raises(seppo.SetupError, match=r"the initializer: [SKG]") as caught:
        list(seppo.map_parallel(abs, range(9), initializer=start, fallback="error"))
    assert "in start" in str(caught.value.__cause__)
    assert list(seppo.map_parallel(abs, [-1], fallback="error")) == [1]


def test_our_own_interruption_of_an_initializer_is_no_failure_of_it():
    def start():
        raise Interrupted

    with pytest.raises(Interrupted):
        Setup(initializer=start).surroundings().begin("a worker")


ENDINGS = {
    "os._exit(3)": "exit code 3",
    "os.kill(os.getpid(), 9)": "SIGKILL",
    "os.kill(os.getpid(), 11)": "SIGSEGV",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_initializer_that_ends_its_process_is_told_once_and_blames_no_item(project, ending):
    project.write(
        "deadly_start.py",
        f"""
        import os, time
        from seppo.place import is_worker_process
        def start():
            if is_worker_process():
                {ending}
                time.sleep(60)
        """,
    )
    start = project.load("deadly_start").start
    results = seppo.map_parallel(abs, range(100), initializer=start, return_exceptions=True)
    with pytest.raises(seppo.SetupError) as caught:
        list(results)
    assert caught.value.what == "the initializer"
    assert ENDINGS[ending] in str(caught.value)
    assert "3 workers" in str(caught.value)
    assert "item" not in str(caught.value)
    assert caught.value.worker.startswith("seppo.")
    assert list(results) == []
    assert list(seppo.map_parallel(abs, [-1])) == [1]


@pytest.mark.parametrize("options", [{}, {"retries_on_loss": 0, "duplicate": False}])
def test_a_function_whose_unpickling_ends_the_process_blames_no_item(project, options):
    project.write(
        "deadly_import.py",
        """
        import os, time
        from seppo.place import is_worker_process
        if is_worker_process():
            os._exit(5)
        def work(x):
            return x
        """,
    )
    work = project.load("deadly_import").work
    with pytest.raises(seppo.SetupError) as caught:
        list(seppo.map_parallel(work, range(100), **options))
    assert caught.value.what == "unpickling the function"
    assert "exit code 5" in str(caught.value)
    assert "item" not in str(caught.value)
    assert list(seppo.map_parallel(abs, [-1])) == [1]


def test_a_finalizer_that_fails_harms_nobody(project):
    project.write("bad_end.py", "def end(): raise SystemExit(3)\ndef work(x): return x\n")
    bad_end = project.load("bad_end")
    for _ in range(3):
        assert list(seppo.map_parallel(bad_end.work, [1, 2], finalizer=bad_end.end)) == [1, 2]


def test_the_same_without_workers(tmp_path):
    told = []
    results = seppo.map_parallel_serial(
        lambda x: told.append(x),
        range(2),
        initializer=told.append,
        initargs=["begin"],
        finalizer=lambda: told.append("end"),
    )
    assert told == []
    assert list(results) == [None, None]
    assert told == ["begin", 0, 1, "end"]

    def fail():
        raise OSError("no device")

    results = seppo.map_parallel_serial(abs, [1], initializer=fail)
    with pytest.raises(seppo.SetupError, match="no device"):
        next(results)
    assert list(results) == []
