"""``seppo nameserver``: a Pyro5 name server, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import threading
from dataclasses import replace
from typing import Any

from seppo.cli.security import add_insecure, add_key_file, warn_if_insecure, with_key_file
from seppo.pyro.registry import NameServerThread, ignore_warnings_of_parsers
from seppo.settings import Settings
from seppo.trust.credentials import Credentials


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "nameserver",
        help="run a name server",
        description="Run a Pyro5 name server that clients without the key cannot block. To "
        "listen beyond loopback it needs certificates (see 'seppo keys').",
    )
    parser.add_argument("--host", help="address to listen on (default: PYRO_NS_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (default: PYRO_NS_PORT)")
    add_key_file(parser)
    add_insecure(parser)
    parser.set_defaults(verb="nameserver", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    settings = with_key_file(Settings.load(), arguments)
    if arguments.host is not None:
        settings = replace(settings, ns_host=arguments.host)
    if arguments.port is not None:
        settings = replace(settings, ns_port=arguments.port)
    ignore_warnings_of_parsers()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    credentials = Credentials(settings)
    server = NameServerThread(settings.ns_host, settings.ns_port, credentials)
    warn_if_insecure("nameserver", settings, server.host)
    encrypted = "encrypted" if credentials.is_encrypted(server.host) else "not encrypted"
    print(f"name server at {server.host}:{server.port}, {encrypted}; Ctrl-C stops it", flush=True)
    while not stop.wait(1.0):  # a signal that another thread took wakes nobody
        pass
    server.close()
    return 0
