"""Importing the modules of a bundle under their own names, one bundle at a time.

A ``ModuleSet`` is what one bundle has become in a worker: its modules with their state.
While it is *entered* its modules are in ``sys.modules``, and a finder of ours stands at
the head of ``sys.meta_path``; when another one is entered they are taken out, and kept.
So two versions of a module never meet: whatever runs, and whatever is pickled or
unpickled, sees the modules of one bundle. Changing over costs a walk through
``sys.modules``; staying costs nothing.

Modules of this process's own that have the same names (or lie in a package of the same
name) are put aside meanwhile. Those of installed distributions are shared by all.

The limit: a thread that user code has started, and that imports after its bundle was left,
finds another bundle's modules, or none.
"""

from __future__ import annotations

import gc
import importlib.util
import linecache
import marshal
import os
import pickle
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from seppo.payload.manifest import CODE, ELSEWHERE, NAMESPACE, Manifest, ModuleEntry

_entered: ModuleSet | None = None
_cache: dict[bytes, Any] = {}  # of functions loaded while no bundle is entered

CODE_FOLDER, WORK_FOLDER = "code", "work"


class ModuleSet:
    """The modules of one bundle, with their state.

    Args:
        manifest: What the bundle consists of.
        folder: Where its files lie: modules under ``code``, data under ``work``.

    Attributes:
        manifest: The newest manifest, if the bundle has grown.
        cache: For whatever was loaded from the set and must go with it.
    """

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self.manifest = manifest
        self.folder = folder
        self.cache: dict[bytes, Any] = {}
        self._entries: dict[str, ModuleEntry] = {}
        self._plain: set[str] = set()  # names whose submodules are all the bundle's
        self._finder = _Finder(self)
        self._modules: dict[str, ModuleType] = {}  # while it is not entered
        self._hidden: dict[str, ModuleType] = {}  # while it is
        self._lines: dict[str, Any] = {}  # sources for tracebacks, by file name
        self._back: str | None = None  # the working directory to return to
        self.extend(manifest)

    def extend(self, manifest: Manifest) -> None:
        """Take what a grown bundle has besides."""
        self.manifest = manifest
        self._entries.update({entry.name: entry for entry in manifest.modules})
        self._plain = {
            entry.name
            for entry in self._entries.values()
            if entry.kind not in (NAMESPACE, ELSEWHERE)
        }
        if _entered is self:
            self._hide()

    @property
    def work(self) -> Path:
        """The working directory of a bundle with data."""
        return self.folder / WORK_FOLDER

    def entry(self, name: str) -> ModuleEntry | None:
        """Return what the bundle says of a module."""
        return self._entries.get(name)

    def path_of(self, entry: ModuleEntry) -> Path:
        """Return where a module's file lies."""
        return self.folder / CODE_FOLDER / module_path(entry)

    def _belongs(self, name: str) -> bool:
        entry = self._entries.get(name)
        if entry is not None:
            return entry.kind != ELSEWHERE
        while name:
            name = name.rpartition(".")[0]
            if name in self._plain:
                return True
        return False

    def _take_out(self) -> dict[str, ModuleType]:
        tops = {name.partition(".")[0] for name in self._entries}
        names = [name for name in list(sys.modules) if name.partition(".")[0] in tops]
        return {name: sys.modules.pop(name) for name in names if self._belongs(name)}

    def _hide(self) -> None:
        for name, module in self._take_out().items():
            loader = getattr(getattr(module, "__spec__", None), "loader", None)
            if isinstance(loader, (BundleLoader, _NamespaceLoader)) and loader.owner is self:
                sys.modules[name] = module
            else:
                self._hidden[name] = module

    def enter(self) -> None:
        """Make the set's modules the ones that are imported."""
        self._hide()
        sys.modules.update(self._modules)
        self._modules = {}
        sys.meta_path.insert(0, self._finder)
        # For processes that user code starts: multiprocessing hands this path on.
        sys.path.append(str(self.folder / CODE_FOLDER))
        linecache.cache.update(self._lines)
        if self.manifest.data and self.work.is_dir():
            try:
                self._back = os.getcwd()
            except OSError:
                self._back = "/"
            os.chdir(self.work)

    def leave(self) -> None:
        """Take the set's modules out again, and keep them."""
        self._modules = self._take_out()
        sys.modules.update(self._hidden)
        self._hidden = {}
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        if str(self.folder / CODE_FOLDER) in sys.path:
            sys.path.remove(str(self.folder / CODE_FOLDER))
        for name in self._lines:
            linecache.cache.pop(name, None)
        if self._back is not None:
            try:
                os.chdir(self._back)
            except OSError:
                os.chdir("/")
            self._back = None

    def forget(self) -> None:
        """Let go of the modules; the set must not be entered."""
        self.cache.clear()
        self._modules.clear()
        self._lines.clear()
        prefix = str(self.folder)
        for path in [path for path in sys.path_importer_cache if path.startswith(prefix)]:
            del sys.path_importer_cache[path]
        gc.collect()  # functions and their modules refer to each other

    def remember_lines(self, filename: str, source: str) -> None:
        """Have tracebacks show the source that runs, wherever it comes from."""
        lines = source.splitlines(keepends=True)
        entry = (len(source), None, lines, filename)
        self._lines[filename] = linecache.cache[filename] = entry


