"""The code of modules as the caller has loaded it, which is not always what lies on disk.

Python does not keep the source that it has loaded. So it is read when a module is first
needed, and remembered: later edits of the file change nothing until the module is loaded
again, which shows by its ``__spec__``, replaced at each import and reload. An unchanged
module costs one ``stat`` a map.

When a module is first needed, its file may have been edited already. Then:

- A file whose inode has not changed since this process began is what was loaded.
- Otherwise the source is compiled and compared with the functions that the module has. If
  they agree, and the bytecode cache does not say that an older version was imported, the
  source is what was loaded.
- Otherwise the bytecode cache is, if it agrees with the functions: it travels instead of the
  source, and a warning says that the file has changed.
- Otherwise what was loaded is lost. The file travels as it is, and the warning says so.

The limit: an edit of nothing but module-level statements, between the import and the first
map, in a process that writes no bytecode caches, is not noticed and travels.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from seppo.shipping.bytecode import candidates
from seppo.shipping.manifest import CODE, ELSEWHERE, NAMESPACE, SOURCE, ModuleEntry
from seppo.shipping.origin import facts_of, is_own, is_standard
from seppo.shipping.state import State

LOOK_SECONDS = 0.002  # seconds in which a file is not looked at again: many calls in a row

HEADER = 16  # bytes before the code in a file of bytecode


def _process_began() -> int:
    """Return when this process began, in nanoseconds of the file system's clock; 0: unknown."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return 0  # then every source is compared
    # File systems stamp with a coarse clock, a few milliseconds behind.
    return time.time_ns() - int(age * 1e9) - 20_000_000


PROCESS_BEGAN = _process_began()


@dataclass(frozen=True)
class Captured:
    """A module with its code.

    Attributes:
        entry: What the bundle says of it.
        content: Its file; empty for none.
        imports: Full names of what it may import.
        state: What its own code does with its globals, and what others have done.
    """

    entry: ModuleEntry
    content: bytes = b""
    imports: tuple[str, ...] = ()
    state: State | None = None


@dataclass
class _Remembered:
    """What was captured, and of what: the module, its spec, and its file as it was."""

    captured: Captured
    module: ModuleType | None
    spec: ModuleSpec | None
    path: str
    stamp: tuple[int, int] | None
    facts: dict[str, Any] | None  # the module's namespace
    looked_at: float = 0.0  # when its file was looked at last
    told: bytes | None = None  # the content of the file that the caller was warned of


_memory: dict[str, _Remembered] = {}
_lock = threading.RLock()  # callers' threads and the driver's
_untold: list[str] = []  # what the caller should know
_lost: set[str] = {"__mp_main__"}  # own modules whose source is not to be had


def take_warnings() -> list[str]:
    """Return what the caller should know and was not told."""
    with _lock:
        told = _untold[:]
        _untold.clear()
    return told


def lost_modules() -> set[str]:
    """Return the names of own modules that were needed and whose source cannot be had.

    The main module of a process that multiprocessing has spawned counts as one, always.
    """
    return _lost


def capture(name: str) -> Captured | None:
    """Return a module of the caller's own; None for any other, and for what is no module.

    Args:
        name: Its full name. It need not be loaded: then it is looked for, never imported.
    """
    module: Any = sys.modules.get(name)
    known = _memory.get(name)
    if known is not None and known.module is module:
        found = _recall(name, known)
        if found is not None:
            return found
    if is_standard(name):
        return None
    facts = facts_of(module) if module is not None else None
    if module is not None and facts is None:
        return None
    with _lock:
        if facts is None:
            return _capture_unloaded(name)
        return _capture_loaded(name, module, facts)


def _with_values(captured: Captured) -> Captured:
    """Return a module with the globals that were set from outside since it was loaded."""
    values = captured.state.values() if captured.state is not None else ()
    if not values:
        return captured
    return replace(captured, entry=replace(captured.entry, values=values))


