"""``seppo keys``: the shared key and the certificates that join machines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seppo.cli import export, push, revoke, show
from seppo.cli.passphrase import new_passphrase
from seppo.cli.security import add_key_file, add_nameserver, with_key_file, with_nameserver
from seppo.settings import Settings, config_folder
from seppo.trust.certificates import DAYS, make_bundle
from seppo.trust.joinfile import SETTINGS_FILE, settings_to_tell, update_settings
from seppo.trust.keyfile import key_path, write_private


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "keys",
        help="make, show and pass on the keys that join machines",
        description="Whoever holds these keys can run code on the workers, and as everybody who "
        "uses them. One machine alone needs no more than the shared key, which is made at first "
        "use.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="make a shared key and certificates",
        description="Make a folder with an authority, a certificate with its key, and the "
        "shared key if there is none. The authority's key is kept under a passphrase that is asked "
        "for, or taken from SEPPO_CA_PASSPHRASE; without one it is thrown away. 'seppo keys push' "
        "and 'seppo keys export' pass them on.",
    )
    add_key_file(new)
    add_nameserver(new)
    new.add_argument(
        "--days", type=int, default=DAYS, help=f"how long they are good for (default: {DAYS})"
    )
    new.add_argument(
        "--replace",
        action="store_true",
        help="make all anew, the shared key too: the old ones stop working",
    )
    new.add_argument(
        "--discard-authority",
        action="store_true",
        help="ask for no passphrase, and throw the authority's key away: all machines use one "
        "certificate, and none can be revoked",
    )
    new.set_defaults(verb="keys", execute=execute_new)
    for module in (show, export, push, revoke):
        module.add_parser(actions)


def execute_new(arguments: argparse.Namespace) -> int:
    """Make keys and say what to do with them."""
    settings = with_nameserver(with_key_file(Settings.load(), arguments), arguments)
    path = key_path(settings).absolute()
    file = Path(config_folder() or path.parent, SETTINGS_FILE)
    told = update_settings(file.parent, settings_to_tell(settings))
    passphrase = b"" if arguments.discard_authority else new_passphrase()
    paths = make_bundle(path, arguments.days, arguments.replace, passphrase)
    if arguments.ns is not None or arguments.group is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, told)
        paths.append(file)
    for each in paths:
        print(each)
    if not passphrase:
        print(
            "The authority's key was thrown away: all machines use one certificate. To be able to "
            "revoke that\nof one machine, run this at a terminal, or with SEPPO_CA_PASSPHRASE."
        )
    print(
        "'seppo keys push HOST' puts them on another machine over ssh; without ssh, 'seppo keys "
        "export FILE' and 'seppo join FILE' do.\n"
        "Start (again) the name server and the workers that are to use the keys."
    )
    return 0
