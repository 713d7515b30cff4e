"""The outcomes of a chunk's items, from the thread that runs them to the one that sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seppo.values.batch import count_ready
from seppo.values.outcome import Failure
from seppo.values.serialize import PLAIN_TYPES


class Outcomes:
    """Outcomes in order. The lock of the run guards everything, except where noted.

    Attributes:
        add: Adds a value of a tight loop. Without the lock: only appends happen meanwhile.
        taken: How many were handed over.
        are_plain: Whether all so far are of plain types; certain between bursts.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.are_plain = True
        self._values: list[Any] = []
        self._dropped = 0  # handed over, and no more among the values
        self.add: Callable[[Any], None] = self._values.append

    @property
    def count(self) -> int:
        """How many there are, those that were handed over included."""
        return self._dropped + len(self._values)

    def add_failure(self, failure: Failure, n: int = 1) -> None:
        """Add what stands for ``n`` items that have failed; no lock is needed in a tight loop."""
        self.are_plain = False
        self._values.extend([failure] * n)

    def add_one(self, outcome: Any) -> None:
        """Add an outcome that is plain or packed."""
        self._values.append(outcome)
        self.are_plain = self.are_plain and type(outcome) in PLAIN_TYPES

    def replace_last(self, packed: Any) -> None:
        """Put what was packed in the place of the last value, which is not plain; no lock."""
        self.are_plain = False
        self._values[-1] = packed

    def drop_taken(self) -> None:
        """Forget outcomes that were handed over; only while no tight loop runs."""
        del self._values[: self.taken - self._dropped]
        self._dropped = self.taken

    def take(self, is_looping: bool) -> list[Any]:
        """Return outcomes not yet taken, in order.

        Args:
            is_looping: Whether a tight loop is under way. Then the first that is still to be
                packed, which is the running thread's, ends them.
        """
        values = self._values[self.taken - self._dropped :]
        if is_looping:
            del values[count_ready(values) :]
        self.taken += len(values)
        return values
