"""Depends: the modules, files and objects that ``depends=`` names, sorted out."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from types import FunctionType, ModuleType
from typing import Any

from seppo.errors import ConfigurationError
from seppo.shipping.capture import capture
from seppo.shipping.manifest import DataEntry, ModuleEntry
from seppo.shipping.origin import facts_of, is_standard

PIECE = 1 << 20  # bytes that are read at a time for hashing
SMALL = 1 << 20  # bytes; larger files are read again when they are sent

Contents = dict[str, "bytes | Callable[[], bytes]"]


@dataclass(frozen=True, eq=False)
class Depends:
    """What ``depends=`` names, sorted out.

    Attributes:
        seeds: Names of modules that travel with what they import.
        modules: Modules that travel though they would not by themselves.
        data: Files and folders.
        contents: Their contents by digest.
        names: Objects that the function finds as globals, by name.
        paths: The caller's paths of the data, by the names they are found under.
    """

    seeds: frozenset[str] = frozenset()
    modules: tuple[ModuleEntry, ...] = ()
    data: tuple[DataEntry, ...] = ()
    contents: Contents = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, depends: Iterable[Any]) -> Depends:
        """Return what the caller's list means.

        Raises:
            ConfigurationError: If an element is nothing that can travel.
            OSError: If a file cannot be read.
        """
        made = _Sorter()
        for element in depends:
            made.add(element)
        return cls(
            frozenset(made.seeds),
            tuple(made.modules),
            (*made.data, *made.folders()),
            made.contents,
            made.names,
            made.paths,
        )


class _Sorter:
    def __init__(self) -> None:
        self.seeds: set[str] = set()
        self.modules: list[ModuleEntry] = []
        self.data: list[DataEntry] = []
        self._names_in: dict[tuple[str, str], set[str]] = {}  # by the folder's package and path
        self.contents: Contents = {}
        self.names: dict[str, Any] = {}
        self.paths: dict[str, Path] = {}

    def add(self, element: Any) -> None:
        if facts_of(element) is not None:
            self._add_module(element)
        elif isinstance(element, (str, os.PathLike)):
            self._add_path(Path(element))
        elif isinstance(element, (type, FunctionType)) or callable(element):
            name = getattr(element, "__name__", None)
            if not isinstance(name, str) or not name.isidentifier():
                raise _refusal(element, "a function or class with a name is needed")
            self.names[name] = element
        else:
            raise _refusal(
                element, "choose modules, functions, classes, or paths of files and directories"
            )

    def folders(self) -> Iterator[DataEntry]:
        """Give the folders, each under a digest of the names in it."""
        for (package, path), names in self._names_in.items():
            digest = hashlib.sha256("\0".join(sorted(names)).encode(errors="surrogateescape"))
            yield DataEntry(path, digest.hexdigest(), 0, package=package, is_folder=True)

    def _add_module(self, module: ModuleType) -> None:
        name = module.__name__
        self.names[name.partition(".")[0]] = sys.modules.get(name.partition(".")[0], module)
        if name == "__main__" or is_standard(name):
            return
        file = getattr(module, "__file__", None)
        paths = list(getattr(module, "__path__", ()))
        if capture(name) is not None:  # the caller's own
            self.seeds.add(name)
        elif isinstance(file, str) and file.endswith(".py"):
            self._force(name, Path(file), bool(paths))
        elif not paths:
            raise _refusal(module, "it has no source; install it on the workers")
        for place in paths:
            self._add_tree(name, Path(place))

    def _force(self, name: str, file: Path, is_package: bool) -> None:
        """Have the module of an installed distribution travel."""
        for parent, _, _ in _parents(name):
            above = sys.modules.get(parent)
            path = getattr(above, "__file__", None)
            if isinstance(path, str) and path.endswith(".py"):
                self._add_source(parent, Path(path), True)
        self._add_source(name, file, is_package)

    def _add_source(self, name: str, file: Path, is_package: bool) -> None:
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        if all(entry.name != name for entry in self.modules):
            self.modules.append(
                ModuleEntry(
                    name,
                    is_package=is_package,
                    digest=digest,
                    size=len(content),
                    origin=str(file),
                )
            )

    def _add_tree(self, package: str, root: Path) -> None:
        """Have all modules of a package travel, and its data files."""
        for file in self._walk(root, "", package):
            relative = file.relative_to(root)
            if file.suffix == ".py":
                parts = [package, *relative.with_suffix("").parts]
                if parts[-1] == "__init__":
                    parts.pop()
                name = ".".join(parts)
                if capture(name) is not None:
                    self.seeds.add(name)
                elif all(part.isidentifier() for part in relative.with_suffix("").parts):
                    self._add_source(name, file, relative.name == "__init__.py")
            else:
                self._add_file(file, relative.as_posix(), package)

    def _add_path(self, path: Path) -> None:
        path = path.absolute()
        if not path.exists():
            raise _refusal(str(path), "there is no such file or directory")
        if not (path.is_dir() or path.is_file()):  # to open a pipe would wait for its writer
            raise _refusal(str(path), "it is neither a file nor a directory")
        name = path.resolve().name if path.name in ("", "..") else path.name
        if self.paths.get(name, path) != path:
            raise _refusal(str(path), f"{self.paths[name]} has the same name")
        self.paths[name] = path
        if not path.is_dir():
            self._add_file(path, name)
            if path.suffix == ".py" and path.stem.isidentifier():
                self._add_source(path.stem, path, False)
            return
        for file in self._walk(path, name):
            self._add_file(file, f"{name}/{file.relative_to(path).as_posix()}")

    def _walk(self, root: Path, path: str, package: str = "") -> Iterator[Path]:
        """Give the files of a directory tree, and note its folders.

        Caches, links to directories and what is hidden do not travel, nor what is compiled for
        this machine beside the modules of a package.
        """
        for folder, folders, names in os.walk(root):
            at = Path(folder)
            folders[:] = sorted(
                name
                for name in folders
                if name != "__pycache__" and name[0] != "." and not (at / name).is_symlink()
            )
            names = sorted(
                name
                for name in names
                if name[0] != "."
                and not (package and name.endswith((".pyc", ".so", ".pyd")))
                and (at / name).is_file()
            )
            place = PurePosixPath(path, at.relative_to(root).as_posix()).as_posix()
            key = package, "" if place == "." else place
            self._names_in.setdefault(key, set()).update(folders, names)
            yield from (at / name for name in names)

    def _add_file(self, file: Path, path: str, package: str = "") -> None:
        digest, size = _hash(file)
        self.contents[digest] = partial(_read, file, digest) if size > SMALL else file.read_bytes()
        self.data.append(DataEntry(path, digest, size, os.access(file, os.X_OK), package))


def _refusal(element: Any, advice: str) -> ConfigurationError:
    text = element if isinstance(element, str) else repr(element)
    return ConfigurationError("depends", text[:200], advice)


def _parents(name: str) -> Iterator[tuple[str, str, str]]:
    parts = name.split(".")
    for n in range(1, len(parts)):
        yield ".".join(parts[:n]), ".", parts[n]


_hashes: dict[str, tuple[tuple[int, int, int], str]] = {}


def _hash(file: Path) -> tuple[str, int]:
    """Return the digest and size of a file; read again only when it has changed."""
    found = file.stat()
    stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
    known = _hashes.get(str(file))
    if known is None or known[0] != stamp:
        whole = hashlib.sha256()
        with open(file, "rb") as stream:
            while piece := stream.read(PIECE):
                whole.update(piece)
        known = _hashes[str(file)] = (stamp, whole.hexdigest())
    return known[1], found.st_size


def _read(file: Path, digest: str) -> bytes:
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise OSError(f"{file} has changed since the map began")
    return content
