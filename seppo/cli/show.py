"""``seppo keys show``: which keys are there, and whether they can be used."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from seppo.cli.security import add_key_file, with_key_file
from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust.certificates import ISSUED_FILE
from seppo.trust.keyfile import key_path, read_key
from seppo.trust.revoked import REVOKED_FILE, read_list
from seppo.trust.tls import client_files, read_certificate, server_files, try_handshake

SOON = 30  # days before the end of a certificate in which it is worth a word


def add_parser(actions: Any) -> None:
    """Add the action to ``seppo keys``."""
    show = actions.add_parser(
        "show",
        help="tell which keys are there",
        description="Tell which keys are there, with fingerprints and the day they expire. "
        "The exit code is 1 if one of them cannot be used.",
    )
    add_key_file(show)
    show.set_defaults(verb="keys", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Tell which keys are there and whether they can be used."""
    settings = with_key_file(Settings.load(), arguments)
    path = key_path(settings).absolute()
    return max(
        _tell("shared key", lambda: _describe_key(path)),
        _tell("certificates", lambda: _describe_certificates(settings)),
        _tell("machines", lambda: _describe_machines(path.parent)),
    )


def _tell(what: str, describe: Callable[[], str]) -> int:
    try:
        text = describe()
    except SecurityError as error:
        print(f"{what}: {error}")
        return 1
    if text:
        print(f"{what}: {text}")
    return 0


def _describe_key(path: Path) -> str:
    try:
        key = read_key(path)
    except FileNotFoundError:
        return f"none at {path}; one is made at first use"
    return f"{path}\n    fingerprint {key.fingerprint}\n    to be read aloud: {key.spoken}"


def _describe_certificates(settings: Settings) -> str:
    folder = key_path(settings).absolute().parent
    named = (settings.server_tls.cert, settings.server_tls.cacerts, settings.client_tls.cert)
    if not any(named) and not any(folder.glob("*.pem")):
        return f"none in {folder}; needed off loopback alone, 'seppo keys new' makes some"
    server, client = server_files(settings), client_files(settings)
    expires = try_handshake(server, client)
    files = dict.fromkeys((server.cacerts, client.cacerts, server.cert, client.cert))
    lines = [
        f"    {name}\n    fingerprint {_fingerprint(read_certificate(name))}" for name in files
    ]
    left = (expires - datetime.now(timezone.utc)).days
    note = f", in {left} days: make new ones in time" if left < SOON else ""
    return "\n".join([f"good until {expires:%Y-%m-%d %H:%M} UTC{note}", *lines])


def _describe_machines(folder: Path) -> str:
    issued, revoked = read_list(folder / ISSUED_FILE), read_list(folder / REVOKED_FILE)
    lines = [
        f"    {serial} {name}{', revoked' if serial in revoked else ''}"
        for serial, name in {**revoked, **issued}.items()
    ]
    return "\n".join(["serial numbers of their certificates", *lines]) if lines else ""


def _fingerprint(data: bytes) -> str:
    return "SHA256:" + hashlib.sha256(data).hexdigest()
