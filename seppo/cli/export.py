"""``seppo keys export``: all that another machine needs to join, in one file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from seppo.cli.passphrase import passphrase
from seppo.cli.security import add_key_file, add_nameserver, with_key_file, with_nameserver
from seppo.settings import Settings
from seppo.trust.certificates import issue_for, open_authority
from seppo.trust.joinfile import JoinFile, collect
from seppo.trust.keyfile import key_path


def add_parser(actions: Any) -> None:
    """Add the action to ``seppo keys``."""
    parser = actions.add_parser(
        "export",
        help="write a file with which another machine joins",
        description="Write the keys, the name server's address and the group to a file for "
        "'seppo join'. Whoever can read it can run code as everybody who uses these keys.",
    )
    parser.add_argument("file", metavar="FILE", help="where to write it; - for standard output")
    parser.add_argument(
        "--machine",
        metavar="NAME",
        help="make a certificate for that machine, which can be revoked by this name (needs the "
        "authority's key; default: this machine's certificate goes along)",
    )
    add_key_file(parser)
    add_nameserver(parser)
    parser.set_defaults(verb="keys", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Write the file and say what to do with it."""
    settings = with_nameserver(with_key_file(Settings.load(), arguments), arguments)
    path, own = key_path(settings).absolute(), None
    if arguments.machine is not None:
        own = issue_for(open_authority(path.parent, passphrase()), path.parent, arguments.machine)
    joined = collect(settings, path, own)
    warn_without_nameserver(joined)
    if arguments.file == "-":
        sys.stdout.buffer.write(joined.to_bytes())
        return 0
    _write(Path(arguments.file), joined.to_bytes())
    print(
        f"{arguments.file} holds the key with the fingerprint {joined.key.spoken}; run "
        "'seppo join FILE' with it on the other machine, and remove it then"
    )
    return 0


def warn_without_nameserver(joined: JoinFile) -> None:
    """Say on standard error if the other machine is not told of a name server."""
    if "PYRO_NS_HOST" not in joined.settings:
        print(
            "seppo keys: no name server goes along, since this machine uses one on loopback; "
            "--ns names one",
            file=sys.stderr,
        )


def _write(path: Path, content: bytes) -> None:
    """Make a file that nobody else can read; one that is there is left alone."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(content)
    except BaseException:
        path.unlink()
        raise
