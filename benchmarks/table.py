"""Results as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.runner import Record
from benchmarks.workloads import Workload


def workload_table(workload: Workload, results: Results) -> str:
    """Return the table of one workload: quickest first, then who has no figure and why."""
    reference = PEERS[workload.reference].title
    head = ["", "median", "min", "max", "rounds", f"x {reference}"]
    head += [column.title for column in workload.columns]
    timed = sorted(
        (peer for peer in results.entries if results.seconds(peer)),
        key=lambda peer: results.median(peer) or 0.0,
    )
    rows = [head, *(_row(workload, results, peer) for peer in timed)]
    lines = [f"{workload.name}: {workload.measures.format(**results.params)}"]
    lines += _aligned(rows)
    for peer, entry in results.entries.items():
        if entry.problem:
            lines.append(f"  {PEERS[peer].title}: {entry.problem}")
    lacking: dict[str, list[str]] = {}
    for peer, entry in results.entries.items():
        if entry.not_offered:
            lacking.setdefault(entry.not_offered, []).append(PEERS[peer].title)
    lines += [f"  not here, {why}: {', '.join(titles)}" for why, titles in lacking.items()]
    if results.seconds("seppo"):
        lines += [f"  aim {aim}" for aim in workload.aims(results)]
    return "\n".join(lines) + "\n"


def _row(workload: Workload, results: Results, peer: str) -> list[str]:
    times = results.seconds(peer)
    return [
        PEERS[peer].title,
        span(results.median(peer)),
        span(min(times)),
        span(max(times)),
        str(len(times)),
        number(results.ratio(peer, workload.reference)),
        *(number(column.figure(results, peer), column.decimals) for column in workload.columns),
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + row[0].ljust(widths[0]) + "".join(
            "  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        )
        for row in rows
    ]  # fmt: skip


def span(seconds: float | None) -> str:
    """Return a time with three digits and its unit.

    >>> span(0.0001234), span(0.5), span(12.3)
    ('123 us', '500 ms', '12.3 s')
    """
    if seconds is None:
        return "-"
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds:#.3g}".rstrip(".") + " s"


def number(value: float | None, decimals: int = 2) -> str:
    """Return a figure, in three digits or so.

    >>> number(1.234), number(0.01234), number(123.4), number(None)
    ('1.23', '0.012', '123', '-')
    """
    if value is None:
        return "-"
    if decimals == 2:
        decimals = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{decimals}f}"


def heading(machine: Mapping[str, Any], n_workers: int) -> str:
    """Return the lines above the tables."""
    return (
        f"seppo benchmarks, {machine['date']}, commit {machine['commit']}\n"
        f"{machine['cpu']}, {machine['cpus']} CPUs, Python {machine['python']}, "
        f"{machine['platform']}\n"
        f"{machine['command']}: {n_workers} workers; ratios are medians of ratios within "
        "rounds; every result is checked\n"
    )


def peers_table(records: Mapping[str, Record]) -> str:
    """Return who took part, in which version and how."""
    rows = [["", "version", "start", ""]]
    for name, record in records.items():
        peer = PEERS[name]
        what = record.problem.upper() if record.problem == "not installed" else record.problem
        rows.append([peer.title, record.version or "-", span(record.started), what or peer.note])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["peers"]
    for title, version, start, text in rows:
        cells = [title.ljust(widths[0]), version.rjust(widths[1]), start.rjust(widths[2])]
        lines.append("  " + "  ".join([*cells, text]).rstrip())
    for name, record in records.items():
        if record.left:
            left = "; ".join(record.left)
            lines.append(f"  {PEERS[name].title} left processes behind, now ended: {left}")
    return "\n".join(lines) + "\n"


def aims_table(measured: Mapping[str, tuple[Workload, Results]]) -> str:
    """Return all aims of seppo in one list."""
    lines = ["aims"]
    for name, (workload, results) in measured.items():
        if results.seconds("seppo"):
            lines += [f"  {name}: {aim}" for aim in workload.aims(results)]
    return "\n".join(lines) + "\n"
