"""Functions and values as bytes: what travels, what not, and who receives it."""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
from pathlib import Path

import cloudpickle
import hostile
import numpy as np
import pytest

from seppo.errors import SerializationError
from seppo.shipping.capture import lost_modules
from seppo.values.function import pack_function
from seppo.values.serialize import OUT_OF_BAND, Pickler, dump, load, own_modules_by_value
from seppo.wire.packed import Packed

ROOT = Path(__file__).parents[2]


class Point:
    """A class of this module."""

    factor = 10

    def __init__(self, x: int) -> None:
        self.x = x

    def scaled(self, y: int) -> int:
        return self.x * self.factor * y

    def __call__(self, y: int) -> int:
        return self.x + y


def add(x: int, y: int = 1) -> int:
    return x + y


def outer(n: int) -> object:
    def inner(x: int) -> int:
        def innermost(y: int) -> int:
            return x * y + n

        return innermost(2)

    return inner


def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial(n - 1)


callables = {
    "function": (add, 5, 6),
    "lambda": (lambda x: x * x, 5, 25),
    "closure": (outer(100), 5, 110),
    "recursive": (factorial, 5, 120),
    "partial": (functools.partial(add, y=7), 5, 12),
    "bound method": (Point(3).scaled, 5, 150),
    "callable object": (Point(3), 5, 8),
    "builtin": (abs, -5, 5),
    "method of a builtin": ("-".join, ["a", "b"], "a-b"),
    "class": (complex, 5, 5 + 0j),
    "numpy ufunc": (np.negative, 5, -5),
}


