"""Bundles as real folders, which Python's own importer reads. One host has each once.

    bundles/<files digest>/
        code/    modules under their own paths, files of packages beside them, and a stub of
                 metadata for each project: a folder for ``sys.path``
        data/    the files that ``depends=`` named
        lock     held by each process that uses the bundle

A folder is made under another name and then renamed, so that there is no half one. Files
are links to ``files/<digest>``; each has a modification time that is made from its digest, so
that anybody can see at a glance whether it still is what it should be. What a cleaner has
removed, or somebody has written to, is put back under the same name, where loaded modules
look for it.

Everything is read-only but ``__pycache__``, so that a module is compiled once for a host.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seppo.shipping.cache import (
    BUNDLES,
    FILES,
    LOCK,
    WORK,
    cache_folder,
    despite_others,
    is_lock,
    lock,
    remove_tree,
)
from seppo.shipping.manifest import NAMESPACE, SOURCE, DataEntry, Manifest
from seppo.wire.packed import Buffer

CODE, DATA = "code", "data"


@dataclass(frozen=True)
class _Piece:
    """A file of a bundle: where it belongs in the folder, and what it is."""

    path: str
    digest: str
    size: int
    is_executable: bool = False


def pieces_of(manifest: Manifest) -> Iterator[_Piece]:
    """Give the files of a bundle that are sent."""
    for entry in manifest.modules:
        if entry.digest:
            yield _Piece(f"{CODE}/{entry.path}", entry.digest, entry.size)
    for file in manifest.data:
        if not file.is_folder:
            yield _Piece(_place_of(file), file.digest, file.size, file.is_executable)


def _place_of(file: DataEntry) -> str:
    top = f"{CODE}/{file.package.replace('.', '/')}" if file.package else DATA
    return f"{top}/{file.path}".rstrip("/")


def stamp_of(digest: str) -> int:
    """Return the modification time of a file with this content, in seconds.

    Whole and even seconds, since some file systems have no others.

    >>> stamp_of("00000000ff"), stamp_of("ffffffffff")
    (1000000000, 1268435454)
    """
    return 1_000_000_000 + (int(digest[:7], 16) & ~1)


def is_file(path: str | Path, digest: str, size: int) -> bool:
    """Whether a file is the one that was put there, as far as its size and time tell."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size == size and int(found.st_mtime) == stamp_of(digest)


def _link(content: str, path: str) -> bool:
    """Make another link to a file; return whether the file system can."""
    try:
        os.link(content, path)
    except OSError:
        return False
    return True


