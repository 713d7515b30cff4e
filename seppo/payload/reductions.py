"""How to pickle what cloudpickle cannot, or not so that it comes home."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

CacheWrapper = type(functools.lru_cache(len))


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
