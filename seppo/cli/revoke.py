"""``seppo keys revoke``: a machine that was lost belongs here no more."""

from __future__ import annotations

import argparse
from typing import Any

from seppo.cli.security import add_key_file, with_key_file
from seppo.settings import Settings
from seppo.trust.certificates import revoke
from seppo.trust.keyfile import key_path
from seppo.trust.revoked import REVOKED_FILE


def add_parser(actions: Any) -> None:
    """Add the action to ``seppo keys``."""
    parser = actions.add_parser(
        "revoke",
        help="refuse a machine's certificates from now on",
        description="Put a machine's certificates on the list of revoked ones. Programs that run "
        "here refuse them from the next connection on, others when they have the list: 'seppo "
        "keys push --revoked HOST...'.",
    )
    parser.add_argument(
        "which",
        metavar="MACHINE|SERIAL",
        help="the machine, or a serial number of 'seppo keys show'",
    )
    add_key_file(parser)
    parser.set_defaults(verb="keys", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Revoke, and say what else is to be done."""
    settings = with_key_file(Settings.load(), arguments)
    folder = key_path(settings).absolute().parent
    for serial, name in revoke(folder, arguments.which).items():
        print(f"revoked: {serial} of {name}")
    print(
        f"{folder / REVOKED_FILE} is the list; 'seppo keys push --revoked HOST...' copies it to "
        "the other machines.\nConnections that are open stay. The machine still has the shared "
        "key: if somebody else has it now, make all anew with 'seppo keys new --replace'."
    )
    return 0
