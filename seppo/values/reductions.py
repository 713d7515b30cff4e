"""Reducers for what cloudpickle cannot pickle, or cannot restore where it was pickled."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary


def module_of(obj: Any) -> Any:
    """Return the name of the module that an object says it is found in.

    What ``lru_cache`` and ``NewType`` make says so itself, all else by its type. The
    object's own ``__getattr__`` is not asked.
    """
    try:
        return object.__getattribute__(obj, "__module__")
    except AttributeError:
        return getattr(type(obj), "__module__", None)


def reduce_cached(cached: Any) -> tuple[Any, ...]:
    """Reduce a function with ``lru_cache`` by value; what it has cached stays here."""
    facts = {name: value for name, value in vars(cached).items() if name != "__wrapped__"}
    return _cached, (cached.__wrapped__, cached.cache_parameters()), facts


def _cached(func: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(func)


def reduce_weak(weak: WeakKeyDictionary[Any, Any]) -> tuple[Any, ...]:
    """Reduce a weak dictionary, which every ``singledispatch`` function closes over."""
    return WeakKeyDictionary, (dict(weak),)


def reduce_property(made: functools.cached_property[Any]) -> tuple[Any, ...]:
    """Reduce a ``cached_property``, which holds a lock before Python 3.12."""
    return _property, (made.func, made.attrname)


def _property(func: Callable[[Any], Any], attrname: str | None) -> Any:
    made = functools.cached_property(func)
    made.attrname = attrname
    return made


def reduce_new_type(made: Any) -> tuple[Any, ...]:
    """Reduce a ``NewType`` by value."""
    return _new_type, (made.__name__, made.__supertype__, made.__module__)


def _new_type(name: str, supertype: Any, module: str) -> Any:
    make: Any = typing.NewType  # type checkers want a literal
    made = make(name, supertype)
    made.__module__ = module
    return made


def with_slots(made: type, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments that a class is made again of, its slots among them.

    cloudpickle makes the class without, and its objects, then with a ``__dict__``, cannot
    come back as those of the class here.

    Args:
        made: The class.
        arguments: What cloudpickle has found: metaclass, name, bases, keywords, and more.
    """
    slots = made.__dict__.get("__slots__")
    if not isinstance(slots, (str, tuple, list, dict)):
        return arguments
    if typing.NamedTuple in arguments[2]:  # it sees to that by itself
        return arguments
    keywords = {**arguments[3], "__slots__": slots}
    return (*arguments[:3], keywords, *arguments[4:])


# By type, for objects that are not found under their names in importable modules.
REDUCTIONS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    type(functools.lru_cache(len)): reduce_cached,
    functools.cached_property: reduce_property,
    typing.NewType: reduce_new_type,
    WeakKeyDictionary: reduce_weak,
}
