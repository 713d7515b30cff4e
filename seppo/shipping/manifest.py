"""The manifest of a bundle of code: plain values that travel ahead of the files.

Its ``files_digest`` names the bundle's folder: it depends on every name and on the content of
every file. A worker that has the files asks for none. Globals that a script has set in its
modules are no part of it: they are set in place, and change from map to map. So a manifest
travels as two lines: the files, which a worker that has seen them does not read again, and
what changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from seppo.errors import ProtocolError

# Kinds of modules.
SOURCE = "source"  # the file is Python source
CODE = "code"  # the file is a marshalled code object: source that is lost or never was
NAMESPACE = "namespace"  # a package without a file
ELSEWHERE = "elsewhere"  # an extension module within a package: the worker has its own


@dataclass(frozen=True)
class ModuleEntry:
    """A module of a bundle.

    Attributes:
        name: Its full name.
        kind: How it is made of its file.
        is_package: Whether it has submodules.
        digest: SHA-256 of its file, in hexadecimal; empty without a file.
        size: Bytes of its file.
        origin: The file's path where it comes from, for tracebacks.
        values: Globals that were rebound since the import: name and pickle, as hex.
    """

    name: str
    kind: str = SOURCE
    is_package: bool = False
    digest: str = ""
    size: int = 0
    origin: str = ""
    values: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """Where its file lies in a folder for ``sys.path``; of a namespace, the folder.

        >>> ModuleEntry("a.b", is_package=True).path, ModuleEntry("a", CODE).path
        ('a/b/__init__.py', 'a.pyc')
        """
        path = self.name.replace(".", "/")
        if self.kind == NAMESPACE:
            return path
        suffix = ".pyc" if self.kind == CODE else ".py"
        return f"{path}/__init__{suffix}" if self.is_package else path + suffix

    @cached_property
    def text(self) -> str:
        """The entry without its values, as it travels; made once while it is unchanged."""
        return json.dumps(
            [self.name, self.kind, self.is_package, self.digest, self.size, self.origin]
        )


@dataclass(frozen=True)
class DataEntry:
    """A data file or folder of a bundle.

    Attributes:
        path: Where it lies, relative to the working directory, with slashes. Under
            ``package`` it lies beside that package's modules instead; empty is the package's
            own folder.
        digest: SHA-256 of its content, in hexadecimal; of a folder, of the names in it. So a
            folder that has lost a file is another version of it.
        size: Bytes; 0 for a folder.
        is_executable: Whether it can be run.
        package: The package that it belongs to; empty for none.
        is_folder: Whether it is a folder. Nothing is sent for it.
    """

    path: str
    digest: str
    size: int
    is_executable: bool = False
    package: str = ""
    is_folder: bool = False


@dataclass(frozen=True)
class Manifest:
    """A bundle.

    Attributes:
        modules: Its modules, sorted by name.
        data: Its data files, sorted.
        distributions: Names and versions of the caller's projects that its modules belong
            to, for ``importlib.metadata``.
        environment: What the bundle's code runs with at the caller: names of installed
            distributions, ``python``, ``platform``; not part of the digest.
    """

    modules: tuple[ModuleEntry, ...] = ()
    data: tuple[DataEntry, ...] = ()
    distributions: tuple[tuple[str, str], ...] = ()
    environment: dict[str, str] = field(default_factory=dict, compare=False, hash=False)

    @cached_property
    def digest(self) -> str:
        """What names the manifest, set globals included."""
        return hashlib.sha256(f"{self._files}\n{json.dumps(self._values)}".encode()).hexdigest()

    @cached_property
    def files_digest(self) -> str:
        """What names the bundle's folder; the same for callers who differ in paths and values."""
        modules = [f"{e.name} {e.kind} {e.is_package:d} {e.digest}" for e in self.modules]
        rest = json.dumps([[asdict(entry) for entry in self.data], self.distributions])
        return hashlib.sha256("\n".join([*modules, rest]).encode()).hexdigest()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The digests of all files, with their sizes."""
        sizes = {entry.digest: entry.size for entry in self.modules if entry.digest}
        return sizes | {entry.digest: entry.size for entry in self.data if not entry.is_folder}

    @property
    def has_code(self) -> bool:
        """Whether a worker needs a folder for it."""
        return bool(self.modules or self.data)

    @cached_property
    def _files(self) -> str:
        modules = ", ".join([entry.text for entry in self.modules])
        data = [
            [e.path, e.digest, e.size, e.is_executable, e.package, e.is_folder] for e in self.data
        ]
        return f"[[{modules}], {json.dumps(data)}, {json.dumps(self.distributions)}]"

    @property
    def _values(self) -> dict[str, Any]:
        return {entry.name: entry.values for entry in self.modules if entry.values}

    def __bool__(self) -> bool:
        return bool(self.modules or self.data or self.environment)

    def to_bytes(self) -> bytes:
        """Return the manifest as it travels."""
        if not self:
            return b""
        return f"{self._files}\n{json.dumps([self._values, self.environment])}".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return the manifest again.

        Raises:
            ProtocolError: If it is none, or if a name points out of the bundle's folder.
        """
        if not data:
            return cls()
        files, _, rest = data.partition(b"\n")
        try:
            manifest = _files_of(bytes(files))
            values, environment = json.loads(rest)
            return replace(
                manifest,
                modules=tuple(_with_values(manifest.modules, values)),
                environment={str(key): str(value) for key, value in environment.items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"a bundle makes no sense: {error!r}") from error


@lru_cache(maxsize=8)
def _files_of(data: bytes) -> Manifest:
    """Return a manifest without values; the files of one are the same for many functions."""
    modules, files, distributions = json.loads(data)
    return Manifest(
        tuple(_module(*entry) for entry in modules),
        tuple(_data(*entry) for entry in files),
        tuple(_distribution(*entry) for entry in distributions),
    )


def _with_values(modules: Iterable[ModuleEntry], values: dict[str, Any]) -> Iterable[ModuleEntry]:
    for entry in modules:
        if entry.name in values:
            pairs = tuple((str(name), str(value)) for name, value in values[entry.name])
            entry = replace(entry, values=pairs)
        yield entry


def _module(
    name: str, kind: str, is_package: bool, digest: str, size: int, origin: str
) -> ModuleEntry:
    entry = ModuleEntry(name, kind, bool(is_package), digest, size, str(origin))
    if kind not in (SOURCE, CODE, NAMESPACE, ELSEWHERE):
        raise ValueError(f"{kind!r} is no kind of module")
    _check_parts(entry.name.split("."))
    _check_file(entry.digest, entry.size, may_miss=entry.kind in (NAMESPACE, ELSEWHERE))
    return entry


def _data(
    path: str, digest: str, size: int, is_executable: bool, package: str, is_folder: bool
) -> DataEntry:
    entry = DataEntry(path, digest, size, bool(is_executable), package, bool(is_folder))
    if entry.path or not (entry.is_folder and entry.package):
        _check_parts(entry.path.split("/"))
    _check_file(entry.digest, entry.size)
    if entry.package:
        _check_parts(entry.package.split("."))
    return entry


def _distribution(name: str, version: str) -> tuple[str, str]:
    _check_parts([name, version])
    if not (name + version).isprintable():
        raise ValueError(f"{name!r} is no distribution")
    return name, version


def _check_file(digest: str, size: int, may_miss: bool = False) -> None:
    """Refuse what is no digest or no size.

    Raises:
        ValueError: If one is not.
    """
    if not (may_miss and not digest) and not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is no digest")
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r} is no size")


def _check_parts(parts: list[str]) -> None:
    """Refuse names that would lead out of the bundle's folder.

    Raises:
        ValueError: If one does.
    """
    for part in parts:
        if part in ("", ".", "..") or any(c in part for c in "/\\\0") or part[1:2] == ":":
            raise ValueError(f"{part!r} is no name")
