"""What cloudpickle cannot pickle, or not so that it comes home."""

import dataclasses
import functools
import os
import pickle
import subprocess
import sys
import typing
import weakref

import pytest
from processes import ROOT

from seppo.values.main import Seen
from seppo.values.reductions import module_of
from seppo.values.serialize import dump, dump_whole


def there_and_back(maker, tmp_path):
    """Return what a function makes in another process, sent home."""
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(dump_whole(maker))
    code = (
        "import pickle, sys; from seppo.values.serialize import dump_whole\n"
        "made = pickle.load(open(sys.argv[1], 'rb'))()\n"
        "open(sys.argv[2], 'wb').write(dump_whole(made))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(there), str(back)],
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])},
        check=True,
    )
    return pickle.loads(back.read_bytes())


def local_classes():
    class Empty:
        __slots__ = ()

    class Plain(Empty):
        __slots__ = ("__hidden", "seen")

        def __init__(self):
            self.seen, self.__hidden = 1, 2

        def facts(self):
            return self.seen, self.__hidden

    class One:
        __slots__ = "only"

        def __init__(self):
            self.only = 3

        def facts(self):
            return self.only

    @dataclasses.dataclass(slots=True)
    class Data:
        x: int = 4

        def facts(self):
            return self.x

    @dataclasses.dataclass(slots=True, frozen=True)
    class Frozen:
        x: int = 5

        def facts(self):
            return self.x

    class Named(typing.NamedTuple):
        x: int = 6

        def facts(self):
            return self.x

    return Plain, One, Data, Frozen, Named


@pytest.mark.parametrize("n", range(5))
def test_objects_of_a_local_class_with_slots_come_home(n, tmp_path):
    made = local_classes()[n]
    found = there_and_back(lambda: made(), tmp_path)
    assert type(found) is made
    assert found.facts() == made().facts()


def test_a_cached_function_by_value():
    @functools.lru_cache(maxsize=7, typed=True)
    def fibonacci(n):
        """Say it."""
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    fibonacci(30)
    copy = pickle.loads(dump_whole(fibonacci))
    assert copy is not fibonacci
    assert copy.cache_info().currsize == 0
    assert copy.cache_parameters() == {"maxsize": 7, "typed": True}
    assert copy(30) == 832040
    assert copy.cache_info().hits == 28  # it calls itself, not another one
    assert (copy.__name__, copy.__doc__) == ("fibonacci", "Say it.")


def test_a_function_by_value_with_cases_for_types():
    @functools.singledispatch
    def kind(x):
        return "object"

    @kind.register
    def _(x: int):
        return "int"

    kind(1.5)
    copy = pickle.loads(dump_whole(kind))
    assert [copy(1), copy("1"), copy(True)] == ["int", "object", "int"]


def test_a_weak_dictionary():
    copy = pickle.loads(dump_whole(weakref.WeakKeyDictionary({int: 1})))
    assert dict(copy) == {int: 1}


def test_a_cached_property_and_its_class():
    class Circle:
        n_times = 0

        @functools.cached_property
        def area(self):
            """Its area."""
            self.n_times += 1
            return 3

    copy = pickle.loads(dump_whole(lambda: Circle()))()
    assert (copy.area, copy.area, copy.n_times) == (3, 3, 1)
    prop = pickle.loads(dump_whole(vars(Circle)["area"]))
    assert (prop.attrname, prop.__doc__) == ("area", "Its area.")


def test_a_new_type_of_a_script():
    kind = typing.NewType("OnlyHere", int)
    kind.__module__ = "__main__"
    copy = pickle.loads(dump_whole(kind))
    assert copy.__supertype__ is int
    assert (copy.__name__, copy.__module__, copy(3)) == ("OnlyHere", "__main__", 3)
    assert pickle.loads(dump_whole(UserId)) is UserId


def test_what_says_itself_where_it_is_found():
    seen = Seen()
    dump(cached_here, seen)
    assert __name__ in seen.modules
    assert module_of(UserId) == __name__
    assert module_of(1) == "builtins"


@functools.cache
def cached_here(x):
    return x


UserId = typing.NewType("UserId", int)
