"""``python -m benchmarks``: arguments, and where the results go."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.chart import draw
from benchmarks.functions import calibrate
from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.runner import Runner, say
from benchmarks.table import aims_table, heading, peers_table, workload_table
from benchmarks.workloads import WORKLOADS, Workload

ROUNDS, QUICK_ROUNDS = 7, 2
TIMEOUT, QUICK_TIMEOUT = 300.0, 20.0  # seconds for one round of one workload

Measured = dict[str, tuple[Workload, Results]]


def main() -> int:
    """Run what was asked for; return the exit code."""
    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    about = machine.describe() | {"load_before": machine.load()}
    print(heading(about, arguments.workers))
    measured: Measured = {}
    # Short: Ray's sockets lie there, and their paths may have 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="bench", ignore_cleanup_errors=True) as directory:
        runner = Runner(
            arguments.peers,
            arguments.workers,
            Path(directory),
            QUICK_TIMEOUT if arguments.quick else TIMEOUT,
        )
        try:
            _run_all(runner, arguments, measured)
        except KeyboardInterrupt:
            say("interrupted: ending the peers")
        finally:
            runner.close()
    about["load_after"] = machine.load()
    print(peers_table(runner.records))
    print(aims_table(measured))
    print(f"load average before {about['load_before']}, after {about['load_after']}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(_document(about, runner, measured), indent=1))
    if arguments.chart:
        _draw(measured, about, arguments.chart)
    return 0 if len(measured) == len(arguments.workloads) else 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds")
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), metavar="A,B")
    parser.add_argument(
        "--workloads", type=_names(WORKLOADS), default=list(WORKLOADS), metavar="A,B"
    )
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--chart", metavar="FILE", help="draw a picture (matplotlib)")
    parser.add_argument("-n", dest="workers", type=int, default=machine.cpu_count())
    parser.epilog = f"peers: {', '.join(PEERS)}; workloads: {', '.join(WORKLOADS)}"
    return parser


def _names(known: Collection[str]) -> Any:
    def names(text: str) -> list[str]:
        wanted = text.split(",")
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return wanted

    return names


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _run_all(runner: Runner, arguments: argparse.Namespace, measured: Measured) -> None:
    quick = arguments.quick
    rounds = arguments.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    loops = calibrate()
    runner.start()
    for name in arguments.workloads:
        workload = WORKLOADS[name]
        say(f"{name}, {rounds} rounds")
        sizes = {**(workload.quick if quick else workload.full), "loops": loops}
        results = runner.run(workload, sizes, rounds)
        measured[name] = workload, results
        print(workload_table(workload, results), flush=True)


def _document(about: dict[str, Any], runner: Runner, measured: Measured) -> dict[str, Any]:
    return {
        **about,
        "workers": runner.n_workers,
        "peers": {
            name: {**asdict(record), "title": PEERS[name].title, "note": PEERS[name].note}
            for name, record in runner.records.items()
        },
        "workloads": {
            name: {
                "measures": workload.measures.format(**results.params),
                "params": results.params,
                "reference": workload.reference,
                "peers": {peer: _entry(workload, results, peer) for peer in results.entries},
                "aims": [
                    {**asdict(aim), "is_reached": aim.is_reached} for aim in workload.aims(results)
                ],
            }
            for name, (workload, results) in measured.items()
        },
    }


def _entry(workload: Workload, results: Results, peer: str) -> dict[str, Any]:
    return {
        **asdict(results.entries[peer]),
        "median": results.median(peer),
        "ratio": results.ratio(peer, workload.reference),
        "figures": {c.title: c.figure(results, peer) for c in workload.columns},
    }


def _draw(measured: Measured, about: dict[str, Any], path: str) -> None:
    try:
        draw(measured, about, path)
    except ImportError:
        print("no chart: matplotlib is not installed", file=sys.stderr)
    except ValueError as error:
        print(f"no chart: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
