"""A worker's files: each once, under the digest of its content, and bundles made of them.

The folder is private to one worker process, and removed with it: by the process itself, or
by its supervisor. Where both were killed, the next worker finds that nobody holds the lock
in it any more.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seppo.payload.importer import CODE_FOLDER, WORK_FOLDER, module_path
from seppo.payload.manifest import ELSEWHERE, NAMESPACE, DataEntry, Manifest
from seppo.payload.serialize import Buffer

PREFIX = "seppo-"
LOCK = "lock"


class Folder:
    """Files on disk, by digest.

    Args:
        name: Goes into the folder's name; by it others find what a dead process has left.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._root: Path | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._have: set[str] = set()
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder; it is made when it is first needed."""
        with self._lock:
            if self._root is None:
                # Only its owner can read it, and nobody can have made it before.
                self._root = Path(tempfile.mkdtemp(prefix=_prefix(self._name)))
                (self._root / "files").mkdir()
                # Held before it has its name: a sweep would take one that is free.
                lock = _hold(self._root / f"{LOCK}.new", os.O_CREAT)
                os.rename(self._root / f"{LOCK}.new", self._root / LOCK)
                self._finalizer = weakref.finalize(self, _remove, self._root, lock, os.getpid())
                _sweep()
            return self._root

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the digests of a bundle's files that are not here."""
        return [digest for digest in manifest.sizes if digest not in self._have]

    def add(self, digest: str, content: Buffer) -> None:
        """Keep a file.

        Raises:
            ValueError: If the content does not fit the digest.
            OSError: If it cannot be written.
        """
        if digest in self._have:
            return
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("the content is not what was promised")
        path = self.root / "files" / digest
        part = path.with_name(f"{digest}.{threading.get_ident()}")
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._have.add(digest)

    def drop(self, digests: set[str]) -> None:
        """Remove files."""
        for digest in digests & self._have:
            self._have.discard(digest)
            (self.root / "files" / digest).unlink(missing_ok=True)

    def bundle(self, manifest: Manifest, name: str) -> Path:
        """Return the folder of a bundle, with its modules.

        Raises:
            OSError: If a file is missing or cannot be written.
        """
        place = self.root / "bundles" / name
        for entry in manifest.modules:
            path = place / CODE_FOLDER / module_path(entry)
            if entry.kind == NAMESPACE:
                path.with_suffix("").mkdir(parents=True, exist_ok=True)
            elif entry.kind != ELSEWHERE:
                self._put(entry.digest, path)
        self.put_data(manifest, place)
        return place

    def put_data(self, manifest: Manifest, place: Path) -> None:
        """Put a bundle's data files into its folder; copies, which user code may change."""
        for entry, path in _data_paths(manifest, place):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.root / "files" / entry.digest, path)
                path.chmod(0o755 if entry.is_executable else 0o644)

    def remove_data(self, manifest: Manifest, place: Path) -> None:
        """Remove a bundle's data files, and whatever else lies in its working directory."""
        shutil.rmtree(place / WORK_FOLDER, ignore_errors=True)
        for _, path in _data_paths(manifest, place):
            path.unlink(missing_ok=True)

    def _put(self, digest: str, path: Path) -> None:
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.root / "files" / digest, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            shutil.copyfile(self.root / "files" / digest, path)

    def remove(self) -> None:
        """Remove everything."""
        with self._lock:
            self._root = None
            self._have.clear()
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer()


def _remove(root: Path, lock: int | None, pid: int) -> None:
    """Remove a folder, unless this is a child that its process has forked."""
    if os.getpid() == pid:
        shutil.rmtree(root, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _hold(path: Path, flags: int = 0) -> int | None:
    """Return a descriptor that holds a lock; None if another process holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _sweep() -> None:
    """Remove what killed processes of this user have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if path.lstat().st_uid == os.geteuid():
                lock = _hold(path / LOCK)
                if lock is not None:
                    _remove(path, lock, os.getpid())
        except OSError:  # it has no lock: not one of these, or just being made
            continue


def _prefix(name: str) -> str:
    return f"{PREFIX}{re.sub(r'[^A-Za-z0-9._]', '_', name)}-"


def _data_paths(manifest: Manifest, place: Path) -> Iterator[tuple[DataEntry, Path]]:
    for entry in manifest.data:
        top = place / WORK_FOLDER
        if entry.package:
            top = place.joinpath(CODE_FOLDER, *entry.package.split("."))
        yield entry, top / entry.path


def remove_leftovers(name: str) -> None:
    """Remove the folders that a process of this name has left, however it ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{glob.escape(_prefix(name))}*"):
        try:
            is_ours = path.lstat().st_uid == os.geteuid()
        except OSError:
            continue
        if is_ours:
            shutil.rmtree(path, ignore_errors=True)
