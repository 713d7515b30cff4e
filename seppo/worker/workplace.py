"""The working folder of a worker process, and the data files in it.

On the caller's own machine the working folder is the caller's, as with a Pool. Elsewhere, and
for functions with files of their own (``depends=``), it is a folder that belongs to the process.
It holds nothing but copies of these files, and is removed when the process ends. So such a
function finds its files in the same way wherever it runs.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from seppo.shipping.cache import LOCK, WORK, is_lock, lock, remove_tree
from seppo.shipping.data import provide_only
from seppo.shipping.folders import BundleCache, is_file, stamp_of
from seppo.shipping.manifest import DataEntry

MOST_NAMES = 100  # of files that were left behind


class Workplace:
    """The working folder of one process.

    Args:
        name: The worker's name.
        cache: Where folders lie.
    """

    def __init__(self, name: str, cache: BundleCache) -> None:
        self._name = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        self._cache = cache
        self._own: Path | None = None
        self._lock: tuple[Path, int] | None = None
        self._owner = os.getpid()
        self._data: dict[str, DataEntry] = {}
        self._home: Path | None = None  # the caller's folder, where we are on its machine
        self._at: Path | None = None  # the working folder, if nobody else has changed it

    @property
    def own(self) -> Path:
        """The process's own folder, made when it is first needed, or again."""
        if self._own is None or self.is_gone:
            work = self._cache.root / WORK
            self._let_go()
            while self._lock is None:  # before the folder is there: a sweep removes unlocked ones
                path = self._own and self._own.with_suffix(f".{LOCK}")
                if path is None:
                    handle, name = tempfile.mkstemp(f".{LOCK}", f"{self._name}-", work)
                    os.close(handle)
                    path = Path(name)
                held = lock(path)
                self._lock = (path, held) if held is not None else None
            self._own = self._lock[0].with_suffix("")
            self._own.mkdir(mode=0o700, exist_ok=True)
            self._owner = os.getpid()
            self._at = None  # a new folder, even of the same name
        return self._own

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed the process's own folder: three looks."""
        if self._own is None:
            return False
        return not (
            self._lock and is_lock(self._lock[1], self._lock[0]) and os.path.isdir(self._own)
        )

    def _let_go(self) -> None:
        held, self._lock = self._lock, None
        if held is not None:
            try:
                os.close(held[1])
            except OSError:  # user code has closed all descriptors
                pass

    def settle(self, folder: str | None) -> None:
        """Choose the working folder of functions without files, and change to it.

        Args:
            folder: The caller's working folder, if this is its machine; None elsewhere.

        Raises:
            OSError: If no folder can be made.
        """
        if folder is not None and os.access(folder, os.X_OK):  # it may be gone, or not ours
            self._home = Path(folder)
        self.go(False)

    def go(self, has_files: bool) -> None:
        """Change to the working folder of a function, unless the last one had the same.

        Args:
            has_files: Whether it has files of its own.

        Raises:
            OSError: If there is no such folder.
        """
        place = self.own if has_files or self._home is None else self._home
        if place != self._at:
            os.chdir(place)
            self._at = place

    def put(self, entries: tuple[DataEntry, ...], source: Path) -> None:
        """Copy the data files of a bundle that are not there into the process's own folder.

        Raises:
            OSError: If one cannot be written.
        """
        own = self.own if any(not entry.package for entry in entries) else None
        for entry in entries:
            if own is None or entry.package:
                continue
            if self._data.get(entry.path) == entry and os.path.exists(f"{own}/{entry.path}"):
                continue
            path = own / entry.path
            (path if entry.is_folder else path.parent).mkdir(parents=True, exist_ok=True)
            if not entry.is_folder:
                shutil.copyfile(source / entry.path, path)
                path.chmod(0o755 if entry.is_executable else 0o644)
                os.utime(path, (stamp_of(entry.digest), stamp_of(entry.digest)))
            self._data[entry.path] = entry

    def offer(self, entries: Iterable[DataEntry] | None = None) -> None:
        """Have ``data_path`` find the files of a function, and no others.

        Args:
            entries: They; None for those of all functions.
        """
        entries = self._data.values() if entries is None else entries
        tops = {entry.path.partition("/")[0] for entry in entries if not entry.package}
        provide_only({top: self.own / top for top in tops})

    def left_behind(self) -> list[str]:
        """Return the names of files in the own folder that functions have made or written to.

        At most the first hundred. They are lost when the folder is removed.
        """
        if self._own is None:
            return []
        names = []
        for name in _files(self._own):
            entry = self._data.get(name)
            if entry is None or not is_file(self._own / name, entry.digest, entry.size):
                names.append(name)
        return sorted(names)[:MOST_NAMES]

    def close(self) -> None:
        """Remove the process's own folder; does nothing in a child that the process has forked."""
        own, self._own = self._own, None
        if own is None or os.getpid() != self._owner or self._lock is None:
            return
        try:
            if self._at == own:
                os.chdir("/")  # some systems do not remove the folder that one is in
        except OSError:
            pass
        remove_tree(own)
        self._lock[0].unlink(missing_ok=True)
        self._let_go()


def _files(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            yield Path(folder, name).relative_to(root).as_posix()
