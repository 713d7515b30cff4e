"""Making the bundle of keys that joins several machines: an authority and certificates.

The authority's own key is either kept, encrypted by a passphrase: then each machine can have
a certificate of its own, and lose it. Or it is thrown away, so that no second certificate can
ever be made, and all machines use the same one.
"""

from __future__ import annotations

import os
import re
import socket
from datetime import datetime, timezone
from pathlib import Path

from seppo.errors import ConfigurationError, SecurityError
from seppo.trust.authority import COMMON_NAME, Authority, Certificate
from seppo.trust.keyfile import check_private, ensure_key, write_private
from seppo.trust.revoked import REVOKED_FILE, read_list
from seppo.trust.tls import CA_FILE, CERT_FILE, CERT_KEY_FILE

DAYS = 365  # days that a certificate is good for, unless the user says otherwise
AUTHORITY_FILE = "ca-key.pem"  # the authority's private key; it leaves this machine never
ISSUED_FILE = "issued"  # what it has signed: serial, machine, day


def make_bundle(
    key_path: Path, days: int = DAYS, replace: bool = False, passphrase: bytes = b""
) -> list[Path]:
    """Make a shared key, an authority and a certificate, and return their files.

    Args:
        key_path: Where the key is, or is to be; the certificates are put beside it, in a
            folder that is made for this user alone if it is not there.
        days: How long the certificates are good for.
        replace: Make new ones in the place of old ones.
        passphrase: Encrypts the authority's private key; without one it is thrown away.

    Raises:
        ConfigurationError: If there are some, or the package for certificates is missing.
        SecurityError: If the files cannot be written.
    """
    authority = Authority.new(days)
    certificate = authority.issue(this_machine() if passphrase else COMMON_NAME, days)
    contents = {
        CA_FILE: authority.pem,
        CERT_FILE: certificate.pem,
        CERT_KEY_FILE: certificate.key_pem,
    }
    folder = key_path.parent
    if any((folder / name).exists() for name in contents) and not replace:
        raise ConfigurationError(
            "keys", str(folder), "there are certificates already; --replace makes new ones, which "
            "then have to be copied to all machines"
        )  # fmt: skip
    if passphrase:
        contents[AUTHORITY_FILE] = authority.key_pem(passphrase)
        contents[ISSUED_FILE] = _record(certificate)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if replace:
            key_path.unlink(missing_ok=True)
        for name in (AUTHORITY_FILE, ISSUED_FILE, REVOKED_FILE):  # of another authority
            (folder / name).unlink(missing_ok=True)
        ensure_key(key_path)  # without --replace one that is there stays: it may be in use
        for name, content in contents.items():
            write_private(folder / name, content)
    except OSError as error:
        if isinstance(error, SecurityError):
            raise
        raise SecurityError(f"the keys cannot be written to {folder}: {error}") from error
    return [key_path, *(folder / name for name in contents)]


def machine_name(host: str) -> str:
    """Return what a machine is called in certificates and lists.

    >>> machine_name("me@lab-3.example.org"), machine_name("fe80::1")
    ('lab-3.example.org', 'fe80--1')
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", host.rpartition("@")[2])[:64] or "machine"


def this_machine() -> str:
    """Return what this machine is called."""
    return machine_name(socket.gethostname())


def has_authority(folder: Path) -> bool:
    """Whether the authority's private key was kept here."""
    return (folder / AUTHORITY_FILE).exists()


def open_authority(folder: Path, passphrase: bytes) -> Authority:
    """Return the authority that was kept in a folder.

    Raises:
        SecurityError: If there is none, or it does not open.
    """
    path = folder / AUTHORITY_FILE
    try:
        check_private("authority's key", path, os.stat(path))
        return Authority.load(path.read_bytes(), (folder / CA_FILE).read_bytes(), passphrase)
    except FileNotFoundError as error:
        raise SecurityError(
            f"there is no {error.filename}: certificates for single machines are made where 'seppo "
            "keys new' was given a passphrase"
        ) from error


def issue_for(authority: Authority, folder: Path, name: str, days: int = DAYS) -> Certificate:
    """Return a new certificate for a machine; the list tells of it before anybody has it."""
    certificate = authority.issue(machine_name(name), days)
    fd = os.open(folder / ISSUED_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(fd, "ab") as file:
        file.write(_record(certificate))
    return certificate


def revoke(folder: Path, which: str) -> dict[str, str]:
    """Revoke the certificates of a machine, or one with this serial number.

    Returns:
        What was revoked now: machines by serial numbers.

    Raises:
        SecurityError: If no such certificate is known.
    """
    issued, revoked = read_list(folder / ISSUED_FILE), read_list(folder / REVOKED_FILE)
    found = {serial: name for serial, name in issued.items() if name == which}
    if not found and re.fullmatch("[0-9A-Fa-f]{8,40}", which):
        serial = which.upper().lstrip("0")
        found = {serial: issued.get(serial, "-")}
    if not found:
        known = ", ".join(dict.fromkeys(issued.values())) or "none"
        raise SecurityError(f"there is no certificate of {which!r}; known machines: {known}")
    new = {serial: name for serial, name in found.items() if serial not in revoked}
    lines = [_line(serial, name) for serial, name in {**revoked, **new}.items()]
    write_private(folder / REVOKED_FILE, "".join(lines).encode())
    return new


def _record(certificate: Certificate) -> bytes:
    today = datetime.now(timezone.utc)
    return _line(certificate.serial, f"{certificate.name} {today:%Y-%m-%d}").encode()


def _line(serial: str, name: str) -> str:
    return f"{serial} {name}\n"
