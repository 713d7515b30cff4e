"""Arguments that several verbs share: ``--key-file`` and ``--insecure``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from seppo.settings import Settings
from seppo.trust.tls import is_loopback


def add_key_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--key-file`` to a verb."""
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="file of the shared key (default: SEPPO_KEY_FILE, or else seppo/key in the "
        "user's configuration directory)",
    )


def add_insecure(parser: argparse.ArgumentParser) -> None:
    """Add ``--insecure`` to a verb."""
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="listen beyond loopback without TLS: others on the network can read and change "
        "what is sent",
    )


def with_key_file(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """Return the settings with what the command line says of the key and of TLS."""
    if arguments.key_file is not None:
        settings = replace(settings, key_file=arguments.key_file)
    if getattr(arguments, "insecure", False):
        settings = replace(settings, insecure=True)
    return settings


def warn_if_insecure(verb: str, settings: Settings, host: str) -> None:
    """Say on standard error that what goes over the network can be read by others."""
    if settings.insecure and not settings.tls_on_loopback and not is_loopback(host):
        print(
            f"seppo {verb}: warning: it listens on {host} without TLS (--insecure): others on "
            "the network can read and change what is sent",
            file=sys.stderr,
            flush=True,
        )
