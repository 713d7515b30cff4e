"""The module that stands in for the caller's ``__main__``."""

import pickle
import subprocess
import sys

import pytest

from seppo.values import script
from seppo.values.content import Content
from seppo.values.script import Definition, StandIn
from seppo.values.serialize import load
from seppo.wire.packed import Packed


def made(name, value, key=b"1", **more):
    return Definition((name,), key, pickle.dumps((value,)), **more)


def test_a_definition_is_put_in_place_once():
    here = StandIn()
    here.apply((made("n", [1]),))
    first = here.namespace["n"]
    first.append(2)
    here.apply((made("n", [1]),))
    assert here.namespace["n"] is first
    here.apply((made("n", [7], b"2"),))
    assert here.namespace["n"] == [7]


def test_what_is_absent_goes_if_it_came_from_the_caller():
    here = StandIn()
    here.apply((made("n", 1),))
    here.namespace["own"] = 2
    here.apply((), ("n", "own", "other"))
    assert "n" not in here.namespace
    assert here.namespace["own"] == 2


def test_what_user_code_has_bound_first_is_adopted():
    here = StandIn()
    before = set(here.namespace)
    here.namespace["n"] = "mine"
    here.adopt((made("n", None), made("m", 3)), before)
    here.apply((made("n", None), made("m", 3)))
    assert (here.namespace["n"], here.namespace["m"]) == ("mine", 3)


def test_a_definition_that_fails_is_told():
    here = StandIn()
    broken = Definition(("n",), b"1", b"cno_such_module\nx\n.")
    with pytest.raises(ModuleNotFoundError):
        here.apply((broken,))
    assert "n" not in here.keys
    here.apply((Definition(("n",), b"1", broken.data, is_needed=False), made("m", 1)))
    assert "no_such_module" in here.problems["n"]
    assert here.namespace["m"] == 1
    here.apply((made("n", 5, b"2"),))
    assert here.problems == {}


def test_nothing_stands_in_for_main_in_other_processes():
    main = sys.modules["__main__"]
    script.enter((made("surely_not_defined", 1),))
    assert sys.modules["__main__"] is main
    assert not hasattr(main, "surely_not_defined")


def test_a_script_for_spawned_processes_defines_the_same(monkeypatch):
    here = StandIn()
    monkeypatch.setattr(script, "_here", here)
    with pytest.raises(AttributeError):
        _ = here.module.__file__
    here.apply((made("n", 41), made("__file__", "/home/somebody/script.py")))
    here.namespace["n"] = 0  # what became of it is not known there
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1], run_name='__mp_main__')['n'] + 1)"
    path = here.module.__file__
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout == "42\n", done.stderr
    assert here.module.__file__ == path
    here.apply((made("n", 5, b"2"),))
    done = subprocess.run(
        [sys.executable, "-c", code, here.module.__file__], capture_output=True, text=True
    )
    assert done.stdout == "6\n", done.stderr


def test_a_content_keeps_the_buffers_of_its_parts_beside_it():
    big = bytearray(100_000)
    func = Packed(pickle.dumps("func"), (memoryview(big),))
    large = pickle.dumps(("x" * 100_000,))
    content = Content(
        func,
        (Definition(("a",), b"1", b"data", (memoryview(big),)), Definition(("b",), b"2", large)),
        ("absent",),
        1,
        Packed(b"setup"),
        b"key",
    )
    packed = content.pack()
    assert len(packed.data) < 1000
    assert len(packed.buffers) == 3
    again = load(packed)
    assert again == content
    assert again.digest() == content.digest()
