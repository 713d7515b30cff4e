"""Callables, items and results to bytes and back; the only importer of cloudpickle.

Pickle protocol 5 with out-of-band buffers: the bulk of an array is not copied into the
pickle but stands beside it as a buffer of its own.

Functions and classes of the caller's own modules travel by value, since a worker that
was started elsewhere cannot import them. A class that travels this way and comes back
is the caller's own class again (cloudpickle numbers them).
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any

import cloudpickle

from seppo.errors import SerializationError

Buffer = bytes | bytearray | memoryview

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
        self._pickler = cloudpickle.Pickler(
            self._file, protocol=5, buffer_callback=self._keep_buffer
        )

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
    with own_modules_by_value():
        return bytes(cloudpickle.dumps(obj, 5))


def load(packed: Packed) -> Any:
    """Return the object again."""
    return pickle.loads(packed.data, buffers=packed.buffers)


# --- functions


@dataclass(frozen=True)
class PackedFunction:
    """A function with all it closes over, addressed by its content.

    Attributes:
        digest: SHA-256 of the content.
        packed: The content.
    """

    digest: bytes
    packed: Packed


def pack_function(func: Callable[..., Any]) -> PackedFunction:
    """Return the function packed, once for a whole map.

    Raises:
        SerializationError: If it cannot be pickled; names what in it and why.
    """
    try:
        packed = dump(func)
    except (Exception, SystemExit) as error:
        raise SerializationError(
            f"the function {_name(func)}",
            f"{type(error).__name__}: {error}",
            "pass what cannot be pickled (locks, files, connections) in another way: "
            "open it inside the function",
        ) from error
    content = hashlib.sha256(packed.data)
    for buffer in packed.buffers:
        content.update(buffer)
    return PackedFunction(content.digest(), packed)


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)[:80]


# --- modules that the caller wrote

_is_own_file: dict[tuple[str, str], bool] = {}  # (module name, file) -> verdict
_own_lock = threading.RLock()  # cloudpickle's registry is one for the whole process
_own: tuple[tuple[int, str], list[ModuleType]] = ((0, ""), [])  # state of sys.modules, answer


def own_modules() -> list[ModuleType]:
    """Return the loaded modules that are neither Python's own nor installed packages.

    Looks through ``sys.modules`` only when a module has come or gone.
    """
    global _own
    state = (len(sys.modules), next(reversed(sys.modules)))
    if _own[0] != state:
        _own = (state, [m for name, m in list(sys.modules.items()) if _is_own_module(name, m)])
    return _own[1]


def _is_own_module(name: str, module: ModuleType) -> bool:
    if name == "__main__" or not isinstance(module, ModuleType):
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
            for module in modules
            if module.__name__ not in registered and module.__name__ in sys.modules
        ]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)
