"""The command ``seppo``: its verbs, their arguments, and exit codes.

Exit codes: 0 all went well; 1 it did not, and a line on standard error says why; 2 the
command line is not valid; ``seppo run`` gives the exit code of its script.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from seppo.cli import doctor, join, keys, nameserver, run, status, worker
from seppo.errors import SeppoError
from seppo.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None for those of this process.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.print_help()
        return 2
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
    )
    try:
        code: int = arguments.execute(arguments)
        return code
    except KeyboardInterrupt:
        return 130  # as a shell reports a program ended by Ctrl-C
    except (SeppoError, OSError, RuntimeError) as error:
        print(f"seppo {arguments.verb}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seppo",
        description="map on every core of every machine",
        epilog="The name server is looked for at PYRO_NS_HOST and PYRO_NS_PORT, or else where "
        "'seppo join' was told (127.0.0.1 and 9090 without).",
    )
    parser.add_argument("--version", action="version", version=f"seppo {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    parser.set_defaults(verb=None)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for module in (run, worker, status, doctor, nameserver, keys, join):
        module.add_parser(verbs)
    return parser