def _recall(name: str, known: _Remembered) -> Captured | None:
    """Return what was captured, if it still is what is loaded, or would be."""
    now = time.monotonic()
    is_recent = now - known.looked_at < LOOK_SECONDS
    if known.facts is None:  # it was not loaded: then the file counts
        is_same = is_recent or known.stamp == _stamp(known.path)
    else:
        is_same = known.facts.get("__spec__") is known.spec
    if not is_same:
        return None
    if not is_recent:
        known.looked_at = now
        if known.facts is not None and _stamp(known.path) != known.stamp:
            with _lock:
                _look_again(name, known)
    if known.facts is not None:
        return _with_values(known.captured)
    return known.captured


def _capture_loaded(name: str, module: ModuleType, facts: dict[str, Any]) -> Captured | None:
    spec = facts.get("__spec__")
    file = facts.get("__file__")
    if file is None and "__path__" in facts:
        entry = ModuleEntry(name, NAMESPACE, is_package=True)
        return Captured(entry) if _is_own_namespace(facts["__path__"], name) else None
    if not isinstance(file, str):
        return None
    if file.endswith(tuple(EXTENSION_SUFFIXES)):
        return Captured(ModuleEntry(name, ELSEWHERE)) if "." in name else None
    if not is_own(name, file):
        return None
    return _remember(name, module, spec, facts, file)


def _capture_unloaded(name: str) -> Captured | None:
    spec = find_quietly(name)
    if spec is None:
        return None
    if spec.origin is None or not spec.has_location:
        locations = spec.submodule_search_locations
        if locations is None or not _is_own_namespace(locations, name):
            return None
        return Captured(ModuleEntry(name, NAMESPACE, is_package=True))
    if spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
        return Captured(ModuleEntry(name, ELSEWHERE)) if "." in name else None
    if not is_own(name, spec.origin):
        return None
    facts = {"__loader__": spec.loader}
    if spec.submodule_search_locations is not None:
        facts["__path__"] = spec.submodule_search_locations  # type: ignore[assignment]
    return _remember(name, None, None, facts, spec.origin)


def _is_own_namespace(locations: Any, name: str) -> bool:
    """Whether a package without a file has a place outside of Python's own and the sites'."""
    return any(is_own(name, os.path.join(place, "__init__.py")) for place in locations)


def find_quietly(name: str) -> ModuleSpec | None:
    """Return where a module would be found, without importing anything, its parents neither."""
    parent, _, _ = name.rpartition(".")
    path = None
    if parent:
        loaded = sys.modules.get(parent)
        if loaded is not None:
            path = (facts_of(loaded) or {}).get("__path__")
        else:
            spec = find_quietly(parent)
            path = spec.submodule_search_locations if spec is not None else None
        if path is None:
            return None
    for finder in list(sys.meta_path):
        try:
            found = finder.find_spec(name, path)
        except Exception:  # whatever finders there are
            continue
        if found is not None:
            return found
    return None


# --- reading


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _look_again(name: str, known: _Remembered) -> None:
    """Notice that the file of a loaded module has changed, once for each change."""
    stamp = _stamp(known.path)
    if stamp == known.stamp:
        return
    known.stamp = stamp
    if known.captured.entry.kind != SOURCE or stamp is None:
        return
    try:
        content = Path(known.path).read_bytes()
    except OSError:
        return
    if content not in (known.captured.content, known.told):
        known.told = content
        _untold.append(_edited(name, known.path))


def _remember(
    name: str, module: ModuleType | None, spec: ModuleSpec | None, facts: dict[str, Any], file: str
) -> Captured | None:
    stamp = _stamp(file)
    content, kind, warning = _read(name, module, facts, file)
    if content is None:
        if module is not None:
            _lost.add(name)
        return None
    _lost.discard(name)
    is_package = "__path__" in facts
    code = _code(content, kind, file, str(facts.get("__cached__") or ""))
    package = name if is_package else name.rpartition(".")[0]
    entry = ModuleEntry(
        name, kind, is_package, hashlib.sha256(content).hexdigest(), len(content), file
    )
    captured = Captured(
        entry,
        content,
        candidates(code, package) if code is not None else (),
        State(name, code, facts if module is not None else None) if code is not None else None,
    )
    if warning:
        _untold.append(warning)
    known = _Remembered(captured, module, spec, file, stamp, facts if module is not None else None)
    _memory[name] = known
    return _with_values(captured)


