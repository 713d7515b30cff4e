"""Functions are packed once, and again when anything they depend on has changed."""

import gc
import math
import pickle

import numpy
import pytest
import userland

from seppo.values import function
from seppo.values.function import dependencies, load_function, pack_function
from seppo.values.serialize import load

LEVEL = 1
TABLE = [1]


def uses_level(x):
    return x + LEVEL


def uses_a_function_that_uses_level(x):
    return uses_level(x)


def uses_installed_modules(x):
    return math.sqrt(numpy.float64(x))


def test_unchanged_function_is_packed_once():
    for func in (uses_level, uses_a_function_that_uses_level, uses_installed_modules):
        assert pack_function(func) is pack_function(func)


def values_of(packed_function):
    """Return the globals of this module that travel since they were rebound."""
    (entry,) = [e for e in packed_function.bundle.manifest.modules if e.name == __name__]
    return {name: pickle.loads(bytes.fromhex(value)) for name, value in entry.values}


@pytest.mark.parametrize("func", [uses_level, uses_a_function_that_uses_level])
def test_changed_global_is_seen(func, monkeypatch):
    before = pack_function(func)
    monkeypatch.setitem(globals(), "LEVEL", 50)
    after = pack_function(func)
    assert (values_of(before), values_of(after)) == ({}, {"LEVEL": 50})
    assert before.digest != after.digest
    monkeypatch.undo()
    assert pack_function(func) == before


def test_global_that_is_defined_later_is_seen(monkeypatch):
    def uses_something_later(x):
        return LATER + x  # noqa: F821

    pack_function(uses_something_later)
    monkeypatch.setitem(globals(), "LATER", 3)
    assert load(pack_function(uses_something_later).packed)(1) == 4


def test_changed_closure_is_seen():
    factor = 2

    def scaled(x):
        return x * factor

    before = pack_function(scaled)
    factor = 3
    after = pack_function(scaled)
    assert (load(before.packed)(1), load(after.packed)(1)) == (2, 3)


def test_changed_default_and_code_are_seen():
    def func(x, y=1):
        return x + y

    assert load(pack_function(func).packed)(0) == 1
    func.__defaults__ = (7,)
    assert load(pack_function(func).packed)(0) == 7
    func.__code__ = (lambda x, y: x - y).__code__
    assert load(pack_function(func).packed)(0) == -7


@pytest.mark.parametrize("func", [lambda x: TABLE, userland.Scaler(2), userland.Scaler(2).times])
def test_what_can_change_inside_is_packed_again(func):
    assert dependencies(func) is None
    assert pack_function(func) is not pack_function(func)


def test_changed_list_is_seen():
    table = [1]

    def uses_table(x):
        return x + table[0]

    before = pack_function(uses_table)
    table[0] = 9
    assert load(pack_function(uses_table).packed)(0) == 9
    assert load(before.packed)(0) == 1


def test_recursion_is_no_trouble():
    assert dependencies(factorial) is not None
    assert load(pack_function(factorial).packed)(5) == 120


def factorial(n):
    return n * factorial(n - 1) if n else 1


def test_nested_code_counts():
    def outer(x):
        return [(lambda: LEVEL + i)() for i in range(x)]

    parts = dependencies(outer)
    assert parts is not None
    assert LEVEL in parts


def test_same_pickle_is_loaded_once():
    data = pack_function(uses_level).packed.data
    assert load_function(data) is load_function(data)


TABLE_OF_NAMES = {"a": 1}
look_up = TABLE_OF_NAMES.get


def uses_a_bound_method_of_a_dict(x):
    return look_up("a")


def test_methods_of_objects_that_change_are_packed_again(monkeypatch):
    assert load(pack_function(uses_a_bound_method_of_a_dict).packed)(0) == 1
    monkeypatch.setitem(TABLE_OF_NAMES, "a", 7)
    assert load(pack_function(uses_a_bound_method_of_a_dict).packed)(0) == 7


def test_a_wrapper_that_claims_another_module_is_packed_by_what_it_is(monkeypatch):
    def wrapper(x):
        return uses_level(x)

    wrapper.__module__ = "json"  # as functools.wraps copies it

    def caller(x):
        return wrapper(x)

    assert load(pack_function(caller).packed)(0) == 1
    monkeypatch.setitem(globals(), "LEVEL", 20)
    assert load(pack_function(caller).packed)(0) == 20


def pack_two_and_drop_them():
    def calls_itself(x):
        return x and calls_itself(x - 1)

    funcs = [lambda x: x + 1, calls_itself]
    for func in funcs:
        assert pack_function(func) is pack_function(func)
    numbers = {id(func) for func in funcs}
    assert numbers <= set(function._remembered)
    return numbers


def test_a_function_that_was_packed_is_let_go_of():
    numbers = pack_two_and_drop_them()
    gc.collect()
    assert not numbers & set(function._remembered)
