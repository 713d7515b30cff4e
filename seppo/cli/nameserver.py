"""``seppo nameserver``: a Pyro5 name server on loopback, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import threading
from dataclasses import replace
from typing import Any

from seppo.settings import Settings
from seppo.transport.registry import NameServerThread


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "nameserver",
        help="run a name server",
        description="Run a Pyro5 name server; 'pyro5-ns' does as well.",
    )
    parser.add_argument("--host", help="address to listen on (default: PYRO_NS_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (default: PYRO_NS_PORT)")
    parser.set_defaults(verb="nameserver", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    settings = Settings.load()
    if arguments.host is not None:
        settings = replace(settings, ns_host=arguments.host)
    if arguments.port is not None:
        settings = replace(settings, ns_port=arguments.port)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    server = NameServerThread(settings.ns_host, settings.ns_port)
    print(f"name server at {server.host}:{server.port}, not encrypted; Ctrl-C stops it", flush=True)
    stop.wait()
    server.close()
    return 0
