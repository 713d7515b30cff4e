"""Callables, items and results to bytes and back; the only importer of cloudpickle.

Pickle protocol 5 with out-of-band buffers: the bulk of an array is not copied into the
pickle but stands beside it as a buffer of its own.

Functions and classes of importable modules travel by reference; those of the caller's own
modules, too, since these modules travel in a bundle of their own. For that the pickler
reports which modules it has met (``Seen``). So do those that ``__main__`` has under a name:
they travel as definitions of their own (values/definitions.py), and the pickler reports which
names it has met. What is defined inside a function travels by value; such a class is the
caller's own class again when it comes back (cloudpickle numbers them). A function by value that
belongs to ``__main__``, or to one of the caller's modules, runs there in that module's
namespace, with its state.
"""

from __future__ import annotations

import importlib
import io
import operator
import pickle
import sys
import threading
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from seppo.forks import renew_in_children
from seppo.shipping.bytecode import candidates
from seppo.shipping.capture import lost_modules
from seppo.shipping.origin import facts_of, is_own
from seppo.values import script
from seppo.values.exceptions import reduce_exception
from seppo.values.main import Seen, main_facts, name_in_main
from seppo.values.reductions import REDUCTIONS, module_of, with_slots
from seppo.values.script import MAIN
from seppo.values.simple import PLAIN_TYPES as PLAIN_TYPES
from seppo.wire.packed import Buffer, Packed

ReduceError = Callable[[BaseException], tuple[Any, ...] | None]

OUT_OF_BAND = 8192  # bytes; smaller buffers are cheaper inside the pickle (measured)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, except that a class that returns to its process is left as it is.

    cloudpickle finds the class that an object's pickle belongs to by a number, and then
    writes the attributes that it had when it was pickled into it. In the process where
    the class was made that would replace its methods by copies.

    Attributes:
        seen: Where to note what the pickle refers to; None: it goes home.
        inside: Names of ``__main__`` whose objects go by value: this is their definition.
        set_state: How a class by value gets its attributes.
        simple: Classes whose objects are their attributes.
        reduce_error: How exceptions are reduced; None from it leaves them to Python.
    """

    seen: Seen | None = None
    inside: frozenset[str] = frozenset()
    simple: frozenset[type] = frozenset()
    reduce_error: ReduceError = staticmethod(reduce_exception)

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.set_state: Callable[[type, Any], type] = _set_state_once

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in self.simple:  # there may be very many of them
            return NotImplemented
        if issubclass(kind, type):
            if self.seen is not None:
                self.seen.note_module(getattr(obj, "__module__", None))
            return self._reduce_class(obj)
        if self.seen is not None:
            self._note(obj, kind)
        if kind is FunctionType:
            return NotImplemented if self._goes_by_name(obj) else super().reducer_override(obj)
        if issubclass(kind, BaseException):
            made = self.reduce_error(obj)
            return NotImplemented if made is None else made
        reduce = REDUCTIONS.get(kind)
        if reduce is None:
            return NotImplemented
        if self._goes_by_name(obj):
            return obj.__qualname__
        return NotImplemented if _is_found(obj) else reduce(obj)

    def _note(self, obj: Any, kind: type) -> None:
        assert self.seen is not None
        if kind is ModuleType:
            self.seen.note_module(obj.__name__)
        elif kind is FunctionType:
            self.seen.note_module(getattr(obj, "__module__", None))
        else:
            self.seen.note_module(module_of(obj))
            if kind is typing.ForwardRef:
                self.seen.note_annotations({"": obj.__forward_arg__})

    def _goes_by_name(self, obj: Any) -> bool:
        """Whether an object of ``__main__`` goes as its name there."""
        name = name_in_main(obj)
        if name is None or name in self.inside:
            return False
        return script.is_ours(name) if self.seen is None else self.seen.hold(name)

    def _reduce_class(self, made: type) -> Any:
        if self.seen is None and name_in_main(made) is not None and made in _visitors:
            return _callers_class, (_number_of(made), made.__qualname__)
        if self._goes_by_name(made):
            return NotImplemented
        reduced = super().reducer_override(made)
        if type(reduced) is not tuple or len(reduced) != 6:
            return reduced
        if self.seen is not None:
            self.seen.note_annotations(vars(made).get("__annotations__"))
        if made not in _visitors:
            _natives.add(made)
        make, arguments = reduced[:2]
        if make is cloudpickle.cloudpickle._make_skeleton_class:
            arguments = with_slots(made, arguments)
        return (_make_class, (_number_of(made), make, arguments), *reduced[2:5], self.set_state)

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        """Reduce a function by value; one of an own module keeps its globals' namespace."""
        home = _home_of(func)
        if self.seen is not None:
            package = func.__globals__.get("__package__")
            package = package if type(package) is str else ""
            self.seen.modules.update(candidates(func.__code__, package))
            if home == MAIN:
                self.seen.names.update(_global_names(func.__code__))
                if package:  # what it imports may be relative to it
                    self.seen.names.add("__package__")
                self.seen.note_annotations(func.__annotations__)
            elif home is not None:
                self.seen.modules.add(home)
        reduced = super()._dynamic_function_reduce(func)
        if home is not None:
            make, (code, _, *rest), (state, slots), *more = reduced
            slots["__globals__"] = {}
            if home != MAIN:
                slots["_cloudpickle_submodules"] = []
            reduced = (make, (code, _Namespace(home), *rest), (state, slots), *more)
        return reduced


