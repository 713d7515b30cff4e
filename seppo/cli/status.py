"""``seppo status``: which workers are there, and what they do."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from seppo.cli.security import add_key_file, with_key_file
from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.transport.credentials import Credentials
from seppo.transport.nameserver import Entry, NameServer
from seppo.transport.proxy import call

COLUMNS = ("name", "host", "pid", "group", "python", "address", "encrypted", "state", "items")
ASKED_AT_ONCE = 32


def add_parser(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser = verbs.add_parser(
        "status",
        help="list the workers",
        description="List the registered workers: name, host, pid, group, Python, whether "
        "busy or idle, and how many items they have done.",
    )
    parser.add_argument("--group", help="only the workers of this group")
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    add_key_file(parser)
    parser.set_defaults(verb="status", execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Ask the name server, then every worker, and print what they say."""
    settings = with_key_file(Settings.load(), arguments)
    credentials = Credentials(settings)
    entries = NameServer(settings, credentials).find(arguments.group)
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        rows = list(pool.map(lambda entry: _ask(credentials, entry, settings), entries))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    where = f"{settings.ns_host}:{settings.ns_port}"
    if not rows:
        print(f"no workers are registered at {where}; start some with 'seppo worker'")
        return 0
    print(_table([COLUMNS, *([str(row[key]) for key in COLUMNS] for row in rows)]))
    return 0


def _ask(credentials: Credentials, entry: Entry, settings: Settings) -> dict[str, Any]:
    """Return what a worker says of itself; of one that does not answer, what is known."""
    row: dict[str, Any] = {
        "name": entry.name,
        "host": entry.facts.get("host", "?"),
        "pid": entry.facts.get("pid", "?"),
        "group": entry.facts.get("group", "?"),
        "python": entry.facts.get("python", "?"),
        "address": f"{entry.address.host}:{entry.address.port}",
        "encrypted": "?",
        "items": "?",
    }
    asked = time.monotonic()
    try:
        info = call(credentials, entry.address, "info", timeout=settings.connect_timeout)
    except TimeoutError:
        return {**row, "state": "silent"}
    except SecurityError as error:  # also when the key is another one
        return {**row, "state": "refused", "error": str(error)}
    except Exception as error:  # anything may listen where a worker once did
        return {**row, "state": "gone", "error": str(error)}
    return {
        **row,
        "pid": info["pid"],
        "state": "busy" if info["busy"] else "idle",
        "encrypted": "yes" if info["encrypted"] else "no",
        "items": info["items_done"],
        "clients": info["clients"],
        "answered_in": round(time.monotonic() - asked, 4),
    }


def _table(rows: Iterable[Iterable[str]]) -> str:
    lines = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
