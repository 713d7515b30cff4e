"""Objects that hold nothing but plain values, so that many of them can be one pickle.

Records, as dataclasses mostly are. Pickled one by one they cost five times what they cost
in one piece. In one piece a bad object would cost all, and objects that hold the same list
would share it, as they do not where each is pickled by itself. Objects without reductions
of their own, whose attributes are numbers and texts, can do neither.
"""

from __future__ import annotations

import copyreg
from abc import ABCMeta
from collections.abc import Sequence
from types import GetSetDescriptorType
from typing import Any
from weakref import WeakKeyDictionary

from seppo.shipping.capture import lost_modules
from seppo.values.reductions import REDUCTIONS

# Values of these very types are pickled by C code alone, and cannot fail to travel.
PLAIN_TYPES = frozenset({int, float, complex, bool, str, bytes, type(None)})

# What a class must have from ``object``, and what it must not have at all, for the pickle of
# its objects to be their attributes.
_DEFAULTS = ("__getattribute__", "__getstate__", "__new__", "__reduce__", "__reduce_ex__")
_SPECIALS = ("__getnewargs__", "__getnewargs_ex__", "__setstate__")


class _Example:
    """An ordinary class, to compare others with."""


class Kept:
    """A copy of a simple object, which user code cannot change."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_kinds: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def _is_simple_kind(kind: type) -> bool:
    if type(kind) not in (type, ABCMeta):
        return False
    known = _kinds.get(kind)
    if known is None:
        known = _kinds[kind] = (
            kind.__basicsize__ == _Example.__basicsize__
            and all(getattr(kind, n, None) is getattr(object, n, None) for n in _DEFAULTS)
            and not any(hasattr(kind, name) for name in _SPECIALS)
            and all(_has_usual_layout(vars(base)) for base in kind.__mro__[:-1])
            and kind not in copyreg.dispatch_table
            and kind not in REDUCTIONS
        )
    return known and kind.__module__ not in lost_modules()


def _has_usual_layout(facts: Any) -> bool:
    namespace = facts.get("__dict__")
    is_usual = namespace is None or type(namespace) is GetSetDescriptorType
    return is_usual and "__slots__" not in facts


def _holds_plain_values(value: Any) -> bool:
    return PLAIN_TYPES.issuperset(map(type, value.__dict__.values()))


def are_simple(values: Sequence[Any]) -> bool:
    """Whether values are plain, or simple and each another object."""
    try:
        kinds = set(map(type, values))
    except TypeError:  # a type that cannot be hashed: its metaclass has __eq__ alone
        return False
    if not all(kind in PLAIN_TYPES or _is_simple_kind(kind) for kind in kinds):
        return False
    objects = values
    if kinds & PLAIN_TYPES:
        objects = [value for value in values if type(value) not in PLAIN_TYPES]
    return len(set(map(id, objects))) == len(objects) and all(map(_holds_plain_values, objects))


def keep(value: Any) -> Kept | None:
    """Return a copy of a simple object; None of any other."""
    kind = type(value)
    if not _is_simple_kind(kind) or not _holds_plain_values(value):
        return None
    copy = object.__new__(kind)
    copy.__dict__.update(value.__dict__)
    return Kept(copy)
