"""Functions on their way to the workers: packed once, and not again while unchanged.

Packing a function by value takes about 0.1 ms, as long as a small map. So a function that
was packed is remembered with all that its pickle depends on. When each of these is still
the very same object, and none of them can have changed inside, the pickle is still good.
Where that cannot be told (a closure over a list, say) the function is packed again.
"""

from __future__ import annotations

import hashlib
import operator
import os
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from seppo.errors import SerializationError
from seppo.payload.serialize import PLAIN_TYPES, Packed, dump, is_own_module_name, modules_state

REMEMBERED = 64  # functions
SHARED_FROM = 1 << 20  # bytes; a function from this size on reaches each host once
PIECE = 8 << 20  # bytes that one thread hashes at a time
HASHERS = 4  # threads
LARGEST_REMEMBERED = 1 << 20  # bytes of one packed function


@dataclass(frozen=True)
class PackedFunction:
    """A function with all it closes over, addressed by its content.

    Attributes:
        digest: A hash of the content (SHA-256, in pieces).
        packed: The content.
    """

    digest: bytes
    packed: Packed


# id of a function -> the function (so that the id stays its own), what its pickle
# depends on, and the pickle.
_remembered: OrderedDict[int, tuple[Any, list[Any], PackedFunction]] = OrderedDict()
_lock = threading.Lock()


def pack_function(func: Callable[..., Any]) -> PackedFunction:
    """Return the function packed.

    Raises:
        SerializationError: If it cannot be pickled; names what in it and why.
    """
    parts = dependencies(func)
    if parts is not None:
        with _lock:
            found = _remembered.get(id(func))
            if found is not None:
                _, before, packed_function = found
                if len(before) == len(parts) and all(map(operator.is_, before, parts)):
                    _remembered.move_to_end(id(func))
                    return packed_function
    packed_function = _pack(func)
    if parts is not None and packed_function.packed.nbytes <= LARGEST_REMEMBERED:
        with _lock:
            _remembered[id(func)] = (func, parts, packed_function)
            if len(_remembered) > REMEMBERED:
                _remembered.popitem(last=False)
    return packed_function


def _pack(func: Callable[..., Any]) -> PackedFunction:
    try:
        packed = dump(func)
    except BaseException as error:  # user code, which must not end our thread
        if isinstance(error, KeyboardInterrupt):
            raise
        raise SerializationError(
            f"the function {_name(func)}",
            f"{type(error).__name__}: {error}",
            "make what cannot be pickled (a lock, a socket, a database connection) inside "
            "the function",
        ) from error
    return PackedFunction(_digest(packed), packed)


def _digest(packed: Packed) -> bytes:
    """Return SHA-256 over the digests of the content's pieces.

    Pieces, because hashing 200 MB takes as long as sending them: several threads do it,
    side by side.
    """
    pieces = [memoryview(packed.data)]
    for buffer in packed.buffers:
        view = memoryview(buffer).cast("B")
        pieces += [view[at : at + PIECE] for at in range(0, len(view), PIECE)]
    if len(pieces) == 1:
        return hashlib.sha256(packed.data).digest()
    with ThreadPoolExecutor(min(len(pieces), HASHERS)) as pool:
        digests = pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces)
    return hashlib.sha256(b"".join(digests)).digest()


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)[:80]


@lru_cache(maxsize=256)
def load_function(data: bytes) -> Callable[..., Any]:
    """Return the function in a pickle; the same one for the same pickle, while remembered."""
    func: Callable[..., Any] = pickle.loads(data)
    return func


# --- what a function's pickle depends on

_MISSING = object()  # in place of a global that is not there (a builtin, or not yet defined)


def dependencies(func: Any) -> list[Any] | None:
    """Return the objects that a function's pickle depends on, or None if it cannot be told.

    None of them can change inside: constants, code, installed modules, functions and
    classes, and the same of every function that is reached.
    """
    parts: list[Any] = []
    return parts if _add_function(func, parts, set()) else None


def _add_function(func: Any, parts: list[Any], seen: set[int]) -> bool:
    if type(func) is not FunctionType:
        return False
    if id(func) in seen:
        return True
    seen.add(id(func))
    parts += (func, func.__code__, func.__defaults__, func.__kwdefaults__)
    if func.__dict__ or func.__kwdefaults__:
        return False
    cells = func.__closure__ or ()
    try:
        values = [cell.cell_contents for cell in cells]
    except ValueError:  # a cell without contents, yet
        return False
    values += func.__defaults__ or ()
    values += (func.__globals__.get(name, _MISSING) for name in _global_names(func.__code__))
    return all(_add(value, parts, seen) for value in values)


def _add(value: Any, parts: list[Any], seen: set[int]) -> bool:
    kind = type(value)
    if kind is FunctionType and not _is_importable(value):
        return _add_function(value, parts, seen)
    parts.append(value)
    if kind in PLAIN_TYPES or value is _MISSING:
        return True
    if kind is BuiltinFunctionType:  # a method of an object is one, too
        return value.__self__ is None or type(value.__self__) is ModuleType
    if kind is FunctionType:
        return True
    if kind is ModuleType:
        name: str = value.__name__
        if hasattr(value, "__path__"):
            parts.append(modules_state())  # cloudpickle looks for submodules that are loaded
        return sys.modules.get(name) is value and not _goes_by_value(name)
    if isinstance(value, type):
        return _is_importable(value)
    return kind is tuple and PLAIN_TYPES.issuperset(map(type, value))


def _is_importable(value: Any) -> bool:
    """Whether a function or class goes by reference, and so is whatever the worker has."""
    if _goes_by_value(value.__module__):
        return False
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _goes_by_value(module: str | None) -> bool:
    return module is None or module == "__main__" or is_own_module_name(module)


@lru_cache(maxsize=1024)
def _global_names(code: CodeType) -> tuple[str, ...]:
    """Return the names that code, and code inside it, may look up as globals."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(dict.fromkeys(_global_names(constant)))
    return tuple(names)


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # another thread may have held it
