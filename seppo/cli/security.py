"""Arguments that several verbs share: key, name server, and doing without encryption."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from seppo.settings import Settings
from seppo.trust.tls import stays_here


def add_key_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--key-file`` to a verb."""
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="file of the shared key (default: SEPPO_KEY_FILE, or else seppo/key in the "
        "user's configuration directory)",
    )


def add_nameserver(parser: argparse.ArgumentParser) -> None:
    """Add ``--ns`` and ``--group`` to a verb that tells other machines of them."""
    parser.add_argument(
        "--ns",
        metavar="HOST[:PORT]",
        help="where the name server is, as the machines see it (default: PYRO_NS_HOST and "
        "PYRO_NS_PORT)",
    )
    parser.add_argument("--group", help="group of their workers and maps (default: SEPPO_GROUP)")


def with_nameserver(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """Return the settings with what the command line says of name server and group.

    Raises:
        ConfigurationError: If the port is no number.
    """
    if arguments.ns is not None:
        host, port = arguments.ns, str(Settings.ns_port)
        if host.count(":") == 1 or "]:" in host:  # an IPv6 address has colons of its own
            host, _, port = host.rpartition(":")
        read = Settings.read({"PYRO_NS_HOST": host.strip("[]"), "PYRO_NS_PORT": port})
        settings = replace(settings, ns_host=read.ns_host, ns_port=read.ns_port)
    if arguments.group is not None:
        settings = replace(settings, group=arguments.group)
    return settings


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
    if settings.insecure and not settings.tls_on_loopback and not stays_here(host):
        print(
            f"seppo {verb}: warning: it listens on {host} without TLS (--insecure): others on "
            "the network can read and change what is sent",
            file=sys.stderr,
            flush=True,
        )
