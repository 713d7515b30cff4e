"""Revoked certificates: a list of serial numbers beside the key, looked at in each handshake.

A line has a serial number in hexadecimal digits and the machine that had the certificate. The
list is not signed: it is as safe as the key beside it. One that cannot be used refuses all.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust.keyfile import key_path

REVOKED_FILE = "revoked"
LARGEST = 1 << 20  # bytes; some 20,000 certificates
_LINE = re.compile(r"0*([0-9A-Fa-f]{1,40})(?: ([!-~]+)(?: [ -~]*)?)?")


def check_peer(settings: Settings, sock: ssl.SSLSocket) -> None:
    """Accept a peer whose certificate is not revoked, after the handshake.

    Raises:
        SecurityError: If it is, or the list cannot be used.
    """
    path = key_path(settings).parent / REVOKED_FILE
    revoked = read_list(path)
    serial = str((sock.getpeercert() or {}).get("serialNumber", "")).lstrip("0")
    if serial in revoked:
        raise SecurityError(
            f"the certificate of {revoked[serial]} (serial number {serial}) is revoked, says {path}"
        )


def read_list(path: Path) -> Mapping[str, str]:
    """Return the machines in a list, by serial numbers; nothing if there is no list.

    Raises:
        SecurityError: If it cannot be read, others can change it, or a line makes no sense.
    """
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    return _read(path, (info.st_ino, info.st_mtime_ns, info.st_size, info.st_mode, info.st_uid))


@functools.lru_cache(maxsize=8)  # each handshake looks at it
def _read(path: Path, stamp: tuple[int, ...]) -> Mapping[str, str]:
    mode, uid = stamp[-2:]
    if not stat.S_ISREG(mode):
        raise _refusal(path, "is not a file")
    if os.name == "posix" and (uid not in (os.geteuid(), 0) or mode & 0o022):
        raise _refusal(path, f"can be changed by others: chown it, and 'chmod 600 {path}'")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from error
    try:
        return parse_list(data)
    except SecurityError as error:
        raise _refusal(path, str(error)) from error


def parse_list(data: bytes) -> dict[str, str]:
    """Return the machines in the content of a list, by serial numbers.

    Raises:
        SecurityError: If a line makes no sense.

    >>> parse_list(b"0AB1 lab-3 2026-01-31")
    {'AB1': 'lab-3'}
    """
    if len(data) > LARGEST:
        raise SecurityError(f"has more than {LARGEST} bytes")
    found = {}
    for number, line in enumerate(data.decode("ascii", "replace").split("\n"), 1):
        if line.strip():
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise SecurityError(f"makes no sense in line {number}")
            found[match[1].upper().lstrip("0")] = match[2] or "-"
    return found


def _refusal(path: Path, why: str) -> SecurityError:
    return SecurityError(f"the list of certificates {path} {why}")
