"""Sockets to listen on and to connect with: TCP, or Unix sockets that no other user can open.

A Unix socket lies in a folder that its user alone can enter (mode 0700), so other users can
neither connect to it nor put something else in its place. Both sides look at the folder:
whoever told us a path must not make us talk to what a stranger, or another program, has
there.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
from contextlib import suppress

from seppo.errors import SecurityError
from seppo.wire.address import UNIX, Address, is_path_of_ours, path_of


def check_folder(folder: str) -> None:
    """Accept a folder for Unix sockets, if nobody else can enter it.

    Raises:
        SecurityError: If somebody else can, or if a symbolic link leads there.
        OSError: If it is not there.
    """
    found = os.lstat(folder)
    if os.path.realpath(folder) != folder or not stat.S_ISDIR(found.st_mode):
        raise SecurityError(f"{folder!r} is no folder, or a symbolic link leads to it")
    if found.st_uid != os.geteuid():
        raise SecurityError(f"the folder {folder!r} belongs to somebody else")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SecurityError(f"others can enter the folder {folder!r}: its mode must be 0700")


def connect(address: Address, timeout: float) -> socket.socket:
    """Return a socket connected to an address; the time limit stays its own.

    Raises:
        SecurityError: If others could have put the Unix socket there.
        TimeoutError: If it takes too long.
        OSError: If nobody listens there.
    """
    if address.path:
        return _connect_unix(address.path, timeout)
    try:
        sock = socket.create_connection((address.host, address.port), timeout)
    except UnicodeError as error:  # what the codec for host names raises for odd ones
        raise ConnectionError(f"{address.host!r} is no name of a host") from error
    try:
        send_at_once(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_unix(path: str, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        check_folder(os.path.dirname(path))
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException as error:
        sock.close()
        if isinstance(error, FileNotFoundError):  # removed by whoever has listened there
            raise ConnectionRefusedError(f"nobody listens on {path}") from error
        raise
    return sock


def bind(host: str, port: int) -> tuple[socket.socket, str, int]:
    """Return a socket that is about to listen, with the host and port that it has got.

    Args:
        host: The IP address, or a name for one; or ``./u:FOLDER``, for a Unix socket there.
        port: The port; 0 for any free one.

    Raises:
        SecurityError: If others can enter the folder.
        OSError: If it cannot be listened there.
    """
    folder = path_of(host)
    if folder:
        check_folder(folder)
        path = socket_path(folder)
        family, address = socket.AF_UNIX, path
    else:
        path = ""
        # assignment: here an address is a pair, or more for IPv6; above it is a path.
        family, _, _, _, address = socket.getaddrinfo(  # type: ignore[assignment]
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if not path:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    if path:
        return sock, UNIX + path, 0
    return sock, *sock.getsockname()[:2]


def socket_path(folder: str) -> str:
    """Return a path for a new Unix socket in a folder.

    Raises:
        OSError: If it would be too long, or has characters that are not told in an address.
    """
    path = os.path.join(folder, f"seppo-{secrets.token_hex(6)}")
    if not is_path_of_ours(path):
        raise OSError(f"no Unix socket can be made in {folder!r}: its name is too long, or odd")
    return path


def remove(host: str) -> None:
    """Remove the file of a Unix socket; nothing for an IP address."""
    if path_of(host):
        with suppress(OSError):  # it is gone, with its folder perhaps
            os.unlink(path_of(host))


def send_at_once(sock: socket.socket) -> None:
    """Have small messages sent without waiting for more."""
    if sock.family != socket.AF_UNIX:  # which never waits
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
