"""One door for every library that is compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from benchmarks.functions import closing_over, pick

CHILD = "benchmarks.child"


class NotOffered(Exception):
    """The peer has no such way; the text says what is missing."""


class Peer:
    """A library with its workers.

    ``start`` and all below it run in the peer's child process; the rest is known without
    importing the library. ``chunk`` is what a user who measured would choose; it serves
    only libraries that would otherwise send items one by one and let the user choose.

    Attributes:
        name: Used in ``--peers`` and in the JSON file.
        title: Used in tables and charts.
        package: The distribution that must be installed; "" for none.
        module: The module that must be importable; "" for none.
        note: How it is used here, for readers who want to judge.
        is_lazy: Its ``stream`` takes iterators and returns results while it reads them.
        startup: A script that prints after its first result, or "".
    """

    name: ClassVar[str]
    title: ClassVar[str]
    package: ClassVar[str] = ""
    module: ClassVar[str] = ""
    note: ClassVar[str] = ""
    is_lazy: ClassVar[bool] = False
    startup: ClassVar[str] = ""

    @classmethod
    def command(cls, n_workers: int) -> list[str]:
        """Return the command line of the child process.

        Raises:
            NotOffered: If something is missing on this machine.
        """
        return [sys.executable, "-m", CHILD, cls.name, str(n_workers)]

    def start(self, n_workers: int) -> None:
        """Start the workers."""

    def close(self) -> None:
        """End the workers."""

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """Return the results as a list."""
        raise NotOffered("no map")

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """Return the results to be consumed one by one; without a better way, a list."""
        return self.map(func, list(items), chunk)

    def map_over(self, data: Any, items: Sequence[int], chunk: int) -> list[float]:
        """Return ``data[i]`` for each item, by a function that brings the data along."""
        return self.map(closing_over(data), items, chunk)

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """Return something like a future."""
        raise NotOffered("no submit")

    def gather(self, futures: list[Any]) -> list[Any]:
        """Return the results of what ``submit`` gave."""
        return [future.result() for future in futures]


class PlainPicklePeer(Peer):
    """A library that cannot pickle closures: data come with ``functools.partial``."""

    def map_over(self, data: Any, items: Sequence[int], chunk: int) -> list[float]:
        """See ``Peer``."""
        return self.map(partial(pick, data=data), items, chunk)
