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
from seppo.payload import serialize
from seppo.payload.function import pack_function
from seppo.payload.serialize import (
    OUT_OF_BAND,
    Packed,
    Pickler,
    dump,
    load,
    own_modules,
    own_modules_by_value,
)

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
        for packed, arg in pickle.load(sys.stdin.buffer):
            sys.stdout.buffer.write(pickle.dumps(pickle.loads(packed)(arg)))
        """
    )

    def run(calls: list[tuple[object, object]]) -> list[object]:
        data = pickle.dumps([(pack_function(func).packed.data, arg) for func, arg in calls])
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, "-c", code], input=data, capture_output=True, timeout=60,
            cwd=folder, env={**env, "PYTHONPATH": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        import io

        stream = io.BytesIO(done.stdout)
        return [pickle.load(stream) for _ in calls]

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
    # Also after a journey through another process, which made a class of its own of it.
    make = pack_function(lambda x: cloudpickle.dumps(Point(x))).packed.data
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.loads(sys.stdin.buffer.read())(4))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=make, capture_output=True, timeout=60, check=True,
        cwd="/", env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    back = pickle.loads(done.stdout)
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
    own = {module.__name__ for module in own_modules().values()}
    assert __name__ in own or any(name.endswith("test_serialize") for name in own)
    assert not {"numpy", "pytest", "hypothesis", "os", "json", "cloudpickle"} & own
    assert not [name for name in own if name.partition(".")[0] == "seppo"]
    assert b"run_task" in pack_function(importlib.import_module("seppo.payload.source").run_task)\
        .packed.data  # fmt: skip
    assert len(pack_function(np.linalg.norm).packed.data) < 200


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
    own_modules()
    assert load(pack_function(add).packed)(1) == 2


def test_modules_that_come_go_or_are_replaced_are_noticed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "comes_and_goes.py"
    name = source.stem

    def is_own() -> bool:
        return name in {module.__name__ for module in own_modules().values()}

    assert not is_own()
    source.write_text("def version(): return 1\n")
    importlib.import_module(name)
    try:
        assert is_own()
        source.write_text("def version(): return 'the second'\n")
        del sys.modules[name]
        importlib.invalidate_caches()
        again = importlib.import_module(name)
        assert b"the second" in pack_function(again.version).packed.data
    finally:
        sys.modules.pop(name, None)
    assert not is_own()


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


def test_it_is_the_caller_who_owns_a_module_beside_the_tests():
    assert serialize._is_own("hostile", str(ROOT / "tests/support/hostile.py"))
    assert not serialize._is_own("x", "/usr/lib/python3/dist-packages/x.py")
    assert not serialize._is_own("x", str(ROOT / "x.so"))
    assert not serialize._is_own("json", json_file())


def json_file() -> str:
    import json

    return json.__file__


def test_what_only_claims_to_be_a_module_is_left_alone(monkeypatch):
    class Library:
        __slots__ = ()
        __class__ = type(sys)

    monkeypatch.setitem(sys.modules, "a_library_of_cffi", Library())
    assert "a_library_of_cffi" not in own_modules()
