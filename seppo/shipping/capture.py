"""The captured code of the caller's modules, read once and remembered.

The source of a module is read when the module is first needed. Later edits of the file
change nothing until the module is loaded again, which shows by its ``__spec__``, replaced at
each import and reload. An unchanged module costs one ``stat`` a map. What was loaded, where
the file has been edited before it is first needed, is found in ``shipping.loaded``.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from seppo.forks import renew_in_children
from seppo.shipping.bytecode import candidates
from seppo.shipping.loaded import code_of, edited_text, read_loaded
from seppo.shipping.manifest import ELSEWHERE, NAMESPACE, SOURCE, ModuleEntry
from seppo.shipping.origin import facts_of, find_quietly, is_own, is_standard
from seppo.shipping.state import State

LOOK_SECONDS = 0.002  # seconds in which a file is not looked at again: many calls in a row


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
renew_in_children(globals(), "_lock", threading.RLock)
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
    facts: dict[str, Any] = {"__loader__": spec.loader}
    if spec.submodule_search_locations is not None:
        facts["__path__"] = spec.submodule_search_locations
    return _remember(name, None, None, facts, spec.origin)


def _is_own_namespace(locations: Any, name: str) -> bool:
    """Whether a package without a file has a place outside of Python's own and the sites'."""
    return any(is_own(name, os.path.join(place, "__init__.py")) for place in locations)


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
        _untold.append(edited_text(name, known.path))


def _remember(
    name: str, module: ModuleType | None, spec: ModuleSpec | None, facts: dict[str, Any], file: str
) -> Captured | None:
    stamp = _stamp(file)
    content, kind, warning = read_loaded(name, module, facts, file)
    if content is None:
        if module is not None:
            _lost.add(name)
        return None
    _lost.discard(name)
    is_package = "__path__" in facts
    code = code_of(content, kind, file, str(facts.get("__cached__") or ""))
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
