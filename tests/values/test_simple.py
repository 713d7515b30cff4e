"""Which objects may be pickled many at a time."""

import dataclasses
import enum
import typing

import pytest

from seppo.values.simple import are_simple, keep


@dataclasses.dataclass
class Record:
    x: object
    name: str = "a"


class Derived(Record):
    pass


class WithState:
    def __init__(self):
        self.x = 1

    def __getstate__(self):
        return {}


class WithSlots:
    __slots__ = ("x",)


class WithBoth(WithSlots):
    pass


class Number(int):
    pass


class Color(enum.Enum):
    RED = 1


class Pair(typing.NamedTuple):
    x: int


class Odd(type):
    def __eq__(cls, other):
        return True


class OfOdd(metaclass=Odd):
    pass


class Listed(list):
    pass


simple = [Record(1), Derived(None), Record("a", "b"), 5, "a"]
others = [
    Record([1]), WithState(), WithSlots(), WithBoth(), Number(1), Color.RED, Pair(1), OfOdd(),
    Listed(), ValueError(1), [1], Record(Record(1)), Record,
]  # fmt: skip


def test_objects_with_plain_attributes_are_simple():
    assert are_simple(simple)


@pytest.mark.parametrize("value", others, ids=lambda value: type(value).__name__)
def test_all_others_are_not(value):
    assert not are_simple([*simple, value])
    assert keep(value) is None


def test_each_must_be_another_object():
    one = Record(1)
    assert not are_simple([one, one])
    assert are_simple([one, 1, 1, Record(1)])


def test_a_copy_is_kept_as_it_was():
    one = Derived(1)
    kept = keep(one)
    one.x = 2
    assert (type(kept.value), kept.value.x) == (Derived, 1)


def test_objects_whose_classes_have_reductions_elsewhere_are_not(monkeypatch):
    import copyreg

    class Registered:
        pass

    monkeypatch.setitem(copyreg.dispatch_table, Registered, lambda _: (int, ()))
    assert not are_simple([Registered()])