def _read(
    name: str, module: ModuleType | None, facts: dict[str, Any], file: str
) -> tuple[bytes | None, str, str]:
    """Return a module's content, its kind, and what the caller should know."""
    loader = facts.get("__loader__")
    if file.endswith(".pyc"):
        code = _cached_code(file)[0]
        return (_as_file(code) if code is not None else None), CODE, ""
    try:
        with open(file, "rb") as source:
            changed = os.fstat(source.fileno()).st_ctime_ns
            content = source.read()
    except OSError:
        return _from_loader(name, loader), SOURCE, ""
    if module is None or type(loader) is not SourceFileLoader or changed < PROCESS_BEGAN:
        return content, SOURCE, ""
    try:
        agrees = _agrees(facts, compile(content, file, "exec", dont_inherit=True))
    except (SyntaxError, ValueError):  # half saved
        agrees = False
    cached, is_current = _cached_code(str(facts.get("__cached__") or ""), file)
    if cached is not None and (is_current or not _agrees(facts, cached)):
        cached = None
    if cached is not None and not (agrees and sys.dont_write_bytecode):
        return _as_file(cached), CODE, _edited(name, file)
    if agrees:
        return content, SOURCE, ""
    lost = _edited(name, file).partition(";")[0]
    return content, SOURCE, f"{lost}, and what was loaded is lost: the workers run the file"


def _edited(name: str, file: str) -> str:
    return (
        f"{file} has changed since module {name!r} was loaded; the workers run what was "
        "loaded, as this process does, until it is loaded again"
    )


def _from_loader(name: str, loader: Any) -> bytes | None:
    """Return the source of a module that is not a plain file, say in a zip archive."""
    try:
        source = loader.get_source(name)
    except Exception:  # whatever loaders there are
        return None
    return source.encode() if isinstance(source, str) else None


def _as_file(code: CodeType) -> bytes:
    """Return code as a file that Python imports without its source."""
    return importlib.util.MAGIC_NUMBER + bytes(HEADER - 4) + marshal.dumps(code)


def _code(content: bytes, kind: str, file: str, cache: str) -> CodeType | None:
    if kind == CODE:
        code = marshal.loads(content[HEADER:])
        return code if isinstance(code, CodeType) else None
    cached, is_current = _cached_code(cache, file) if cache else (None, False)
    if is_current:
        return cached  # quicker than to compile it
    try:
        return compile(content, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def _cached_code(path: str, source: str = "") -> tuple[CodeType | None, bool]:
    """Return the code in a bytecode cache, and whether it is of the source as it is now."""
    try:
        data = Path(path).read_bytes()
        if data[:4] != importlib.util.MAGIC_NUMBER:
            return None, False
        code = marshal.loads(data[HEADER:])
        if not isinstance(code, CodeType):
            return None, False
        if not source:
            return code, True
        if int.from_bytes(data[4:8], "little"):  # it goes by a hash, not by time
            hashed = importlib.util.source_hash(Path(source).read_bytes())
            return code, data[8:16] == hashed
        now = os.stat(source)
    except (OSError, EOFError, ValueError, TypeError):
        return None, False
    mtime, size = int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF
    return code, data[8:16] == mtime.to_bytes(4, "little") + size.to_bytes(4, "little")


def _agrees(facts: dict[str, Any], code: CodeType) -> bool:
    """Whether a module's functions are those that a piece of code would make."""
    made = set(_nested(code))
    return all(loaded in made for loaded in _loaded_codes(facts, code.co_filename))


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _loaded_codes(facts: dict[str, Any], filename: str) -> Iterator[CodeType]:
    for value in list(facts.values()):
        found = [value]
        # By true types throughout: many an object does something when it is looked at.
        if issubclass(type(value), type) and value.__module__ == facts.get("__name__"):
            found = list(vars(value).values())
        for function in found:
            if type(function) in (staticmethod, classmethod):
                function = function.__func__
            if type(function) is property:
                function = function.fget
            if (
                type(function) is FunctionType
                and function.__globals__ is facts
                and function.__code__.co_filename in (filename, facts.get("__file__"))
            ):
                yield function.__code__


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # another thread may have held it
