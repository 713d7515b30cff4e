"""Callables, items and results to bytes and back; the only importer of cloudpickle.

Pickle protocol 5 with out-of-band buffers: the bulk of an array is not copied into the
pickle but stands beside it as a buffer of its own.

Functions and classes of importable modules travel by reference; those of the caller's own
modules, too, since these modules travel in a bundle of their own. For that the pickler
tells which modules it has met. What is defined in ``__main__`` or inside a function travels
by value; a class that does and comes back is the caller's own class again (cloudpickle
numbers them). A function by value that belongs to one of the caller's modules runs there
in that module's namespace, with its state.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from seppo.payload.capture import lost_modules
from seppo.payload.imports import candidates
from seppo.payload.origin import facts_of, is_own
from seppo.payload.reductions import REDUCTIONS, module_of, with_slots

Buffer = bytes | bytearray | memoryview

# Values of these very types are pickled by C code alone, and cannot fail to travel.
PLAIN_TYPES = frozenset({int, float, complex, bool, str, bytes, type(None)})

OUT_OF_BAND = 8192  # bytes; smaller buffers are cheaper inside the pickle (measured)


@dataclass(frozen=True)
class Packed:
    """A pickle and the buffers that belong to it."""

    data: bytes
    buffers: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        """Weight in bytes."""
        return len(self.data) + sum(len(buffer) for buffer in self.buffers)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, but a class that comes home is left as it is.

    cloudpickle finds the class that an object's pickle belongs to by a number, and then
    writes the attributes that it had when it was pickled into it. In the process where
    the class was made that would replace its methods by copies.

    Attributes:
        seen: Where to note the names of modules that the pickle needs; None: nowhere.
    """

    seen: set[str] | None = None
    has_functions = False  # whether a function went by value

    def reducer_override(self, obj: Any) -> Any:
        if self.seen is not None:
            kind = type(obj)
            if kind is ModuleType:
                name = obj.__name__
            else:
                is_global = kind is FunctionType or issubclass(kind, type)
                name = getattr(obj, "__module__", None) if is_global else module_of(obj)
            if type(name) is str:
                self.seen.add(name)
        reduce = REDUCTIONS.get(type(obj))
        if reduce is not None and not _is_found(obj):
            return reduce(obj)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and type(reduced) is tuple and len(reduced) == 6:
            if obj not in _visitors:
                _natives.add(obj)
            make, arguments = reduced[:2]
            if make is cloudpickle.cloudpickle._make_skeleton_class:
                arguments = with_slots(obj, arguments)
            reduced = (make, arguments, *reduced[2:5], _set_class_state)
        return reduced

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        """Reduce a function by value; one of an own module keeps its globals' namespace."""
        self.has_functions = True
        home = _home_of(func)
        if self.seen is not None:
            package = func.__globals__.get("__package__")
            self.seen.update(candidates(func.__code__, package if type(package) is str else ""))
            if home is not None:
                self.seen.add(home)
        reduced = super()._dynamic_function_reduce(func)
        if home is not None:
            make, (code, _, *rest), (state, slots), *more = reduced
            slots["__globals__"] = {}
            slots["_cloudpickle_submodules"] = []
            reduced = (make, (code, _Namespace(home), *rest), (state, slots), *more)
        return reduced


def _is_found(obj: Any) -> bool:
    """Whether an object goes by reference: by its module's name and its own."""
    module = module_of(obj)
    if module == "__main__" or module in lost_modules():
        return False
    found: Any = sys.modules.get(module)
    for name in str(getattr(obj, "__qualname__", "")).split("."):
        found = getattr(found, name, None)
    return found is obj


def _home_of(func: FunctionType) -> str | None:
    """Return the module of the caller's own in whose namespace a function runs, if any."""
    facts = func.__globals__
    name, file = facts.get("__name__"), facts.get("__file__")
    if type(name) is not str or type(file) is not str or name in lost_modules():
        return None
    module = sys.modules.get(name)
    if module is None or facts_of(module) is not facts or not is_own(name, file):
        return None
    return name


class _Namespace:
    """Stands for the globals of an importable module in a pickle."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> Any:
        return _namespace, (self._module,)


def _namespace(module: str) -> dict[str, Any]:
    return vars(importlib.import_module(module))


_natives: weakref.WeakSet[type] = weakref.WeakSet()  # classes made here that went elsewhere
_visitors: weakref.WeakSet[type] = weakref.WeakSet()  # classes that came from elsewhere


def _set_class_state(made: type, state: Any) -> type:
    """Give a class that was unpickled its attributes, unless it is one of this process."""
    if made not in _natives:
        _visitors.add(made)
        cloudpickle.cloudpickle._class_setstate(made, state)
    return made


class Pickler:
    """Pickles one object after the other, each on its own.

    Args:
        copy_buffers: Copy what would be referred to out of band, for objects whose
            memory may be used again (generators that fill one buffer over and over).
        seen: Where to note the names of modules that the pickles need.
    """

    def __init__(self, copy_buffers: bool = False, seen: set[str] | None = None) -> None:
        self._file = io.BytesIO()
        self._buffers: list[Buffer] = []
        self._copy = copy_buffers
        self._pickler = _Pickler(self._file, protocol=5, buffer_callback=self._keep_buffer)
        self._pickler.seen = seen

    def _keep_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Decide for one buffer; true means that it goes into the pickle."""
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < OUT_OF_BAND:
            return True
        self._buffers.append(bytearray(raw) if self._copy else raw)
        return False

    def dump(self, obj: Any) -> Packed:
        """Return the object packed.

        Raises:
            Exception: Whatever the object's own reduction raises.
        """
        try:
            self._pickler.dump(obj)
            return Packed(self._file.getvalue(), tuple(self._buffers))
        finally:  # keep nothing: the memo refers to all that was pickled
            self._pickler.clear_memo()
            self._buffers.clear()
            self._file.seek(0)
            self._file.truncate()


def dump(obj: Any, seen: set[str] | None = None) -> Packed:
    """Return one object packed.

    Args:
        obj: The object.
        seen: Where to note the names of modules that the pickle needs.
    """
    with own_modules_by_value():
        return Pickler(seen=seen).dump(obj)


def dump_whole(obj: Any) -> bytes:
    """Return one object packed without buffers beside it."""
    file = io.BytesIO()
    with own_modules_by_value():
        _Pickler(file, protocol=5).dump(obj)
    return file.getvalue()


def content_key(obj: Any) -> bytes | None:
    """Return a hash of what an object is, or None where functions in it travel by value."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=5)
    try:
        pickler.dump(obj)
    except Exception:  # user code; packing it in earnest will tell
        return None
    return None if pickler.has_functions else hashlib.sha256(file.getvalue()).digest()


def load(packed: Packed) -> Any:
    """Return the object again."""
    return pickle.loads(packed.data, buffers=packed.buffers)


# --- modules whose code cannot be had

_own_lock = threading.RLock()  # cloudpickle's registry is one for the whole process


@contextmanager
def own_modules_by_value() -> Iterator[None]:
    """While this lasts, what belongs to modules whose source is lost goes by value."""
    # cloudpickle registers modules by name: one under an alias is left alone.
    modules = [sys.modules[name] for name in lost_modules() if name in sys.modules]
    modules = [module for module in modules if module.__name__ in lost_modules()]
    if not modules:
        yield
        return
    with _own_lock:
        registered = cloudpickle.list_registry_pickle_by_value()
        added = [module for module in modules if module.__name__ not in registered]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)


def _renew_lock() -> None:
    global _own_lock
    _own_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # another thread may have held it
