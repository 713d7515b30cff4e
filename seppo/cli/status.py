"""``seppo status``: the hosts, their clients, and what runs for them."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from seppo.cli.security import add_key_file, with_key_file
from seppo.errors import SecurityError
from seppo.interfaces.columns import in_columns
from seppo.pyro.nameserver import Entry, NameServer
from seppo.pyro.proxy import call
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.wire.address import location_of

COLUMNS = ("name", "host", "pid", "group", "python", "address", "encrypted", "places", "state")
CLIENT_COLUMNS = ("client", "process", "pid", "world", "runs")
ASKED_AT_ONCE = 32


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "status",
        help="list the hosts and who uses them",
        description="List the registered hosts that hold your key: name, machine, pid, group, "
        "Python, and how many workers each client can have there; then for each client its "
        "workers and what they run.",
    )
    parser.add_argument("--group", help="only the hosts of this group")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_key_file(parser)
    parser.set_defaults(verb="status", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Ask the name server, then every supervisor, and print what they say."""
    settings = with_key_file(Settings.load(), arguments)
    credentials = Credentials(settings)
    entries, n_foreign = NameServer(settings, credentials).find_ours(arguments.group)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        rows = list(pool.map(lambda entry: _ask(credentials, entry, settings), entries))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    where = location_of(settings.ns_host, settings.ns_port)
    if not rows:
        others = f" of yours, and {n_foreign} with other keys" if n_foreign else ""
        print(f"no hosts{others} are registered at {where}; start some with 'seppo worker'")
        return 0
    print(in_columns([COLUMNS, *([str(row[key]) for key in COLUMNS] for row in rows)]))
    held = [line for row in rows for line in _held(row)]
    if held:
        print()
        print(in_columns([CLIENT_COLUMNS, *held]))
    return 0


def _ask(credentials: Credentials, entry: Entry, settings: Settings) -> dict[str, Any]:
    """Return what a supervisor says of itself; of one that does not answer, what is known."""
    row: dict[str, Any] = {
        "name": entry.name,
        "host": entry.facts.get("host", "?"),
        "pid": entry.facts.get("pid", "?"),
        "group": entry.facts.get("group", "?"),
        "python": entry.facts.get("python", "?"),
        "address": entry.address.location,
        "encrypted": "?",
        "places": entry.facts.get("places", "?"),
        "clients": [],
    }
    asked = time.monotonic()
    try:
        info = call(credentials, entry.address, "info", timeout=settings.connect_timeout)
    except TimeoutError:
        return {**row, "state": "silent"}
    except SecurityError as error:  # also when the key is another one
        return {**row, "state": "refused", "error": str(error)}
    except Exception as error:  # anything may listen where a supervisor once did
        return {**row, "state": "gone", "error": str(error)}
    processes = [process for client in info["clients"] for process in client["processes"]]
    in_use = "in use" if processes else "free"
    return {
        **row,
        "pid": info["pid"],
        "state": "draining" if info["draining"] else in_use,
        "encrypted": "yes" if info["encrypted"] else "no",
        "places": info["places"],
        "spares": len(info["spares"]),
        "clients": info["clients"],
        "answered_in": round(time.monotonic() - asked, 4),
    }


def _held(row: dict[str, Any]) -> list[list[str]]:
    """Return a line for each process of each client of a host."""
    lines = []
    for client in row["clients"]:
        name = "".join(c if c.isprintable() else "?" for c in client["name"])
        for process in client["processes"]:
            first, stop = process["first"], process["stop"]
            runs = f"item {first}" if stop == first + 1 else f"items {first} to {stop - 1}"
            lines.append(
                [name, process["name"], str(process["pid"]), str(process["world"]),
                 (process["setup"] or runs) if process["busy"] else "-"]
            )  # fmt: skip
    return lines
