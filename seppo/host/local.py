"""The folder for Unix sockets of one user on one machine, swept of what dead processes left.

It is in ``XDG_RUNTIME_DIR``, which systems give to each user that has logged in, or else in
the cache folder.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from seppo.shipping.cache import cache_folder
from seppo.trust.sockets import check_folder, socket_path
from seppo.wire.address import UNIX

log = logging.getLogger(__name__)

YOUNG = 60.0  # seconds; between bind() and listen() nobody listens on a new socket
PATIENCE = 1.0  # seconds for connecting, which takes microseconds


def local_host(environ: Mapping[str, str] | None = None) -> str:
    """Return what to listen on for processes of this user on this machine alone.

    Args:
        environ: The environment; None means this process's.

    Returns:
        ``./u:FOLDER``; empty where no folder will do: then there is only TCP.
    """
    env = os.environ if environ is None else environ
    places: list[Callable[[], Path]] = [
        lambda: _runtime_folder(env) / "seppo",
        lambda: cache_folder(env) / "sockets",
    ]
    for place in places:
        try:
            folder = place()
            folder.mkdir(mode=0o700, exist_ok=True)
            path = os.path.realpath(folder.parent) + os.sep + folder.name
            check_folder(path)
            socket_path(path)
        except OSError as error:
            log.info("no Unix sockets: %s", error)
        else:
            sweep(Path(path))
            return UNIX + path
    return ""


def _runtime_folder(environ: Mapping[str, str]) -> Path:
    """Return the user's runtime folder.

    Raises:
        OSError: If there is none, or it is somebody else's, as after ``su``.
    """
    name = environ.get("XDG_RUNTIME_DIR", "")
    if not os.path.isabs(name):
        raise OSError("XDG_RUNTIME_DIR is not set")
    check_folder(os.path.realpath(name))
    return Path(name)


def sweep(folder: Path) -> None:
    """Remove sockets on which nobody listens any more: their processes were killed."""
    for path in folder.glob("seppo-*"):
        with suppress(OSError):  # somebody else has just removed it
            found = path.lstat()
            is_old = time.time() - found.st_mtime > YOUNG
            if stat.S_ISSOCK(found.st_mode) and is_old and _is_refused(path):
                path.unlink()


def _is_refused(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(str(path))
        except ConnectionRefusedError:
            return True
        return False
