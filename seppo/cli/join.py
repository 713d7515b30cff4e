"""``seppo join``: take in what another machine has exported, and belong to it."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from pathlib import Path
from typing import Any

from seppo.errors import SecurityError
from seppo.settings import Settings, config_folder
from seppo.trust.joinfile import LARGEST, install, parse_join_file
from seppo.trust.keyfile import key_path


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "join",
        help="take in the keys that another machine has exported",
        description="Put keys, name server and group from a file of 'seppo keys export' into the "
        "user's configuration directory. All later commands and maps use them.",
    )
    parser.add_argument("file", metavar="FILE", help="the file; - for standard input")
    parser.add_argument(
        "--replace", action="store_true", help="put them in the place of other keys"
    )
    parser.set_defaults(verb="join", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Check the file, put everything in its place and say what is there now."""
    folder = config_folder()
    if not folder:
        raise SecurityError("there is no home directory in which the keys could be: set HOME")
    joined = parse_join_file(_read(arguments.file))
    for path in install(joined, Path(folder), arguments.replace):
        print(path)
    print(f"the key has the fingerprint {joined.key.spoken}")
    in_use = key_path(Settings.load())
    if in_use != Path(folder, "key"):
        print(f"seppo join: another key is in use, {in_use}: SEPPO_KEY_FILE", file=sys.stderr)
    return 0


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(LARGEST + 1)
    with open(name, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            print(
                f"seppo join: warning: others could read {name} (mode {mode:04o}); if somebody "
                "has, make new keys",
                file=sys.stderr,
            )
        return file.read(LARGEST + 1)
