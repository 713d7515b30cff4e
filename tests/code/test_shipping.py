"""The caller's own modules run on workers that cannot import them."""

import re
import sys
import time

import pytest

import seppo


def test_sub_packages_relative_circular_and_lazy_imports(project):
    project.write("pkg/__init__.py", "FLAVOUR = 'sweet'\n")
    project.write("pkg/sub/__init__.py", "from .. import FLAVOUR\nfrom . import deep\n")
    project.write(
        "pkg/sub/deep.py",
        """
        from ..left import left
        from . import FLAVOUR

        def work(x):
            import lazily
            from pkg.sub import late
            return left(x), FLAVOUR, lazily.NAME, late.__name__, __name__, __package__
        """,
    )
    project.write("pkg/sub/late.py", "")
    project.write("pkg/left.py", "from . import right\ndef left(x): return right.right(x) + 1\n")
    project.write("pkg/right.py", "from . import left\ndef right(x): return 10 * x\n")
    project.write("lazily.py", "NAME = __name__\n")
    deep = project.load("pkg.sub.deep")
    expected = [deep.work(x) for x in range(5)]
    del sys.modules["lazily"]
    assert list(seppo.map_parallel(deep.work, range(5), fallback="error")) == expected


def test_namespace_packages(project):
    project.write("space/one/tool.py", "from space.two import twice\nwork = twice\n")
    project.write("space/two.py", "def twice(x): return 2 * x, __name__\n")
    tool = project.load("space.one.tool")
    assert list(seppo.map_parallel(tool.work, [1, 2])) == [(2, "space.two"), (4, "space.two")]


def test_modules_that_are_imported_by_computed_names(project):
    project.write("plugged/__init__.py", "")
    project.write("plugged/plugin_a.py", "def run(x): return 'a', x\n")
    project.write(
        "plugged/host.py",
        """
        import importlib

        def run(name, x):
            return importlib.import_module(f"plugged.plugin_{name}").run(x)
        """,
    )
    host = project.load("plugged.host")
    assert host.run("a", 1) == ("a", 1)
    assert list(seppo.map_parallel(host.run, "aa", [1, 2])) == [("a", 1), ("a", 2)]


def test_modules_that_are_imported_by_a_text_and_were_not_yet(project):
    project.write("texts/__init__.py", "")
    project.write("texts/late.py", "def run(x): return 'late', x\n")
    project.write("text_alone.py", "def run(x): return 'alone', x\n")
    project.write(
        "texts/host.py",
        """
        from importlib import import_module

        def run(x):
            return import_module(".late", __package__).run(x), __import__("text_alone").run(x)
        """,
    )
    host = project.load("texts.host")
    expected = [(("late", x), ("alone", x)) for x in range(2)]
    assert list(seppo.map_parallel(host.run, range(2), fallback="error")) == expected


CLASSES = """
    import enum
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Point:
        x: int

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    class Trouble(Exception):
        def __init__(self, x):
            super().__init__(x)
            self.x = x

    class Base:
        def name(self):
            return "base"

    class Derived(Base):
        class Inner:
            def __init__(self, x):
                self.x = x

        def name(self):
            return super().name() + " and derived"

        @classmethod
        def inner(cls, x):
            return cls.Inner(x)

    def swap(point):
        assert isinstance(point, Point)
        return Point(-point.x)

    def other(colour):
        return Colour.BLUE if colour is Colour.RED else Colour.RED

    def fail(x):
        raise Trouble(x)

    def derive(x):
        return Derived(), Derived.inner(x), Derived().name()
"""


def test_classes_keep_their_identity_both_ways(project):
    project.write("classes.py", CLASSES)
    classes = project.load("classes")
    points = list(seppo.map_parallel(classes.swap, [classes.Point(n) for n in range(20)]))
    assert points == [classes.Point(-n) for n in range(20)]
    assert all(type(point) is classes.Point for point in points)
    colours = list(seppo.map_parallel(classes.other, [classes.Colour.RED, classes.Colour.BLUE]))
    assert colours[0] is classes.Colour.BLUE
    assert colours[1] is classes.Colour.RED
    with pytest.raises(classes.Trouble) as caught:
        list(seppo.map_parallel(classes.fail, [7]))
    assert caught.value.x == 7
    ((derived, inner, name),) = seppo.map_parallel(classes.derive, [3])
    assert type(derived) is classes.Derived
    assert type(inner) is classes.Derived.Inner
    assert (inner.x, name) == (3, "base and derived")


