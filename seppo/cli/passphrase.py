"""The passphrase of the authority: from a variable, or asked for at a terminal."""

from __future__ import annotations

import os
import sys
from getpass import getpass

from seppo.errors import ConfigurationError

VARIABLE = "SEPPO_CA_PASSPHRASE"


def new_passphrase() -> bytes:
    """Return a passphrase that was typed twice; nothing if none is wanted, or nobody is there.

    Raises:
        ConfigurationError: If the two are not the same.
    """
    text = os.environ.get(VARIABLE, "")
    if not text and _at_terminal():
        print(
            "The authority signs a certificate for each machine, so that one can be revoked. Its "
            "key is kept\nunder a passphrase. Without one it is thrown away, and all machines use "
            "the same certificate."
        )
        text = getpass("Passphrase (empty: throw it away): ")
        if text and getpass("The same again: ") != text:
            raise ConfigurationError("passphrase", "...", "the two are not the same")
    return text.encode()


def passphrase() -> bytes:
    """Return the passphrase that opens the authority's key.

    Raises:
        ConfigurationError: If nobody can be asked.
    """
    text = os.environ.get(VARIABLE, "")
    if not text and _at_terminal():
        text = getpass("Passphrase of the authority: ")
    if not text:
        raise ConfigurationError(VARIABLE, "''", "the passphrase of the authority is needed")
    return text.encode()


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
