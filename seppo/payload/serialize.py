"""Callables, items and results to bytes and back; the only importer of cloudpickle.

Pickle protocol 5 with out-of-band buffers: the bulk of an array is not copied into the
pickle but stands beside it as a buffer of its own.

Functions and classes of the caller's own modules travel by value, since a worker that
was started elsewhere cannot import them. A class that travels this way and comes back
is the caller's own class again (cloudpickle numbers them).
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import sysconfig
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any

import cloudpickle

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
    """

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and type(reduced) is tuple and len(reduced) == 6:
            if obj not in _visitors:
                _natives.add(obj)
            reduced = (*reduced[:5], _set_class_state)
        return reduced


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
    """

    def __init__(self, copy_buffers: bool = False) -> None:
        self._file = io.BytesIO()
        self._buffers: list[Buffer] = []
        self._copy = copy_buffers
        self._pickler = _Pickler(self._file, protocol=5, buffer_callback=self._keep_buffer)

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
        self._file.seek(0)
        self._file.truncate()
        self._buffers.clear()
        self._pickler.clear_memo()
        self._pickler.dump(obj)
        return Packed(self._file.getvalue(), tuple(self._buffers))


def dump(obj: Any) -> Packed:
    """Return one object packed, the caller's own classes by value."""
    with own_modules_by_value():
        return Pickler().dump(obj)


def dump_whole(obj: Any) -> bytes:
    """Return one object packed without buffers beside it."""
    file = io.BytesIO()
    with own_modules_by_value():
        _Pickler(file, protocol=5).dump(obj)
    return file.getvalue()


def load(packed: Packed) -> Any:
    """Return the object again."""
    return pickle.loads(packed.data, buffers=packed.buffers)


# --- modules that the caller wrote

_is_own_file: dict[tuple[str, str], bool] = {}  # (module name, file) -> verdict
_own_lock = threading.RLock()  # cloudpickle's registry is one for the whole process
# The state of sys.modules, and what it led to: the caller's modules, by name.
_own: tuple[tuple[int, str], dict[str, ModuleType]] = ((0, ""), {})


def own_modules() -> dict[str, ModuleType]:
    """Return the loaded modules that are neither Python's own nor installed, by name.

    Looks through ``sys.modules`` only when a module has come or gone.
    """
    global _own
    modules = sys.modules
    try:
        state = (len(modules), next(reversed(modules)))
    except RuntimeError:  # another thread imports something right now
        state = (0, "")
    if _own[0] != state:
        found = {name: m for name, m in list(modules.items()) if _is_own_module(name, m)}
        _own = (state, found)
    return _own[1]


def modules_state() -> object:
    """Return an object that stays the same one while no module comes or goes."""
    own_modules()
    return _own[0]


def is_own_module_name(name: str) -> bool:
    """Whether a module of the caller's own is loaded under this name."""
    return name in own_modules()


def _is_own_module(name: str, module: ModuleType) -> bool:
    # By its true type: cffi's libraries lie in sys.modules, too, and claim to be modules.
    if name == "__main__" or not issubclass(type(module), ModuleType):
        return False
    # Past any __getattribute__: a module that is loaded lazily stays unloaded.
    facts = object.__getattribute__(module, "__dict__")
    file = facts.get("__file__")
    if not isinstance(file, str):
        return False
    if (name, file) not in _is_own_file:
        _is_own_file[name, file] = _is_own(name, file)
    # cloudpickle registers modules by name: one under an alias is left alone.
    return _is_own_file[name, file] and facts.get("__name__") == name


def _is_own(name: str, file: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    path = PurePath(file)
    if path.suffix != ".py":
        return False  # an extension module has no value to send
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    paths = sysconfig.get_paths()
    return not any(path.is_relative_to(paths[key]) for key in ("stdlib", "platstdlib"))


@contextmanager
def own_modules_by_value() -> Iterator[None]:
    """While this lasts, functions and classes of the caller's modules go by value."""
    modules = own_modules()
    if not modules:
        yield
        return
    with _own_lock:
        registered = cloudpickle.list_registry_pickle_by_value()
        added = [
            module
            for module in modules.values()
            if module.__name__ not in registered and module.__name__ in sys.modules
        ]
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