_global_names = cloudpickle.cloudpickle._extract_code_globals
_number_of = cloudpickle.cloudpickle._get_or_create_tracker_id


class _SharingPickler(_Pickler):
    """Pickles data of ``__main__`` by name, so that it stays one object for all users."""

    shared: Mapping[int, str]

    def persistent_id(self, obj: Any) -> str | None:
        name = self.shared.get(id(obj))
        if name is None or name in self.inside:
            return None
        assert self.seen is not None
        self.seen.names.add(name)
        self.seen.held.add(name)
        return name


def _is_found(obj: Any) -> bool:
    """Whether an object goes by reference: by its module's name and its own."""
    module = module_of(obj)
    if module == MAIN or module in lost_modules():
        return False
    found: Any = sys.modules.get(module)
    for name in str(getattr(obj, "__qualname__", "")).split("."):
        found = getattr(found, name, None)
    return found is obj


def _home_of(func: FunctionType) -> str | None:
    """Return ``__main__`` or the own module in whose namespace a function runs, if any."""
    facts = func.__globals__
    if facts is main_facts():
        return MAIN
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
    return script.namespace() if module == MAIN else vars(importlib.import_module(module))


_natives: weakref.WeakSet[type] = weakref.WeakSet()  # classes made here that went elsewhere
_visitors: weakref.WeakSet[type] = weakref.WeakSet()  # classes that came from elsewhere


def _make_class(number: str, make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """Return the class of a number, made now if there is none yet."""
    known: type | None = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    return make(*arguments) if known is None else known


def _set_class_state(made: type, state: Any) -> type:
    """Give a class that was unpickled its attributes, unless it is one of this process."""
    if made not in _natives:
        _visitors.add(made)
        cloudpickle.cloudpickle._class_setstate(made, state)
    return made


def _set_state_once(made: type, state: Any) -> type:
    """Give a class its attributes, unless it has some: what items set in it stays."""
    return made if made in _visitors else _set_class_state(made, state)


def _callers_class(number: str, qualname: str) -> type:
    """Return the class of the script that an object which comes home belongs to.

    By its number: the name may be another class's by now.
    """
    found: Any = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    if found is None:
        found = operator.attrgetter(qualname)(sys.modules[MAIN])
    return found  # type: ignore[no-any-return]


class Pickler:
    """Pickles one object after the other, each on its own.

    Args:
        copy_buffers: Copy what would be referred to out of band, for objects whose
            memory may be used again (generators that fill one buffer over and over).
        seen: Where to note what the pickles refer to; None for those that go home.
        inside: Names of ``__main__`` whose objects go by value.
        shared: Names of data of ``__main__`` by ``id``, which go by name; whoever unpickles
            them must know (``script.load``).
        renews: Whether classes that go by value get the attributes that they have now, also
            where they are known.
        simple: Classes whose objects are their attributes (values/simple.py).
    """

    def __init__(
        self,
        copy_buffers: bool = False,
        seen: Seen | None = None,
        inside: frozenset[str] = frozenset(),
        shared: Mapping[int, str] | None = None,
        renews: bool = False,
        simple: frozenset[type] = frozenset(),
    ) -> None:
        self._file = io.BytesIO()
        self._buffers: list[Buffer] = []
        self._copy = copy_buffers
        kind = _SharingPickler if shared else _Pickler
        self._pickler = kind(self._file, protocol=5, buffer_callback=self._keep_buffer)
        self._pickler.seen = seen
        self._pickler.inside = inside
        self._pickler.simple = simple
        if shared:
            self._pickler.shared = shared
        if renews:
            self._pickler.set_state = _set_class_state

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


def dump(obj: Any, seen: Seen | None = None) -> Packed:
    """Return one object packed.

    Args:
        obj: The object.
        seen: Where to note what the pickle refers to; None if it goes home.
    """
    with own_modules_by_value():
        return Pickler(seen=seen).dump(obj)


def dump_whole(obj: Any, reduce_error: ReduceError = reduce_exception) -> bytes:
    """Return one object packed without buffers beside it."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol=5)
    pickler.reduce_error = reduce_error
    with own_modules_by_value():
        pickler.dump(obj)
    return file.getvalue()


def load(packed: Packed) -> Any:
    """Return the object again."""
    return pickle.loads(packed.data, buffers=packed.buffers)


# --- modules whose code cannot be had

_own_lock = threading.RLock()  # cloudpickle's registry is one for the whole process
renew_in_children(globals(), "_own_lock", threading.RLock)


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
