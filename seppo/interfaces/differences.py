"""Warnings about versions that differ between the caller and the workers, once each."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter
from textwrap import indent
from typing import TypeVar

from seppo.interfaces.columns import in_columns
from seppo.place import level_of_caller
from seppo.shipping.bundle import Bundle

T = TypeVar("T")

_told: set[tuple[str, str, str]] = set()  # what, here, there

HEADS = ("", "here", "there", "on")


def tell_differences(bundle: Bundle) -> None:
    """Warn of versions that differ on workers, if there is anything new to tell.

    Call it in the caller's thread: a warning may be raised as an exception.
    """
    if not bundle.differences:
        return
    here = bundle.manifest.environment
    found: dict[tuple[str, str, str], list[str]] = {}
    for worker, versions in sorted(_taken(bundle.differences), key=itemgetter(0)):
        for name, there in sorted(versions.items()):
            found.setdefault((name, here.get(name, ""), there), []).append(worker)
    new = {key: workers for key, workers in found.items() if key not in _told}
    if not new:
        return
    _told.update(new)
    rows = [
        (name, ours, theirs or "missing", _short(workers))
        for (name, ours, theirs), workers in new.items()
    ]
    warnings.warn(
        "what the function uses is not the same on all machines; results may differ:\n"
        + indent(in_columns([HEADS, *rows]), "  "),
        RuntimeWarning,
        stacklevel=level_of_caller(),
    )


def _taken(news: deque[T]) -> Iterator[T]:
    """Take out what is there; another thread may do the same."""
    with suppress(IndexError):
        while True:
            yield news.popleft()


def _short(workers: list[str]) -> str:
    more = f" and {len(workers) - 3} more" if len(workers) > 3 else ""
    return ", ".join(workers[:3]) + more