@pytest.mark.parametrize("name", callables)
def test_callables_come_back_and_work(name):
    func, arg, expected = callables[name]
    assert load(pack_function(func).packed)(arg) == expected


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> object:
    """Run packed functions in a process that knows nothing of ours but seppo."""
    folder = tmp_path_factory.mktemp("elsewhere")
    code = textwrap.dedent(
        """
        import pickle, sys
        from seppo.shipping.manifest import Manifest
        from seppo.worker.world import World

        world = World("test")
        for packed, manifest, contents, arg in pickle.load(sys.stdin.buffer):
            for digest, content in contents.items():
                world.add(bytes.fromhex(digest), content)
            world.activate(Manifest.from_bytes(manifest))
            result = pickle.dumps(pickle.loads(packed)(pickle.loads(arg)))
            sys.stdout.buffer.write(pickle.dumps(result))
        """
    )

    def run(calls: list[tuple[object, object]]) -> list[object]:
        told = []
        for func, arg in calls:
            function = pack_function(func)
            contents = function.bundle.contents
            told.append((function.packed.data, function.manifest, contents, pickle.dumps(arg)))
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, "-c", code], input=pickle.dumps(told), capture_output=True,
            timeout=60, cwd=folder, env={**env, "PYTHONPATH": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        import io

        stream = io.BytesIO(done.stdout)
        return [pickle.loads(pickle.load(stream)) for _ in calls]

    return run


def test_a_process_that_cannot_import_our_modules_runs_our_functions(elsewhere):
    calls = [(func, arg) for func, arg, _ in callables.values()]
    assert elsewhere(calls) == [expected for _, _, expected in callables.values()]


def test_a_function_of_a_module_beside_the_script_runs_elsewhere(elsewhere, tmp_path, monkeypatch):
    # One module that uses another: both are the caller's own, neither is installed.
    (tmp_path / "helper_of_mine.py").write_text("OFFSET = 1000\ndef shift(x): return x + OFFSET\n")
    (tmp_path / "module_of_mine.py").write_text(
        "from helper_of_mine import shift\n"
        "import helper_of_mine\n"
        "def work(x): return shift(x) + helper_of_mine.OFFSET\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("module_of_mine")
    try:
        assert elsewhere([(module.shift, 1), (lambda x: module.shift(x), 2)]) == [1001, 1002]
    finally:
        for name in ("module_of_mine", "helper_of_mine"):
            sys.modules.pop(name, None)


def test_objects_of_our_classes_come_back_as_our_classes(elsewhere):
    there = load(dump(Point(4)))
    assert type(there) is Point
    # Also after a journey through another process.
    (back,) = elsewhere([(lambda x: Point(x), 4)])
    assert type(back) is Point
    assert back.scaled(1) == 40


def test_an_object_that_comes_back_leaves_our_class_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "changing_module.py").write_text(
        "LEVEL = 1\nclass Reader:\n    def level(self): return LEVEL\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("changing_module")
    try:
        method = module.Reader.level
        assert type(load(dump(module.Reader()))) is module.Reader
        module.LEVEL = 2
        assert module.Reader.level is method
        assert module.Reader().level() == 2
    finally:
        sys.modules.pop("changing_module", None)


def test_installed_packages_and_seppo_itself_go_by_reference():
    run_task = importlib.import_module("seppo.values.source").run_task
    assert b"run_task" in pack_function(run_task).packed.data
    assert pack_function(run_task).manifest == b""
    norm = pack_function(np.linalg.norm)
    assert len(norm.packed.data) < 200
    assert norm.bundle.manifest.modules == ()
    assert norm.bundle.manifest.environment["numpy"] == np.__version__


@pytest.fixture
def a_lost_module():
    lost_modules().add("hostile")
    yield
    lost_modules().discard("hostile")


@pytest.mark.usefixtures("a_lost_module")
def test_what_belongs_to_a_module_without_source_goes_by_value(elsewhere):
    packed = dump(hostile.Oops("x"))
    assert b"_make_skeleton_class" in packed.data
    assert type(load(packed)) is hostile.Oops


def test_a_module_whose_source_has_gone_goes_by_value(elsewhere, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "soon_gone.py").write_text("OFFSET = 5\ndef shift(x): return x + OFFSET\n")
    module = importlib.import_module("soon_gone")
    (tmp_path / "soon_gone.py").unlink()
    try:
        assert elsewhere([(module.shift, 1)]) == [6]
    finally:
        lost_modules().discard("soon_gone")
        del sys.modules["soon_gone"]


@pytest.mark.usefixtures("a_lost_module")
def test_what_was_registered_before_stays_registered():
    module = sys.modules["hostile"]
    cloudpickle.register_pickle_by_value(module)
    try:
        with own_modules_by_value():
            pass
        assert "hostile" in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    with own_modules_by_value():
        assert "hostile" in cloudpickle.list_registry_pickle_by_value()
    assert "hostile" not in cloudpickle.list_registry_pickle_by_value()


@pytest.mark.usefixtures("a_lost_module")
def test_the_registry_is_left_clean_after_an_error():
    before = set(cloudpickle.list_registry_pickle_by_value())
    with pytest.raises(hostile.Oops):
        dump(hostile.RaisesAtPickling())
    assert set(cloudpickle.list_registry_pickle_by_value()) == before


def test_modules_that_load_or_fail_when_looked_at_are_left_alone(monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise ImportError(f"looked at for {name}")

    monkeypatch.setitem(sys.modules, "lazy_module_of_a_test", Lazy("lazy_module_of_a_test"))
    monkeypatch.setitem(sys.modules, "no_module_at_all", None)
    monkeypatch.setitem(sys.modules, "odd_module_of_a_test", types.ModuleType("odd"))
    sys.modules["odd_module_of_a_test"].__file__ = 7
    assert load(pack_function(add).packed)(1) == 2

    def uses_them(x):
        import lazy_module_of_a_test
        import no_module_at_all
        import odd_module_of_a_test

        return lazy_module_of_a_test, no_module_at_all, odd_module_of_a_test

    names = pack_function(uses_them).bundle.names()
    assert not {"lazy_module_of_a_test", "no_module_at_all", "odd_module_of_a_test"} & names


@pytest.mark.usefixtures("a_lost_module")
def test_threads_may_pack_at_the_same_time():
    results: list[int] = []

    def pack() -> None:
        for n in range(20):
            results.append(load(dump(outer(n)))(1))

    threads = [threading.Thread(target=pack) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == sorted([n + 2 for n in range(20)] * 4)
    assert "hostile" not in cloudpickle.list_registry_pickle_by_value()


# --- functions


def test_equal_content_has_equal_digests_and_other_content_has_others():
    def make(n: int) -> object:
        return lambda x: x + n

    assert pack_function(make(1)).digest == pack_function(make(1)).digest
    assert pack_function(make(1)).digest != pack_function(make(2)).digest
    big = np.zeros(OUT_OF_BAND)
    with_big = pack_function(functools.partial(np.add, big))
    big[0] = 1.0
    assert pack_function(functools.partial(np.add, big)).digest != with_big.digest
    assert len(with_big.digest) == 32


def test_a_function_that_cannot_travel_is_named_with_the_reason_and_advice():
    lock = threading.Lock()

    def guarded(x: int) -> int:
        with lock:
            return x

    with pytest.raises(SerializationError) as caught:
        pack_function(guarded)
    text = str(caught.value)
    assert "guarded" in text
    assert "lock" in text
    assert "inside the function" in text
    assert caught.value.__cause__ is not None


def test_a_nameless_callable_that_cannot_travel_is_named_by_its_repr():
    with pytest.raises(SerializationError, match="RaisesAtPickling"):
        pack_function(hostile.RaisesAtPickling())


@pytest.mark.parametrize("kind", [SystemExit, hostile.Oops, MemoryError])
def test_whatever_packing_a_function_raises_is_a_serialization_error(kind):
    with pytest.raises(SerializationError, match="at pickling"):
        pack_function(functools.partial(add, hostile.RaisesAtPickling(kind)))


# --- buffers


def test_large_buffers_stand_beside_the_pickle():
    big = np.arange(OUT_OF_BAND, dtype="u1")
    packed = dump([big, big[:10]])
    assert len(packed.buffers) == 1
    assert len(packed.data) < 1000
    assert packed.nbytes == len(packed.data) + OUT_OF_BAND
    assert (load(packed)[0] == big).all()


def test_large_buffers_are_not_copied_unless_asked_for():
    big = np.zeros(OUT_OF_BAND, dtype="u1")
    shared = Pickler().dump(big)
    copied = Pickler(copy_buffers=True).dump(big)
    big[:] = 1
    assert load(shared)[0] == 1
    assert load(copied)[0] == 0


def test_arrays_that_are_not_contiguous_travel_too():
    square = np.arange(4 * OUT_OF_BAND).reshape(4, -1)
    for view in (square[:, ::3], square.T, np.asfortranarray(square)):
        assert (load(dump(view)) == view).all()


def test_a_buffer_of_no_bytes_travels():
    assert load(dump(np.zeros((0, 3)))).shape == (0, 3)
    assert load(dump(pickle.PickleBuffer(b""))) == b""


def test_one_pickler_packs_each_object_on_its_own():
    pickler = Pickler()
    shared = [1, 2]
    first, second = pickler.dump(shared), pickler.dump(shared)
    assert first == second  # nothing refers to what was packed before
    with pytest.raises(hostile.Oops):
        pickler.dump([np.zeros(OUT_OF_BAND), hostile.RaisesAtPickling()])
    assert pickler.dump(shared) == first
    assert load(Packed(first.data)) == [1, 2]


def test_what_only_claims_to_be_a_module_is_left_alone(monkeypatch):
    class Library:
        __slots__ = ()
        __class__ = type(sys)

    monkeypatch.setitem(sys.modules, "a_library_of_cffi", Library())

    def uses_it(x):
        import a_library_of_cffi

        return a_library_of_cffi

    assert "a_library_of_cffi" not in pack_function(uses_it).bundle.names()


def test_a_main_module_under_an_alias_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "__mp_main__", sys.modules["hostile"])
    with own_modules_by_value(), own_modules_by_value():
        assert "hostile" not in cloudpickle.list_registry_pickle_by_value()
    assert load(dump(hostile.Oops)) is hostile.Oops