def enter(modules: ModuleSet | None) -> None:
    """Enter a set, and leave the one before; None for no set. In the main thread."""
    global _entered
    if _entered is modules:
        return
    if _entered is not None:
        _entered.leave()
        _entered = None
    if modules is not None:
        modules.enter()
        _entered = modules


def entered() -> ModuleSet | None:
    """Return the set that is entered."""
    return _entered


def cache() -> dict[bytes, Any]:
    """Return a dict that lives as long as the modules that are imported now."""
    return _entered.cache if _entered is not None else _cache


def module_path(entry: ModuleEntry) -> Path:
    """Return where a module's file lies in a bundle's code folder.

    >>> module_path(ModuleEntry("a.b", is_package=True)).as_posix()
    'a/b/__init__.py'
    """
    path = Path(*entry.name.split("."))
    suffix = ".pyc" if entry.kind == CODE else ".py"
    return path / f"__init__{suffix}" if entry.is_package else path.with_name(path.name + suffix)


class _Finder(MetaPathFinder):
    """Finds the modules of one set."""

    def __init__(self, owner: ModuleSet) -> None:
        self._owner = owner

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        entry = self._owner.entry(fullname)
        if entry is None:
            return None
        if entry.kind == ELSEWHERE:
            return self._find_elsewhere(fullname)
        file = self._owner.path_of(entry)
        if entry.kind == NAMESPACE:
            return self._namespace(fullname, path, file)
        loader = BundleLoader(self._owner, entry, str(file))
        places = [str(file.parent)] if entry.is_package else None
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=places
        )

    def _namespace(self, name: str, path: Sequence[str] | None, file: Path) -> ModuleSpec:
        places = [str(file.with_suffix(""))]
        elsewhere = self._ask_others(name, path)
        if elsewhere is not None:  # parts of it may be installed here
            places += elsewhere.submodule_search_locations or []
        spec = ModuleSpec(name, _NamespaceLoader(self._owner), is_package=True)
        spec.submodule_search_locations = places
        return spec

    def _find_elsewhere(self, name: str) -> ModuleSpec | None:
        """Return a module of this process's own, past the bundle."""
        path: Any = None
        spec = None
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            spec = self._ask_others(".".join(parts[:n]), path)
            path = spec.submodule_search_locations if spec is not None else None
            if path is None and n < len(parts):
                return None
        return spec

    def _ask_others(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            if finder is not self:
                found = finder.find_spec(name, path)
                if found is not None:
                    return found
        return None


class BundleLoader(SourceFileLoader):
    """Makes a module of its file in a bundle, as if it lay where it comes from."""

    def __init__(self, owner: ModuleSet, entry: ModuleEntry, path: str) -> None:
        super().__init__(entry.name, path)
        self.owner = owner
        self.entry = entry

    def get_code(self, fullname: str) -> CodeType:
        """Return the code; its file name is the caller's, for tracebacks."""
        data = self.get_data(self.path)
        if self.entry.kind == CODE:
            code: CodeType = marshal.loads(data)
            return code
        self.owner.remember_lines(self.entry.origin, importlib.util.decode_source(data))
        compiled: CodeType = compile(data, self.entry.origin, "exec", dont_inherit=True)
        return compiled

    def get_source(self, fullname: str) -> str | None:
        """Return the source, if it is known."""
        return None if self.entry.kind == CODE else super().get_source(fullname)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, and set what the caller has set since its import."""
        super().exec_module(module)
        for name, value in self.entry.values:
            module.__dict__[name] = pickle.loads(bytes.fromhex(value))


class _NamespaceLoader(Loader):
    """Makes a package without a file."""

    def __init__(self, owner: ModuleSet) -> None:
        self.owner = owner

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # Parts that are installed here may be imported already; they stay.
        prefix = f"{module.__name__}."
        for name, child in list(sys.modules.items()):
            if name.startswith(prefix) and "." not in name[len(prefix) :]:
                setattr(module, name[len(prefix) :], child)

    def is_package(self, fullname: str) -> bool:
        return True

    def get_source(self, fullname: str) -> str:
        return ""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile("", "<namespace>", "exec")
        return code
