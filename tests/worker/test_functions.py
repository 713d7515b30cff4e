"""The functions a worker knows: least recently used ones leave first."""

from __future__ import annotations

import weakref

import pytest

from seppo.errors import ProtocolError
from seppo.values.content import Content
from seppo.values.serialize import dump
from seppo.wire.messages import Function
from seppo.wire.packed import Packed
from seppo.worker.functions import FunctionCache


def packed(name: bytes, size: int = 10) -> Function:
    return Function(name, Packed(b"x" * size))


def test_what_was_added_is_known_and_nothing_else():
    cache = FunctionCache()
    known = cache.add(packed(b"a"))
    assert cache.get(b"a") is known
    assert cache.get(b"b") is None


def test_adding_again_keeps_what_was_loaded_and_its_pace():
    cache = FunctionCache()
    known = cache.add(packed(b"a"))
    assert cache.add(packed(b"a")) is known
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
    cache.add(Function(b"b", Packed(b"", (bytearray(95),))))
    assert cache.get(b"a") is None


@pytest.mark.parametrize("pack", [dump, lambda func: Content(dump(func)).pack()])
def test_a_pickle_is_dropped_once_it_is_unpickled(pack):
    function = Function(b"a", pack(abs))
    pickle = weakref.ref(function.packed)
    known = FunctionCache().add(function)
    del function
    assert known.nbytes == pickle().nbytes
    known.open()
    assert pickle() is None
    assert known.load() is known.load() is abs


def test_a_manifest_that_makes_no_sense_is_refused_when_it_comes():
    cache = FunctionCache()
    with pytest.raises(ProtocolError):
        cache.add(Function(b"a", Packed(b"x"), b"rubbish"))
    assert cache.get(b"a") is None