def test_bound_methods_partials_and_callable_objects(project):
    from functools import partial

    project.write(
        "callables.py",
        """
        class Scale:
            def __init__(self, factor): self.factor = factor
            def __call__(self, x): return self.factor * x
            def times(self, x): return self.factor * x
            @classmethod
            def made(cls, x): return cls(x)
            @staticmethod
            def half(x): return x / 2
        def power(x, n): return x ** n
        """,
    )
    module = project.load("callables")
    scale, power = module.Scale(3), partial(module.power, n=2)
    for func in (scale, scale.times, module.Scale.half, power):
        assert list(seppo.map_parallel(func, range(4))) == list(map(func, range(4)))
    made = list(seppo.map_parallel(module.Scale.made, range(3)))
    assert [type(scale) for scale in made] == [module.Scale] * 3


def test_classes_of_items_that_turn_up_later(project):
    project.write("early.py", "def kind(x): return type(x).__name__, type(x).__module__, x\n")
    for name in ("first", "second", "third"):
        project.write(f"{name}.py", f"class {name.title()}: pass\n")
    early = project.load("early")
    modules = [project.load(name) for name in ("first", "second", "third")]
    kinds = [modules[0].First, modules[1].Second, modules[2].Third]

    def items():
        for n in range(30):
            yield kinds[n // 10]()

    results = list(seppo.map_parallel(early.kind, items(), chunksize=2, buffersize=4))
    assert [(a, b) for a, b, _ in results[::10]] == [
        ("First", "first"), ("Second", "second"), ("Third", "third")
    ]  # fmt: skip
    assert [type(item) for _, _, item in results] == [kinds[n // 10] for n in range(30)]
    listed = [kind() for kind in kinds for _ in range(4)]
    results = list(seppo.map_parallel(early.kind, listed, chunksize=1))
    assert [type(item) for _, _, item in results] == [type(item) for item in listed]


def test_a_bundle_that_grows_keeps_its_state(project):
    project.write(
        "counting.py",
        """
        import os
        COUNTS = []
        def count(x):
            COUNTS.append(x)
            return os.getpid(), len(COUNTS)
        """,
    )
    project.write("newcomer.py", "class Newcomer: pass\n")
    counting, newcomer = project.load("counting"), project.load("newcomer")
    counts = []
    with seppo.Executor(max_workers=1) as executor:
        for item in [*range(5), *(newcomer.Newcomer() for _ in range(5))]:
            counts.append(executor.submit(counting.count, item).result())
    for pid in {pid for pid, _ in counts}:
        mine = [count for who, count in counts if who == pid]
        assert mine == list(range(1, len(mine) + 1))


def test_functions_inside_functions_of_a_module_run_in_it(project):
    project.write(
        "inside.py",
        """
        import threading
        LOCK = threading.Lock()
        SEEN = []

        class Result:
            def __init__(self, x): self.x = x

        def make(n):
            def inner(x):
                with LOCK:
                    SEEN.append(x)
                return Result(x + n)
            return inner

        def seen(x):
            return len(SEEN)
        """,
    )
    inside = project.load("inside")
    results = list(seppo.map_parallel(inside.make(10), range(6)))
    assert [result.x for result in results] == [10, 11, 12, 13, 14, 15]
    assert {type(result) for result in results} == {inside.Result}
    assert max(seppo.map_parallel(inside.seen, range(20))) > 0
    assert inside.SEEN == []


def test_an_extension_module_is_imported_by_name(project):
    project.write("uses_numpy.py", "import numpy\ndef norm(x): return float(numpy.abs(x))\n")
    module = project.load("uses_numpy")
    assert list(seppo.map_parallel(module.norm, [-1, 2])) == [1.0, 2.0]


def test_installed_files_travel_by_name_and_own_files_beside_them_by_content(project):
    # A distribution with metadata, wherever it lies, is not the caller's own.
    from seppo.values.function import pack_function

    project.write("alien/__init__.py", "def work(x): return x\n")
    project.write("alien-1.5.dist-info/RECORD", "alien/__init__.py,,\n")
    project.write("alien-1.5.dist-info/METADATA", "Name: Alien\nVersion: 1.5\n")
    project.write("mine.py", "import alien\ndef work(x): return alien.work(x)\n")
    mine = project.load("mine")
    manifest = pack_function(mine.work).bundle.manifest
    assert [entry.name for entry in manifest.modules] == ["mine"]
    assert manifest.environment["Alien"] == "1.5"
    with pytest.raises(ModuleNotFoundError) as caught, pytest.warns(RuntimeWarning) as told:
        list(seppo.map_parallel(mine.work, [1]))
    assert re.search(r"Alien +1\.5 +missing +seppo\.", str(told[0].message))
    assert told[0].filename == __file__
    assert caught.value.name == "alien"
    text = str(caught.value)
    assert "seppo." in text
    assert "Alien" in text
    assert "pip install" in text
    assert list(seppo.map_parallel(mine.work, [1], depends=[project.load("alien")])) == [1]


def test_a_module_that_nobody_has(project):
    def work(x):
        import nowhere_to_be_found

        return nowhere_to_be_found

    with pytest.raises(ModuleNotFoundError) as caught:
        list(seppo.map_parallel(work, [1]))
    assert caught.value.name == "nowhere_to_be_found"
    assert "depends" in str(caught.value)


def test_side_effects_of_a_package_happen_once(project):
    project.write("noisy/__init__.py", "import os\nMADE = [os.getpid()]\n")
    project.write(
        "noisy/work.py",
        "import os\nfrom . import MADE\ndef work(x):\n    return MADE, os.getpid()\n",
    )
    noisy = project.load("noisy.work")
    for made, pid in seppo.map_parallel(noisy.work, range(40)):
        assert made == [pid]


def test_tracebacks_show_the_callers_file_and_line(project):
    file = project.write("failing.py", "def fail(x):\n    raise ValueError(x)  # here it is\n")
    failing = project.load("failing")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        list(seppo.map_parallel(failing.fail, [1]))
    text = str(caught.value.__cause__)
    assert f'"{file}", line 2' in text
    assert "# here it is" in text


def test_a_script_run_as_main_and_as_a_package(project):
    project.write("tools/__init__.py", "")
    project.write("tools/helper.py", "class Thing: pass\ndef help(x): return Thing()\n")
    main = """
        import seppo
        from tools import helper

        class Mine:
            def __init__(self, x): self.x = x

        def work(x):
            from tools.helper import help
            return Mine(x), help(x)

        if __name__ == "__main__":
            for mine, thing in seppo.map_parallel(work, range(3), fallback="error"):
                print(type(mine) is Mine, type(thing) is helper.Thing, mine.x)
    """
    expected = "".join(f"True True {n}\n" for n in range(3))
    assert project.script(main) == expected
    project.write("tools/__main__.py", main.replace("from tools.helper", "from .helper"))
    done = project.cluster.run("-m", "tools", cwd=project.folder)
    assert done.stdout == expected


def test_a_module_in_a_zip_archive(project):
    import zipfile

    with zipfile.ZipFile(project.folder / "zipped.zip", "w") as archive:
        archive.writestr("in_a_zip.py", "def work(x): return x + 1\n")
    print_it = f"""
        import sys
        sys.path.insert(0, {str(project.folder / "zipped.zip")!r})
        import in_a_zip, seppo
        print(list(seppo.map_parallel(in_a_zip.work, [1, 2], fallback="error")))
    """
    assert project.script(print_it) == "[2, 3]\n"


def test_a_builtin_over_items_of_own_classes(project):
    project.write("speaks.py", "class Speaks:\n    def __str__(self): return 'spoken'\n")
    speaks = project.load("speaks")
    assert list(seppo.map_parallel(str, [speaks.Speaks()] * 3)) == ["spoken"] * 3
    assert list(seppo.map_parallel(str, iter([speaks.Speaks()] * 3))) == ["spoken"] * 3


def test_a_function_over_much_data_shares_it_and_has_its_modules(project):
    project.write("over_data.py", "def at(data, i): return data[i], __name__\n")
    over_data = project.load("over_data")
    data = bytes(range(256)) * 20_000

    def look(i):
        return over_data.at(data, i)

    expected = [(i % 256, "over_data") for i in range(40)]
    for _ in range(3):
        assert list(seppo.map_parallel(look, range(40), chunksize=1)) == expected


def test_items_that_last_and_many_files(project):
    """Files are asked for and taken while a long item runs, by another thread."""
    for n in range(40):
        project.write(f"wide/part_{n}.py", f"VALUE = {n}\n")
    project.write("wide/__init__.py", "")
    parts = ", ".join(f"part_{n}" for n in range(40))
    project.write(
        "wide/total.py",
        f"import time\nfrom . import {parts}\n"
        f"def total(x):\n    time.sleep(x)\n    return sum(p.VALUE for p in ({parts}))\n",
    )
    total = project.load("wide.total").total
    with seppo.map_parallel(time.sleep, [1.5] * 4, chunksize=1) as busy:
        assert list(seppo.map_parallel(total, [0.0] * 6)) == [780] * 6
        assert list(busy) == [None] * 4


def test_a_data_file_beside_a_module_that_did_not_travel(project):
    reading = (
        "import pathlib\ndef read(x): return pathlib.Path(__file__).with_name(x).read_text()\n"
    )
    project.write("beside/__init__.py", "")
    project.write("beside/reader.py", reading)
    project.write("beside/data.txt", "data")
    project.write("reads_alone.py", reading)
    reader, alone = project.load("beside.reader"), project.load("reads_alone")
    with pytest.raises(FileNotFoundError, match=r"on worker .* the package 'beside' in depends="):
        list(seppo.map_parallel(reader.read, ["data.txt"]))
    package = sys.modules["beside"]
    assert list(seppo.map_parallel(reader.read, ["data.txt"], depends=[package])) == ["data"]
    with pytest.raises(FileNotFoundError, match=r"read it with seppo\.data_path") as caught:
        list(seppo.map_parallel(alone.read, ["data.txt"]))
    assert caught.value.errno == 2
    assert caught.value.filename.endswith("data.txt")
    with pytest.raises(FileNotFoundError) as caught:
        list(seppo.map_parallel(open, ["/nowhere/data.txt"]))
    assert "depends" not in str(caught.value)


def test_a_module_beside_the_script_that_is_named_like_one_of_pythons(project):
    project.write("sched.py", "def mine(x): return 'mine', x\n")
    project.write("uses_sched.py", "import sched\ndef run(x): return sched.mine(x)\n")
    output = project.script(
        """
        import seppo, uses_sched
        print(list(seppo.map_parallel(uses_sched.run, [1, 2], fallback="error")))
        """
    )
    assert output == "[('mine', 1), ('mine', 2)]\n"

    def standard(x):
        import sched

        return sched.__file__

    assert "bundles" not in next(seppo.map_parallel(standard, [1]))


def test_what_scripts_define_with_the_decorators_of_python(project):
    output = project.script(
        """
        import dataclasses, functools, typing
        import seppo

        @functools.cache
        def fibonacci(n):
            return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

        @dataclasses.dataclass(slots=True)
        class Point:
            x: int

        class Square:
            @functools.cached_property
            def side(self):
                return Point(2)

        Side = typing.NewType("Side", int)

        @functools.singledispatch
        def work(x):
            return x.side, fibonacci(x.side.x)

        @work.register
        def _(x: Point):
            return Side(x.x)

        items = [Point(7), Square()]
        results = list(seppo.map_parallel(work, items, fallback="error"))
        print(results == [7, (Point(2), 1)], list(seppo.map_parallel(fibonacci, [80])))
        """
    )
    assert output == "True [23416728348467685]\n"
