"""Tables for people: rows of texts, in columns of equal width."""

from __future__ import annotations

from collections.abc import Iterable


def in_columns(rows: Iterable[Iterable[str]]) -> str:
    """Return a line for each row.

    >>> print(in_columns([("worker", "state"), ("a", "idle")]))
    worker  state
    a       idle
    """
    lines = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