class BundleCache:
    """The bundles of this host. Threads and processes may use it at the same time.

    Args:
        folder: The host's cache folder; None for the user's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._collecting: int | None = None

    @property
    def root(self) -> Path:
        """The host's cache folder, made when it is first needed, or again."""
        folder = self._folder
        if folder is None or not all((folder / name).is_dir() for name in (FILES, BUNDLES, WORK)):
            folder = self._folder = cache_folder()
        return folder

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the digests of files that have to be sent before a bundle can be made.

        Until ``make`` is called nobody removes contents that no bundle has.
        """
        if self._collecting is None:
            self._collecting = despite_others(lambda: lock(self.root / f"{FILES}.{LOCK}"))
        files = self.root / FILES
        return [
            digest
            for digest, size in manifest.sizes.items()
            if not is_file(f"{files}/{digest}", digest, size)
        ]

    def add(self, digest: str, content: Buffer) -> None:
        """Keep the content of a file.

        Raises:
            ValueError: If the content does not fit the digest.
            OSError: If it cannot be written.
        """
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("the content is not what was promised")
        despite_others(lambda: self._add(digest, content))

    def _add(self, digest: str, content: Buffer) -> None:
        files = f"{self.root}/{FILES}"
        part = f"{files}/.{digest}.{os.getpid()}.{threading.get_ident()}"
        try:
            with open(part, "wb") as file:
                file.write(content)
            os.chmod(part, 0o444)
            os.utime(part, (stamp_of(digest), stamp_of(digest)))
            os.replace(part, f"{files}/{digest}")
        except BaseException:
            if os.path.lexists(part):
                os.unlink(part)
            raise

    def find(self, manifest: Manifest) -> BundleFolder | None:
        """Return a bundle's folder, in use from now on; None if there is none."""
        path = self.root / BUNDLES / manifest.files_digest
        try:
            held = lock(path / LOCK)
        except OSError:
            return None
        return BundleFolder(self, manifest, path, held) if held is not None else None

    def make(self, manifest: Manifest) -> BundleFolder:
        """Return a bundle's folder, in use from now on, with all files whose content is here.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            return despite_others(lambda: self._make(manifest))
        finally:
            if self._collecting is not None:
                os.close(self._collecting)
                self._collecting = None

    def _make(self, manifest: Manifest) -> BundleFolder:
        folder = self.find(manifest) or self._build(manifest)
        if folder is None:
            raise FileExistsError(f"others make or remove the folder {manifest.files_digest}")
        try:
            folder.mend()
        except BaseException:
            folder.close()
            raise
        return folder

    def _build(self, manifest: Manifest) -> BundleFolder | None:
        """Return a new folder; None if somebody else was quicker."""
        bundles = self.root / BUNDLES
        new = Path(tempfile.mkdtemp(dir=bundles, prefix="new-"))
        try:
            held = lock(new / LOCK)
        except FileNotFoundError:
            held = None
        if held is None:  # a sweep looks at it, or has taken it
            return None
        folder = BundleFolder(self, manifest, new, held)
        try:
            folder.fill()
            os.rename(new, bundles / manifest.files_digest)
        except OSError:
            folder.close()
            remove_tree(new)
            if not (bundles / manifest.files_digest).exists():
                raise
            return None
        folder.path = bundles / manifest.files_digest
        return folder


class BundleFolder:
    """A bundle on disk, locked while this object is open.

    Attributes:
        path: The folder.
        manifest: What is in it.
    """

    def __init__(self, cache: BundleCache, manifest: Manifest, path: Path, held: int) -> None:
        self.path = path
        self.manifest = manifest
        self._cache = cache
        self._held: int | None = held
        self._owner = os.getpid()
        self._pieces = list(pieces_of(manifest))

    @property
    def code(self) -> Path:
        """What goes on ``sys.path``."""
        return self.path / CODE

    @property
    def data(self) -> Path:
        """Where the files are that ``depends=`` named."""
        return self.path / DATA

    @property
    def is_there(self) -> bool:
        """Whether nobody has removed the folder: one look."""
        return self._held is not None and is_lock(self._held, self.path / LOCK)

    def broken(self) -> dict[str, int]:
        """Return digests and sizes of the files that are missing or were changed.

        A look at each file, about 2 microseconds.
        """
        path = str(self.path)
        return {
            piece.digest: piece.size
            for piece in self._pieces
            if not is_file(f"{path}/{piece.path}", piece.digest, piece.size)
        }

    def fill(self) -> None:
        """Put everything into an empty folder.

        Raises:
            OSError: If it cannot be written.
        """
        self._make_folders()
        contents = f"{self._cache.root}/{FILES}"
        for piece in self._pieces:
            self._put(piece, contents)
        self._protect()

    def mend(self) -> None:
        """Put back what is missing or was changed, as far as its content is here.

        Raises:
            OSError: If it cannot be written.
        """
        despite_others(self._mend)

    def _mend(self) -> None:
        contents = f"{self._cache.root}/{FILES}"
        if not self.is_there:
            self.close()
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._held = lock(self.path / LOCK)  # None while a sweep looks at it: the next time
        broken = self.broken()
        if not broken and all(os.path.isdir(self.path / name) for name in self._folders):
            return
        self._make_folders()
        for piece in self._pieces:
            if piece.digest in broken:
                self._put(piece, contents)
        self._protect()

    @cached_property
    def _folders(self) -> list[str]:
        """The folders in it, parents first, relative to its own."""
        folders = {CODE, DATA, *self._stubs()}
        folders.update(os.path.dirname(piece.path) for piece in self._pieces)
        folders.update(_place_of(file) for file in self.manifest.data if file.is_folder)
        for entry in self.manifest.modules:
            if entry.kind == NAMESPACE:
                folders.add(f"{CODE}/{entry.path}")
        for folder in list(folders):
            while folder := os.path.dirname(folder):
                folders.add(folder)
        return sorted(folders)

    def _stubs(self) -> dict[str, tuple[str, str]]:
        """Return the projects with their folders of metadata."""
        return {
            # A dash would end the name.
            f"{CODE}/{re.sub('[-_.]+', '_', name)}-{version}.dist-info": (name, version)
            for name, version in self.manifest.distributions
        }

    def _make_folders(self) -> None:
        sources = {e.path for e in self.manifest.modules if e.kind == SOURCE}
        have_modules = {f"{CODE}/{os.path.dirname(path)}".rstrip("/") for path in sources}
        for name in self._folders:
            folder = self.path / name
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
            if name in have_modules:
                (folder / "__pycache__").mkdir(mode=0o700, exist_ok=True)
        for folder_name, (name, version) in self._stubs().items():
            metadata = self.path / folder_name / "METADATA"
            part = metadata.with_name(f".{os.getpid()}")
            part.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            os.replace(part, metadata)

    def _put(self, piece: _Piece, contents: str) -> None:
        content = f"{contents}/{piece.digest}"
        if not is_file(content, piece.digest, piece.size):
            return  # its turn comes when it is sent
        path = f"{self.path}/{piece.path}"
        folder, name = os.path.split(path)
        if not piece.is_executable and _link(content, path):
            return
        part = f"{folder}/.{os.getpid()}.{name}"
        try:
            if piece.is_executable or not _link(content, part):
                shutil.copyfile(content, part)
                os.chmod(part, 0o555 if piece.is_executable else 0o444)
                os.utime(part, (stamp_of(piece.digest), stamp_of(piece.digest)))
            os.replace(part, path)
        finally:
            # Half a copy; or a link to the file that is there already: rename leaves both.
            if os.path.lexists(part):
                os.unlink(part)

    def _protect(self) -> None:
        for name in self._folders:
            os.chmod(self.path / name, 0o555)

    def close(self) -> None:
        """Let go of it."""
        held, self._held = self._held, None
        if held is not None:
            try:
                os.close(held)
            except OSError:  # user code has closed whatever there is
                pass
