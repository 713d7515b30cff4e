"""``seppo keys push``: have other machines join, over the system's ssh."""

from __future__ import annotations

import argparse
import subprocess
from typing import Any

from seppo.cli.export import warn_without_nameserver
from seppo.cli.passphrase import passphrase
from seppo.cli.security import add_key_file, add_nameserver, with_key_file, with_nameserver
from seppo.errors import ConfigurationError, SecurityError
from seppo.settings import Settings
from seppo.trust.certificates import has_authority, issue_for, open_authority
from seppo.trust.joinfile import KEY_FILE, JoinFile, collect
from seppo.trust.joinscript import OTHER_KEYS, JoinScript
from seppo.trust.keyfile import key_path
from seppo.trust.revoked import REVOKED_FILE

# A host that is off, or goes off, is an error; ssh itself would wait for minutes, or for ever.
SSH = ["ssh", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]
MOST = 500  # characters of what ssh says


def add_parser(actions: Any) -> None:
    """Add the action to ``seppo keys``."""
    parser = actions.add_parser(
        "push",
        help="have other machines join, over ssh",
        description="Put the keys, the name server's address and the group on other machines, as "
        "'seppo join' would, and see what lies there then. They need no seppo for it. If the "
        "authority's key was kept, each gets a certificate of its own. The exit code is 1 if "
        "that failed on one of them.",
    )
    parser.add_argument(
        "hosts", metavar="HOST", nargs="+", help="a machine, as ssh knows it: USER@HOST, or HOST"
    )
    parser.add_argument(
        "--replace", action="store_true", help="put them in the place of other keys"
    )
    parser.add_argument(
        "--revoked",
        action="store_true",
        help="send the list of revoked certificates alone, to machines that have the key",
    )
    add_key_file(parser)
    add_nameserver(parser)
    parser.set_defaults(verb="keys", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Send the keys to each host, and tell for each what came of it."""
    settings = with_nameserver(with_key_file(Settings.load(), arguments), arguments)
    for host in arguments.hosts:
        if host.startswith("-") or not host.isprintable():
            raise ConfigurationError("HOST", repr(host), "the name of a machine is needed")
    path = key_path(settings).absolute()
    joined = collect(settings, path)
    authority = None
    if arguments.revoked:
        kept = (KEY_FILE, REVOKED_FILE)
        joined = JoinFile({name: joined.files[name] for name in kept if name in joined.files})
    else:
        warn_without_nameserver(joined)
        if has_authority(path.parent):
            authority = open_authority(path.parent, passphrase())
    failed = False
    for host in arguments.hosts:
        try:
            if authority is not None:
                joined = collect(settings, path, issue_for(authority, path.parent, host))
            fingerprint = _push(host, joined, arguments.replace)
            outcome = f"it has the key with the fingerprint {fingerprint}"
        except SecurityError as error:
            outcome, failed = f"FAILED: {error}", True
        print(f"{host}: {outcome}", flush=True)
    return int(failed)


def _push(host: str, joined: JoinFile, replace: bool) -> str:
    """Have one machine join and return the fingerprint of the key that is there now."""
    script = JoinScript(joined, replace)
    try:
        done = subprocess.run(
            [*SSH, host, "sh"], input=script.text, capture_output=True, encoding="utf-8",
            errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise SecurityError(f"ssh cannot be run: {error.strerror}") from error
    if done.returncode == OTHER_KEYS:
        raise SecurityError("there are other keys on it; --replace puts these in their place")
    if done.returncode:
        said = "; ".join(filter(None, (line.strip() for line in done.stderr.splitlines())))
        told = "".join(c if c.isprintable() else "?" for c in said)[-MOST:]
        raise SecurityError(told or f"ssh ended with exit code {done.returncode}")
    return script.check(done.stdout).spoken
