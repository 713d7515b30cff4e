"""Imports of the caller's own modules in a worker process.

Python's own importer finds and executes them. Three things it cannot know are done here:

- Modules that were loaded before the caller came, by the start script say, and that are not
  what the caller has, are dropped, with all that has imported them.
- Packages that are loaded already get the folder of the modules that came later.
- Globals that the caller has set in a module are set at once where the module is loaded,
  otherwise when it is imported; and set back when they are not sent any more.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import decode_source, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from seppo.shipping import loaded
from seppo.shipping.advice import note_sent
from seppo.shipping.bytecode import candidates
from seppo.shipping.manifest import ELSEWHERE, NAMESPACE, SOURCE, Manifest, ModuleEntry

_MISSING = object()


class Modules:
    """What is imported from the bundles of one world."""

    def __init__(self) -> None:
        self._code: list[str] = []  # the newest first; only that is on sys.path
        self._known: set[str] = set()  # modules of the world
        self._dropped: set[str] = set()
        self._values = _Values()

    def lead_to(self, code: Path, manifest: Manifest) -> None:
        """Have modules imported from a folder which has all of the one before, and more."""
        new = [entry for entry in manifest.modules if entry.name not in self._known]
        self._drop_stale(new)
        self._known.update(entry.name for entry in new)
        if self._code[:1] == [str(code)]:
            self._look_again(str(code))
            return
        for old in self._code[:1]:
            if old in sys.path:
                sys.path.remove(old)
        self._code.insert(0, str(code))
        sys.path.insert(0, str(code))
        for entry in manifest.modules:
            if entry.is_package:
                self._extend(entry, code)
        self._values.elsewhere.update(e.name for e in new if e.kind == ELSEWHERE)
        self._values.code = self._code
        note_sent({entry.name: f"{code}/{entry.path}" for entry in manifest.modules})
        for entry in new:
            if entry.kind == SOURCE:  # for functions of it that travel by value
                text = partial(_source, code / entry.path)
                linecache.cache.setdefault(entry.origin, (text,))

    def _look_again(self, code: str) -> None:
        """Have Python list a folder anew, some of whose files were put back."""
        # Not importlib.invalidate_caches(): then every folder of sys.path is listed again.
        for path in [path for path in sys.path_importer_cache if path.startswith(code)]:
            del sys.path_importer_cache[path]

    def set_values(self, entries: Iterable[ModuleEntry]) -> None:
        """Set the globals that the caller has set, and set back those that it has not."""
        self._values.apply(entries)

    def _extend(self, entry: ModuleEntry, code: Path) -> None:
        """Have a package that is loaded find its modules in the folder."""
        place = str(code / (entry.path if entry.kind == NAMESPACE else os.path.dirname(entry.path)))
        module = sys.modules.get(entry.name)
        if module is None and entry.kind == NAMESPACE and "." not in entry.name:
            spec = PathFinder.find_spec(entry.name)
            if spec is not None and spec.origin is not None:
                # A package with a file lies further back on sys.path, and would win.
                spec = ModuleSpec(entry.name, None, is_package=True)
                spec.submodule_search_locations = [place]
                sys.modules[entry.name] = module_from_spec(spec)
            return
        path = getattr(module, "__path__", None)
        if type(path) is list:
            own = os.path.dirname(str(getattr(module, "__file__", None) or ""))
            ours = tuple(f"{code}{os.sep}" for code in self._code)
            kept = [other for other in path if other != own and not other.startswith(ours)]
            path[:] = [place, *kept]

    # --- modules that were loaded before

    def _drop_stale(self, entries: list[ModuleEntry]) -> None:
        present = {e.name: e for e in entries if e.name in sys.modules and e.kind != ELSEWHERE}
        if not present:
            return
        sources = {name: self._source_of(entry) for name, entry in present.items()}
        dropped = {name for name, source in sources.items() if source is None}
        found = len(dropped) if dropped or self._dropped else 0
        while found:
            gone = dropped | self._dropped
            more = {
                name
                for name, source in sources.items()
                if source is not None and name not in dropped and _uses(present[name], source, gone)
            }
            dropped |= more
            found = len(more)
        self._dropped |= dropped
        for name in list(sys.modules):
            if any(name == old or name.startswith(f"{old}.") for old in dropped):
                _forget(name)

    @staticmethod
    def _source_of(entry: ModuleEntry) -> bytes | None:
        """Return the source of a loaded module if it is the caller's; None if it is not."""
        module = sys.modules[entry.name]
        file = getattr(module, "__file__", None)
        if entry.kind == NAMESPACE:
            return b"" if file is None and hasattr(module, "__path__") else None
        try:
            # Of the process that has loaded it: this one, or the one that has forked it.
            began = loaded.PROCESS_BEGAN
            if entry.kind != SOURCE or os.stat(file or "").st_ctime_ns >= began:
                return None  # the file may have changed since it was loaded
            source = Path(str(file)).read_bytes()
        except OSError:
            return None
        return source if hashlib.sha256(source).hexdigest() == entry.digest else None


