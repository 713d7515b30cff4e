"""Packed functions: each is packed once, and again only after a change.

Packing a function by value takes about 0.1 ms, as long as a small map. So a function that
was packed is remembered with all that its pickle depends on. When each of these is still
the very same object, and none of them can have changed inside, the pickle is used again.
If that is not certain (a closure over a list, say) the function is packed again.

With the pickle goes the bundle of the caller's own modules that it needs. Whether that is
still good is looked up each time.
"""

from __future__ import annotations

import operator
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from seppo.errors import SerializationError
from seppo.forks import renew_in_children
from seppo.shipping.bundle import Bundle, bundle_for, grown, modules_state, renewed, with_more
from seppo.shipping.capture import lost_modules
from seppo.values.content import Content
from seppo.values.definitions import Collector, Defined, Refused, combined, digest_of
from seppo.values.main import Seen
from seppo.values.serialize import PLAIN_TYPES, load, own_modules_by_value
from seppo.values.setup import Setup, SetupFacts
from seppo.wire.messages import Function
from seppo.wire.packed import Packed

REMEMBERED = 64  # functions
LOADED = 256  # functions of single calls
LARGEST_REMEMBERED = 1 << 20  # bytes of one packed function


@dataclass(frozen=True)
class PackedFunction:
    """A function with all it closes over, addressed by its content.

    Attributes:
        digest: A hash of the content (SHA-256, in pieces) and of the bundle.
        packed: The content.
        manifest: What the bundle consists of, as it travels; empty for no bundle.
        bundle: The bundle itself, where it comes from.
        setup: What is to be done before and after.
        content: What the pickle holds; None where it is the function's own.
        defined: What it finds in ``__main__``.
    """

    digest: bytes
    packed: Packed
    manifest: bytes = b""
    bundle: Bundle = field(default_factory=Bundle, compare=False, repr=False)
    setup: SetupFacts = field(default=SetupFacts(), compare=False)
    content: Content | None = field(default=None, compare=False, repr=False)
    defined: Defined = field(default_factory=Defined, compare=False, repr=False)

    @property
    def message(self) -> Function:
        """What tells a worker this function."""
        return Function(self.digest, self.packed, self.manifest)


_Packing = tuple["weakref.ref[Any]", list[Any], frozenset[str], PackedFunction]

# id of a function -> a reference to it that forgets it with the function (so that the id
# stays its own), what else its pickle depends on, the modules that it needs, and the pickle.
_remembered: OrderedDict[int, _Packing] = OrderedDict()
_lock = threading.Lock()
renew_in_children(globals(), "_lock", threading.Lock)
_loaded: dict[bytes, tuple[Any, Callable[..., Any]]] = {}  # of single calls, by pickle


def pack_function(func: Callable[..., Any], setup: Setup | None = None) -> PackedFunction:
    """Return the function packed.

    Args:
        func: The function.
        setup: What else is to be there, and to be done before and after.

    Raises:
        SerializationError: If it cannot be pickled; names what in it and why.
    """
    if setup is not None:
        return _pack_with(func, setup)
    parts = dependencies(func)
    if parts is not None:
        parts = [None if part is func else part for part in parts]  # else it would be kept
        with _lock:
            found = _remembered.get(id(func))
        if found is not None:
            reference, before, seeds, packed_function = found
            if len(before) == len(parts) and all(map(operator.is_, before, parts)):
                bundle = bundle_for(seeds, runs=partial(_functions_run, func))
                if bundle is not packed_function.bundle:
                    packed_function = _with_bundle(packed_function, bundle)
                with _lock:
                    _remembered[id(func)] = (reference, parts, seeds, packed_function)
                    _remembered.move_to_end(id(func))
                return packed_function
    content, defined, seeds, bundle = _pack(func)
    packed_function = _with_content(content, defined, bundle)
    packed = packed_function.packed
    if parts is not None and packed.nbytes <= LARGEST_REMEMBERED:
        reference = weakref.ref(func, partial(_forget, id(func)))
        with _lock:
            _remembered[id(func)] = (reference, parts, seeds, packed_function)
            if len(_remembered) > REMEMBERED:
                _remembered.popitem(last=False)
    return packed_function


def _forget(number: int, reference: weakref.ref[Any]) -> None:
    # Without the lock: the collector may call this anywhere, also while the lock is held.
    if _remembered is None:  # the interpreter is taking this module apart
        return
    found = _remembered.get(number)
    if found is not None and found[0] is reference:
        _remembered.pop(number, None)


def _pack(
    func: Callable[..., Any], setup: Setup | None = None
) -> tuple[Content, Defined, frozenset[str], Bundle]:
    """Return a function packed, what it finds in ``__main__``, its modules, and their bundle."""
    more = frozenset() if setup is None else setup.depends.seeds
    runs = partial(_functions_run, func, None if setup is None else setup.initializer)
    lost = len(lost_modules())
    content, defined, seeds = _try_to_pack(func, setup)
    bundle = bundle_for(seeds | more, runs=runs)
    if len(lost_modules()) != lost:  # some of these modules must go by value
        content, defined, seeds = _try_to_pack(func, setup)
        bundle = bundle_for(seeds | more, runs=runs)
    return content, defined, seeds, bundle


def _try_to_pack(
    func: Callable[..., Any], setup: Setup | None
) -> tuple[Content, Defined, frozenset[str]]:
    try:
        return _pack_once(func, setup)
    except BaseException as error:  # user code, which must not end our thread
        if isinstance(error, KeyboardInterrupt):
            raise
        what = f"the function {_name(func)}" + (", or its setup," if setup is not None else "")
        if isinstance(error, Refused):
            what, error = f"{error.name!r}, which {what} needs,", error.problem
        raise SerializationError(
            what,
            f"{type(error).__name__}: {error}",
            "make what cannot be pickled (a lock, a socket, a database connection) inside "
            "the function",
        ) from error


