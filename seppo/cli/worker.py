"""``seppo worker``: workers on this machine, until Ctrl-C, or SIGTERM, which drains."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import Any

from seppo.cli.security import add_insecure, add_key_file, warn_if_insecure, with_key_file
from seppo.errors import ConfigurationError
from seppo.host.launcher import launcher
from seppo.host.options import HostOptions
from seppo.host.supervisor import Supervisor
from seppo.settings import Settings
from seppo.wire.address import location_of
from seppo.wire.config import cpus
from seppo.worker.process import run_worker


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "worker",
        help="run workers on this machine",
        description="Keep worker processes ready on this machine, lease them to clients, and "
        "stop all on Ctrl-C. SIGTERM lets them finish what runs; a second one stops them.",
    )
    add_count(parser)
    parser.add_argument("--group", help="name under which clients find the workers")
    parser.add_argument("--name", help="prefix of the workers' names (default: this host's)")
    parser.add_argument(
        "--host", help="address to listen on (default: PYRO_HOST, or else 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=0, help="port of the supervisor")
    parser.add_argument(
        "--max-file-size", type=size, metavar="SIZE",
        help="largest file accepted from clients: bytes, or 10K, 20M, 3G (default: any)",
    )  # fmt: skip
    parser.add_argument(
        "--preload", metavar="MODULES", default="",
        help="modules to import once, for all workers, such as numpy,pandas",
    )  # fmt: skip
    parser.add_argument(
        "--max-clients", type=int, metavar="N", default=HostOptions.max_clients,
        help="clients that can have all their workers at once; more clients get one each "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=size, metavar="SIZE", default=0,
        help="largest data of one worker, such as 500M or 2G; beyond, items get a MemoryError",
    )  # fmt: skip
    parser.add_argument(
        "--max-items", type=int, metavar="N", default=0,
        help="replace a worker after this many items",
    )  # fmt: skip
    parser.add_argument(
        "--nice", type=int, metavar="N", default=0,
        help="lower the priority of the workers, by 1 to 19",
    )  # fmt: skip
    add_key_file(parser)
    add_insecure(parser)
    parser.set_defaults(verb="worker", execute=execute)


def add_count(parser: argparse.ArgumentParser) -> None:
    """Add ``-n`` to a verb."""
    parser.add_argument(
        "-n", dest="count", type=int, default=None, metavar="N",
        help="workers for each client (default: the CPUs this process may use; -1 leaves one "
        "free)",
    )  # fmt: skip


def size(text: str) -> int:
    """Return a number of bytes.

    Raises:
        ValueError: If the text is none.

    >>> size("300"), size("2K"), size("1.5M")
    (300, 2048, 1572864)
    """
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number, unit = text.upper().removesuffix("B"), 1
    if number[-1:] in units:
        number, unit = number[:-1], units[number[-1:]]
    found = int(float(number) * unit)
    if found < 1:
        raise ValueError(text)
    return found


def workers_wanted(count: int | None) -> int:
    """Return the number of workers that ``-n`` asks for.

    Raises:
        ConfigurationError: For 0.
    """
    if count == 0:
        raise ConfigurationError("-n", "0", "at least one worker is needed")
    if count is None:
        return cpus()
    return count if count > 0 else max(1, cpus() + count)


def execute(arguments: argparse.Namespace) -> int:
    """Supervise workers until told to stop."""
    settings = with_key_file(Settings.load(group=arguments.group), arguments)
    if arguments.host is not None:
        settings = replace(settings, host=arguments.host)
    if arguments.max_file_size is not None:
        os.environ["SEPPO_MAX_FILE_SIZE"] = str(arguments.max_file_size)  # workers inherit it
    count = workers_wanted(arguments.count)
    options = HostOptions(
        count, arguments.name or "", arguments.port, arguments.max_clients,
        tuple(filter(None, arguments.preload.split(","))),
        arguments.memory, arguments.max_items, arguments.nice,
    )  # fmt: skip
    forker = launcher(run_worker, options.preload, options.threads)  # before any thread
    supervisor = Supervisor(settings, options, forker)
    warn_if_insecure("worker", settings, supervisor.address.host)
    nameserver = location_of(settings.ns_host, settings.ns_port)
    encrypted = "encrypted" if supervisor.is_encrypted else "not encrypted"
    print(
        f"{count} worker(s) for each client of group {settings.group!r} listen on {settings.host}, "
        f"{encrypted}; name server {nameserver}; Ctrl-C stops them",
        flush=True,
    )
    supervisor.run()
    return 0
