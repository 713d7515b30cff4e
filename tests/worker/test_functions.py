"""The functions a worker knows: loaded once, least recently used ones leave first."""

from __future__ import annotations

import functools

import hostile
import pytest

from seppo.payload.function import PackedFunction, pack_function
from seppo.payload.outcome import Failure
from seppo.payload.serialize import Packed
from seppo.worker.functions import FunctionCache, Known


def packed(name: bytes, size: int = 10) -> PackedFunction:
    return PackedFunction(name, Packed(b"x" * size))


def test_what_was_added_is_known_and_nothing_else():
    cache = FunctionCache()
    cache.add(packed(b"a"))
    known = cache.get(b"a")
    assert known is not None
    assert known.packed == packed(b"a")
    assert cache.get(b"b") is None


def test_adding_again_keeps_what_was_loaded_and_its_pace():
    cache = FunctionCache()
    cache.add(packed(b"a"))
    known = cache.get(b"a")
    cache.add(packed(b"a"))
    assert cache.get(b"a") is known


def test_the_least_recently_used_leaves_first():
    cache = FunctionCache(largest=30)
    for name in (b"a", b"b", b"c"):
        cache.add(packed(name))
    cache.get(b"a")
    cache.add(packed(b"d"))
    assert [name for name in (b"a", b"b", b"c", b"d") if cache.get(name)] == [b"a", b"c", b"d"]


def test_the_newest_stays_however_large_it_is():
    cache = FunctionCache(largest=30)
    cache.add(packed(b"a"))
    cache.add(packed(b"huge", 1000))
    assert cache.get(b"huge") is not None
    assert cache.get(b"a") is None
    cache.add(packed(b"b"))
    assert cache.get(b"huge") is None
    assert cache.get(b"b") is not None


def test_buffers_count_too():
    cache = FunctionCache(largest=100)
    cache.add(packed(b"a"))
    cache.add(PackedFunction(b"b", Packed(b"", (bytearray(95),))))
    assert cache.get(b"a") is None


def test_a_function_is_loaded_once():
    known = Known(pack_function(functools.partial(pow, 2)))
    assert known.func is None
    func = known.load()
    assert func(3) == 8
    assert known.load() is func


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit, ImportError])
def test_a_function_that_cannot_be_loaded_is_a_failure_and_tried_again_the_next_time(kind):
    known = Known(pack_function(functools.partial(pow, hostile.RaisesAtUnpickling(kind))))
    failure = known.load()
    assert type(failure) is Failure
    assert "at unpickling" in failure.text
    assert known.func is None
    assert known.load() is not failure
