"""A worker's files: each once, under the digest of its content, and bundles made of them.

The folder is private to one worker process, and removed with it.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path

from seppo.payload.importer import CODE_FOLDER, WORK_FOLDER, module_path
from seppo.payload.manifest import ELSEWHERE, NAMESPACE, Manifest
from seppo.payload.serialize import Buffer

PREFIX = "seppo-"


class Folder:
    """Files on disk, by digest.

    Args:
        name: Goes into the folder's name; by it others find what a dead process has left.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._root: Path | None = None
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
        for entry in manifest.data:
            top = place / WORK_FOLDER
            if entry.package:
                top = place.joinpath(CODE_FOLDER, *entry.package.split("."))
            path = top / entry.path
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.root / "files" / entry.digest, path)
                path.chmod(0o755 if entry.is_executable else 0o644)

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
            root, self._root = self._root, None
            self._have.clear()
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)


def _prefix(name: str) -> str:
    return f"{PREFIX}{re.sub(r'[^A-Za-z0-9._]', '_', name)}-"


def remove_leftovers(name: str) -> None:
    """Remove the folders that a process of this name has left, however it ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{glob.escape(_prefix(name))}*"):
        try:
            is_ours = path.lstat().st_uid == os.geteuid()
        except OSError:
            continue
        if is_ours:
            shutil.rmtree(path, ignore_errors=True)