def _uses(entry: ModuleEntry, source: bytes, gone: set[str]) -> bool:
    """Whether a module has imported one of those that are gone, or lies in one."""
    if any(entry.name.startswith(f"{name}.") for name in gone):
        return True
    package = entry.name if entry.is_package else entry.name.rpartition(".")[0]
    try:
        imported = candidates(compile(source, entry.origin, "exec", dont_inherit=True), package)
    except (SyntaxError, ValueError):
        return True
    return any(name in gone or name.rpartition(".")[0] in gone for name in imported)


def _forget(name: str) -> None:
    """Have a module imported anew; its package forgets it, too."""
    module = sys.modules.pop(name, None)
    parent, _, child = name.rpartition(".")
    facts = vars(sys.modules[parent]) if isinstance(sys.modules.get(parent), ModuleType) else {}
    if facts.get(child) is module:
        del facts[child]


def _source(path: Path) -> str:
    try:
        return decode_source(path.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return ""


# --- what Python's importer needs help with


class _Values(MetaPathFinder):
    """Sets globals of modules, at once or as soon as the module is loaded.

    As a finder it answers for modules with such globals, and for extension modules inside the
    caller's packages: these are not sent, and this machine's are taken. It asks the other
    finders where they are.
    """

    def __init__(self) -> None:
        self.elsewhere: set[str] = set()
        self.code: list[str] = []
        self._wanted: dict[str, dict[str, str]] = {}
        self._before: dict[str, dict[str, Any]] = {}

    def apply(self, entries: Iterable[ModuleEntry]) -> None:
        """Set the globals that these modules are sent with, and set back all others."""
        for entry in entries:
            if entry.values or entry.name in self._wanted:
                self._change(entry.name, dict(entry.values))
        is_needed = bool(self._wanted or self.elsewhere)
        if is_needed and self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        elif not is_needed and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _change(self, name: str, wanted: dict[str, str]) -> None:
        current = self._wanted.pop(name, {})
        if wanted:
            self._wanted[name] = wanted
        module = sys.modules.get(name)
        if module is None:
            return  # they are set when it is imported
        before = self._before.setdefault(name, {})
        for key in current.keys() - wanted.keys():
            _put(module, key, before.pop(key, _MISSING))
        for key, value in wanted.items():
            if current.get(key) != value:
                before.setdefault(key, vars(module).get(key, _MISSING))
                _put(module, key, pickle.loads(bytes.fromhex(value)))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a module of which something is to be set, or this machine's extension."""
        if fullname in self.elsewhere:
            return self._find_elsewhere(fullname)
        if fullname not in self._wanted:
            return None
        spec = self._ask_others(fullname, path)
        if spec is not None and spec.loader is not None:
            execute = partial(self._execute, spec.loader.exec_module)
            spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec

    def _execute(self, execute: Callable[[ModuleType], object], module: ModuleType) -> None:
        execute(module)
        before = self._before[module.__name__] = {}
        for key, value in self._wanted.get(module.__name__, {}).items():
            before[key] = vars(module).get(key, _MISSING)
            _put(module, key, pickle.loads(bytes.fromhex(value)))

    def _find_elsewhere(self, name: str) -> ModuleSpec | None:
        path: Sequence[str] | None = [place for place in sys.path if place not in self.code]
        spec = None
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            if path is None:
                return None
            spec = self._ask_others(".".join(parts[:n]), path)
            path = spec.submodule_search_locations if spec is not None else None
        return spec

    def _ask_others(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            if finder is not self:
                found = finder.find_spec(name, path)
                if found is not None:
                    return found
        return None


def _put(module: ModuleType, name: str, value: Any) -> None:
    if value is _MISSING:
        vars(module).pop(name, None)
    else:
        vars(module)[name] = value
