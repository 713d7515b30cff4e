"""The origin of a module: the caller's own, Python's, or an installed distribution's.

A module is the caller's *own* if it has Python source and is neither of the standard
library nor a file that an installed distribution lists. Distributions are looked for
where the module itself lies: ``pip install --target`` puts metadata beside the files, and
a folder without any metadata (a project, a checkout, an editable install) is the
caller's. Nothing is read but the metadata of the one distribution that fits by name,
unless its name differs from its module's (PyYAML, pillow).
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

SITES = frozenset({"site-packages", "dist-packages"})
OURS = __name__.partition(".")[0]


@dataclass(frozen=True)
class Distribution:
    """An installed distribution."""

    name: str
    version: str


def facts_of(module: Any) -> dict[str, Any] | None:
    """Return a module's namespace, or None for what is no module.

    By its true type (cffi's libraries lie in ``sys.modules``, too, and claim to be
    modules), and past any ``__getattribute__``: a module that is loaded lazily stays so.
    """
    if not issubclass(type(module), ModuleType):
        return None
    facts: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return facts


def is_standard(name: str) -> bool:
    """Whether a module of this name is Python's or seppo's, and no file of the caller's.

    >>> is_standard("os.path"), is_standard("seppo.errors"), is_standard("numpy")
    (True, True, False)
    """
    top = name.partition(".")[0]
    if top in (OURS, "__main__", "__mp_main__"):
        return True
    return top in sys.stdlib_module_names and not _is_shadowed(top)


def _is_shadowed(top: str) -> bool:
    """Whether a file of the caller's is loaded under the name of a module of Python's."""
    module = sys.modules.get(top)
    file = (facts_of(module) or {}).get("__file__") if module is not None else None
    return isinstance(file, str) and _is_elsewhere(file)


@lru_cache(maxsize=1024)
def _is_elsewhere(file: str) -> bool:
    """Whether a source lies neither with Python nor in a site (which may wrap distutils)."""
    path = PurePath(file)
    if path.suffix != ".py" or not path.is_absolute() or SITES & set(path.parts):
        return False
    return not any(path.is_relative_to(place) for place in _standard())


def is_own(name: str, file: str) -> bool:
    """Whether the module of this name and file is one that the caller wrote.

    Args:
        name: Its full name.
        file: Its source, as ``__file__`` says.
    """
    if is_standard(name) or file.endswith(tuple(EXTENSION_SUFFIXES)):
        return False
    if not file.endswith((".py", ".pyc", ".pyw")) or file.startswith("<"):
        return False
    return _is_own_file(name, file)


@lru_cache(maxsize=4096)
def _is_own_file(name: str, file: str) -> bool:
    path = PurePath(file)
    if not SITES & set(path.parts) and any(path.is_relative_to(place) for place in _standard()):
        return False
    return distribution_of(name, file) is None


@lru_cache(maxsize=1)
def _standard() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    places = [paths[key] for key in ("stdlib", "platstdlib")]
    places.append(os.path.dirname(os.__file__))
    return tuple(dict.fromkeys([*places, *map(os.path.realpath, places)]))


@lru_cache(maxsize=4096)
def distribution_of(name: str, file: str) -> Distribution | None:
    """Return the distribution that installed a module; None if none did.

    Args:
        name: The module's full name.
        file: Its file.
    """
    top = name.partition(".")[0]
    path = Path(file)
    depth = name.count(".") + (path.stem == "__init__")
    if depth >= len(path.parents):
        return None
    root = path.parents[depth]
    relative = path.relative_to(root).as_posix()
    if relative.endswith(".pyc"):
        relative = relative[:-1]
    candidates = metadata_in(str(root))
    fitting = [entry for entry in candidates if _is_alike(entry.stem.partition("-")[0], top)]
    for entry in (*fitting, *(entry for entry in candidates if entry not in fitting)):
        if _lists(entry, relative, top):
            return read_distribution(entry)
    if root.name == "dist-packages" and root.parts[1:2] == ("usr",):
        return Distribution(top, "?")  # the system's package manager keeps its own lists
    return None


def _is_alike(one: str, other: str) -> bool:
    return _normal(one) == _normal(other)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


@lru_cache(maxsize=256)
def metadata_in(root: str) -> tuple[Path, ...]:
    """Return the folders of metadata that lie in a folder for ``sys.path``."""
    try:
        entries = sorted(Path(root).iterdir())
    except OSError:
        return ()
    return tuple(entry for entry in entries if entry.suffix in (".dist-info", ".egg-info"))


def _lists(metadata: Path, relative: str, top: str) -> bool:
    """Whether a distribution's metadata says that a file is its own."""
    if metadata.suffix == ".dist-info":
        # Of an editable install RECORD lists no sources, so these are the caller's.
        return f"\n{relative}," in "\n" + _text(metadata / "RECORD")
    installed = _text(metadata / "installed-files.txt")
    if installed:
        return f"\n../{relative}\n" in f"\n{installed}\n"
    # Without a list. In a project's folder it is what setuptools leaves when it builds.
    is_site = metadata.parent.name in SITES
    return is_site and top in _text(metadata / "top_level.txt").split()


@lru_cache(maxsize=512)
def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def read_distribution(metadata: Path) -> Distribution:
    """Return what a folder of metadata is of."""
    name, _, version = metadata.stem.partition("-")
    text = (_text(metadata / "METADATA") or _text(metadata / "PKG-INFO"))[:2000]
    found = re.search(r"^Name: *(\S+)", text, re.MULTILINE)
    if found:
        name = found[1]
    told = re.search(r"^Version: *(\S+)", text, re.MULTILINE)
    version = re.sub(r"-py\d.*$", "", version) or (told[1] if told else "?")
    return Distribution(name, version)


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
