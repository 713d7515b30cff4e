"""What a bundle of code consists of, as plain values that travel ahead of the files.

The digest of a manifest names the bundle: it depends on every name and on the content of
every file. A worker that has the files asks for none.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
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


@dataclass(frozen=True)
class DataEntry:
    """A data file of a bundle.

    Attributes:
        path: Where it lies, relative to the working directory, with slashes. Under
            ``package`` it lies beside that package's modules instead.
        digest: SHA-256 of its content, in hexadecimal.
        size: Bytes.
        is_executable: Whether it can be run.
        package: The package that it belongs to; empty for none.
    """

    path: str
    digest: str
    size: int
    is_executable: bool = False
    package: str = ""


@dataclass(frozen=True)
class Manifest:
    """A bundle.

    Attributes:
        modules: Its modules, sorted by name.
        data: Its data files, sorted.
        grown_from: The digest of the bundle that this one adds modules to, or empty.
        cleanup: Whether data files are removed when no map uses them any more.
        environment: What the bundle's code runs with at the caller: names of installed
            distributions, ``python``, ``platform``; not part of the digest.
    """

    modules: tuple[ModuleEntry, ...] = ()
    data: tuple[DataEntry, ...] = ()
    grown_from: str = ""
    cleanup: bool = True
    environment: dict[str, str] = field(default_factory=dict, compare=False, hash=False)

    @cached_property
    def digest(self) -> str:
        """What names the bundle."""
        facts = {"modules": self.modules, "data": self.data, "cleanup": self.cleanup}
        text = json.dumps(facts, default=asdict, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The digests of all files, with their sizes."""
        sizes = {entry.digest: entry.size for entry in self.modules if entry.digest}
        return sizes | {entry.digest: entry.size for entry in self.data}

    def __bool__(self) -> bool:
        return bool(self.modules or self.data or self.environment)

    def to_bytes(self) -> bytes:
        """Return the manifest as it travels."""
        return json.dumps(asdict(self)).encode() if self else b""

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return the manifest again.

        Raises:
            ProtocolError: If it is none, or if a name points out of the bundle's folder.
        """
        if not data:
            return cls()
        try:
            told = json.loads(data)
            manifest = cls(
                tuple(_module(entry) for entry in told["modules"]),
                tuple(_data(entry) for entry in told["data"]),
                str(told["grown_from"]),
                bool(told["cleanup"]),
                {str(key): str(value) for key, value in told["environment"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"a bundle makes no sense: {error!r}") from error
        return manifest


def _module(told: dict[str, Any]) -> ModuleEntry:
    values = tuple((str(name), str(value)) for name, value in told.pop("values"))
    entry = ModuleEntry(**told, values=values)
    _check_parts(entry.name.split("."))
    _check_file(entry.digest, entry.size, may_miss=entry.kind in (NAMESPACE, ELSEWHERE))
    return entry


def _data(told: dict[str, Any]) -> DataEntry:
    entry = DataEntry(**told)
    _check_parts(entry.path.split("/"))
    _check_file(entry.digest, entry.size)
    if entry.package:
        _check_parts(entry.package.split("."))
    return entry


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
