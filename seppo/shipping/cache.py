"""Seppo's folder in the user's cache directory: where it is, and who uses what in it.

    <cache directory>/seppo/<host>/
        files/<digest>        contents of files, each once; read-only
        bundles/<digest>/     a bundle, made of links to them: see folders.py
        work/<worker>-<x>/    what belongs to one process

What is used is locked (``flock``): the kernel lets go of a lock when its process ends, in
whatever way. What nobody has locked can be removed, and a ``Sweeper`` does so.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 20  # others may make, mend and remove the same folder meanwhile
GRACE = 60.0  # seconds that an unused bundle is kept: the next run of a script finds it
FILES, BUNDLES, WORK, LOCK = "files", "bundles", "work", "lock"


def despite_others(action: Callable[[], T]) -> T:
    """Return what an action in the cache folder gives, begun again if others are in its way.

    A cleaner may remove what the action has just made or found. Then ``mkdir(exist_ok=True)``
    raises ``FileExistsError``, too. And others make a folder read-only as soon as it is whole.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return action()
        except (FileNotFoundError, FileExistsError, PermissionError):
            continue
    return action()


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return this host's folder, which only its owner can read; it is made if need be.

    A home directory may be shared by many hosts, so each has a folder of its own there.

    Args:
        environ: The environment; None means this process's.

    Raises:
        OSError: If there is no place to write to.
    """
    env = os.environ if environ is None else environ
    home = env.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(os.path.expanduser("~"), ".cache")
    host = re.sub(r"[^A-Za-z0-9._-]", "_", os.uname().nodename) or "host"
    try:
        return despite_others(lambda: _private(Path(home, "seppo"), host))
    except OSError:  # a service without a home
        temporary = Path(tempfile.gettempdir(), f"seppo-{os.geteuid()}")
        return despite_others(lambda: _private(temporary, host))


def _private(folder: Path, host: str) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{folder} belongs to somebody else")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    for name in ("", FILES, BUNDLES, WORK):
        (folder / host / name).mkdir(mode=0o700, exist_ok=True)
    return folder / host


def lock(path: Path, how: int = fcntl.LOCK_SH) -> int | None:
    """Return a descriptor that holds the lock of a file, which is made if need be.

    Args:
        path: The file.
        how: ``fcntl.LOCK_SH`` for those who use it, ``LOCK_EX`` for the one who removes it.

    Returns:
        None if others hold it in a way that excludes this, or if it was just removed.

    Raises:
        OSError: If the file cannot be made, its folder being gone for instance.
    """
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    if is_lock(held, path):
        return held
    os.close(held)
    return None


def is_lock(held: int, path: Path) -> bool:
    """Whether a descriptor is still one of this file, and not of one that is gone."""
    try:
        return os.path.samestat(os.fstat(held), os.stat(path))
    except OSError:
        return False


def remove_tree(folder: Path) -> None:
    """Remove a folder, read-only folders in it, too; what cannot be removed stays."""
    for path, folders, _ in os.walk(folder):
        for name in folders:
            inner = os.path.join(path, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


class Sweeper:
    """Removes what nobody uses any more. One supervisor of a host has one.

    Args:
        folder: The host's cache folder; None for the user's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._free_since: dict[Path, float] = {}

    def sweep(self, now: float, grace: float = GRACE) -> float | None:
        """Remove what has been unused for a while, and what dead processes have left.

        Args:
            now: The time, on the monotonic clock.
            grace: Seconds that an unused bundle is kept, from the first sweep on that sees
                it unused; 0 when the last supervisor of a host ends.

        Returns:
            Seconds until something else will be due; None if nothing waits to be removed.
        """
        root = self._folder or cache_folder()
        for path in (root / WORK).glob(f"*.{LOCK}"):
            self._remove_if_free(path.with_suffix(""), path)
        waiting = []
        found = list((root / BUNDLES).iterdir())
        for path in found:
            since = self._free_since.get(path, now)
            if self._remove_if_free(path, path / LOCK, now - since < grace):
                self._free_since[path] = since
                waiting.append(since + grace - now)
            else:
                self._free_since.pop(path, None)
        for path in self._free_since.keys() - set(found):
            del self._free_since[path]
        if self._sweep_files(root / FILES, grace):
            waiting.append(grace)
        return min(waiting) if waiting else None

    def _remove_if_free(self, path: Path, lock_file: Path, is_kept: bool = False) -> bool:
        """Remove something that nobody uses; return whether it could, but was to be kept."""
        try:
            held = lock(lock_file, fcntl.LOCK_EX)
            if held is None:
                return False
        except OSError:  # somebody else has just removed it
            return False
        try:
            if not is_kept:
                gone = path.with_name(f"gone-{os.getpid()}-{path.name}")
                if path.exists():
                    path.rename(gone)  # from now on nobody finds it
                lock_file.unlink(missing_ok=True)
                remove_tree(gone)
            return is_kept
        finally:
            os.close(held)

    def _sweep_files(self, files: Path, grace: float) -> bool:
        """Remove contents that no bundle has; return whether some are kept for a while."""
        held = lock(files.with_name(f"{FILES}.{LOCK}"), fcntl.LOCK_EX)
        if held is None:  # somebody collects files for a bundle
            return True
        try:
            is_some_kept = False
            for path in files.iterdir():
                try:
                    found = path.lstat()
                    if found.st_nlink > 1:
                        continue
                    # Its last link was made or removed then; by the file system's clock.
                    if time.time() - found.st_ctime < grace:
                        is_some_kept = True
                    else:
                        path.unlink()
                except FileNotFoundError:
                    continue
            return is_some_kept
        finally:
            os.close(held)
