"""The arguments of a chunk's items: its columns, unpacked a burst at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from seppo.values.batch import Unpacker
from seppo.wire.packed import Batch


class Arguments:
    """The columns of a chunk. For the thread that runs it, ``stop_at`` excepted.

    Args:
        columns: The packed columns, one for each argument of the function.
        index: What number the first item has, for the errors of those that fail.

    Raises:
        ProtocolError: If a column makes no sense.

    Attributes:
        has_failures: Whether an argument that was loaded is a ``Failure``, since it could not
            be unpacked.
    """

    def __init__(self, columns: Sequence[Batch], index: int) -> None:
        self.has_failures = False
        name = partial(_name, index)  # no method: a circle would outlive its chunk
        self._unpackers = [Unpacker(column, name) for column in columns]
        self._columns: list[list[Any]] = [[] for _ in columns]  # what was unpacked last
        self._next = 0  # the item that runs next, in these

    def load(self, wanted: int) -> int:
        """Have items unpacked and return how many can run in one burst, at most ``wanted``."""
        if self._next >= len(self._columns[0]) and wanted > 0:
            self._columns = [unpacker.take(wanted) for unpacker in self._unpackers]
            self._next = 0
            self.has_failures = any(unpacker.has_failures for unpacker in self._unpackers)
        # The columns differ when the rest was given back in the middle of this.
        return max(0, min(wanted, min(map(len, self._columns)) - self._next))

    def ahead(self, n: int) -> list[list[Any]]:
        """Return the columns of the next ``n`` items that are unpacked, in lists of their own."""
        return [column[self._next : self._next + n] for column in self._columns]

    def drop(self, n: int) -> None:
        """Drop the arguments of ``n`` items, which have run."""
        at = self._next
        self._next += n
        for column in self._columns:
            if self._next >= len(column):
                column.clear()
            else:
                column[at : self._next] = [None] * n

    def pop(self) -> list[Any]:
        """Return the arguments of the next item that is unpacked; they are kept nowhere else."""
        at = self._next
        self._next = at + 1
        found = [column[at] for column in self._columns]
        for column in self._columns:
            column[at] = None
        return found

    def take_one(self) -> list[Any] | None:
        """Unpack one item and return its arguments; None if it was dropped meanwhile."""
        found = []
        for unpacker in self._unpackers:
            taken = unpacker.take(1)
            if not taken:
                return None
            found += taken
        return found

    def stop_at(self, position: int) -> None:
        """Unpack no items from a position on; any thread may say so."""
        for unpacker in self._unpackers:
            unpacker.limit = position


def _name(index: int, position: int) -> str:
    return f"item {index + position}"