def _pack_once(
    func: Callable[..., Any], setup: Setup | None
) -> tuple[Content, Defined, frozenset[str]]:
    modules: set[str] = set()
    collector = Collector(modules)
    around, key = None, b""
    with own_modules_by_value():
        if setup is not None:
            pickler, seen = collector.pickler()
            around = pickler.dump(setup.surroundings())
            collector.add(seen)
            collector.mark_early()
            key = digest_of(around)
        pickler, seen = collector.pickler()
        packed = pickler.dump(func)
        collector.add(seen)
        defined = collector.result()
    if setup is not None:
        early = (definition.key for definition in defined.definitions[: defined.early])
        key = combined([key, *early])
    return Content.of(packed, defined, around, key), defined, frozenset(modules)


def _with_content(content: Content, defined: Defined, bundle: Bundle) -> PackedFunction:
    """Return a function packed; one that needs nothing else is its own pickle."""
    if content.setup is None and not content.definitions and not content.absent:
        return _with_bundle(PackedFunction(b"", content.func), bundle)
    return _with_bundle(
        PackedFunction(b"", content.pack(), content=content, defined=defined), bundle
    )


def _with_bundle(function: PackedFunction, bundle: Bundle) -> PackedFunction:
    """Return a function with another bundle."""
    manifest, content = bundle.manifest, function.content
    digest = digest_of(function.packed) if content is None else content.digest()
    if manifest.modules or manifest.data:
        digest = combined([digest, bytes.fromhex(manifest.digest)])
    return replace(function, digest=digest, manifest=manifest.to_bytes(), bundle=bundle)


def _pack_with(func: Callable[..., Any], setup: Setup) -> PackedFunction:
    """Return a function packed with what it is to find, and what is to be done around it."""
    content, defined, _, bundle = _pack(func, setup)
    depends = setup.depends
    if depends.modules or depends.data:
        bundle = with_more(bundle, depends.modules, depends.data, depends.contents)
    facts = setup.facts(content.setup_key)
    return replace(_with_content(content, defined, bundle), setup=facts)


def grow(function: PackedFunction, seen: Seen) -> PackedFunction:
    """Return a function with what items need besides: modules, and what ``__main__`` defines."""
    if seen.names <= function.defined.names:
        return _grow_bundle(function, seen.modules)
    modules = set(seen.modules)
    collector = Collector(modules, function.defined)
    with own_modules_by_value():
        collector.add_leniently(seen)
        defined = collector.result()
    before = function.content or Content(function.packed)
    content = Content.of(before.func, defined, before.setup, before.setup_key)
    made = replace(_with_content(content, defined, function.bundle), setup=function.setup)
    return _grow_bundle(made, modules)


def _grow_bundle(function: PackedFunction, seeds: set[str]) -> PackedFunction:
    bundle = grown(function.bundle, seeds)
    return function if bundle is function.bundle else _with_bundle(function, bundle)


def renew(function: PackedFunction, seeds: Iterable[str]) -> PackedFunction:
    """Return a function whose bundle is as modules are now, and has those of these names."""
    bundle = renewed(function.bundle, seeds)
    return function if bundle is function.bundle else _with_bundle(function, bundle)


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)[:80]


def load_function(data: bytes) -> Callable[..., Any]:
    """Return the function in a pickle; the same one for the same pickle, while remembered."""
    found = _loaded.get(data)
    if found is None:
        content = load(Packed(data))
        func = content.load_func() if type(content) is Content else content
        found = _loaded[data] = (content, func)
        if len(_loaded) > LOADED:
            del _loaded[next(iter(_loaded))]
    content, func = found
    if type(content) is Content:
        content.enter()
    return func


# --- what a function's pickle depends on

_MISSING = object()  # in place of a global that is not there (a builtin, or not yet defined)


def dependencies(func: Any) -> list[Any] | None:
    """Return the objects that a function's pickle depends on, or None if it cannot be told.

    None of them can change inside: constants, code, installed modules, functions and
    classes, and the same of every function that is reached.
    """
    parts: list[Any] = []
    if type(func) is FunctionType and _is_importable(func):
        return [func]  # it travels by name, its module in the bundle
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
    """Whether a function or class goes by reference, its module by name or in the bundle."""
    if _goes_by_value(value.__module__):
        return False
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _goes_by_value(module: str | None) -> bool:
    return module is None or module == "__main__" or module in lost_modules()


@lru_cache(maxsize=1024)
def _global_names(code: CodeType) -> tuple[str, ...]:
    """Return the names that code, and code inside it, may look up as globals."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(dict.fromkeys(_global_names(constant)))
    return tuple(names)


def _functions_run(*functions: Any) -> Iterable[FunctionType]:
    """Return functions that run on the workers: these, and those by value that they refer to."""
    found: dict[int, FunctionType] = {}
    todo = list(functions)
    while todo:
        func = todo.pop()
        while type(func) is partial:
            func = func.func
        if type(func) is MethodType:
            func = func.__func__
        if type(func) is FunctionType and id(func) not in found:
            found[id(func)] = func
            if not _goes_by_value(func.__module__):
                continue  # its module is looked at
            todo += (func.__globals__.get(name) for name in _global_names(func.__code__))
            todo += (cell.cell_contents for cell in func.__closure__ or () if _has_contents(cell))
    return found.values()


def _has_contents(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
