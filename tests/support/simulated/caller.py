"""A caller of ``map_parallel`` in a simulation: offers input, takes results, checks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from seppo.core import commands as do
from seppo.core.spans import SpanSet
from simulated.facts import SimulatedJob


class Caller:
    """What the caller of one job has offered, and what he has got.

    Args:
        job: The number of the job.
        task: What is to be done.
        fail: Raises ``SimulationError``.

    Attributes:
        allowed: Items that may have been offered by now.
        fresh: Items that were handed out, at least once.
    """

    def __init__(self, job: int, task: SimulatedJob, fail: Callable[[str], NoReturn]) -> None:
        self.job = job
        self.task = task
        self.n_items = task.n_items
        self.policy = task.policy
        self.offered = self.fresh = self.ready = self.taken = self.allowed = 0
        self.delivered = SpanSet()
        self.lost_items: list[int] = []
        self.is_open = self.has_ended = self.is_over = False
        self.failure: do.FailJob | None = None
        self._fail = fail

    @property
    def is_waiting(self) -> bool:
        """Whether it has offered items that nobody has begun."""
        return not self.is_over and self.offered > self.fresh

    def allow_more(self) -> None:
        """Go on to offer items: all of them, or the next burst."""
        burst = self.n_items if self.task.burst is None else self.task.burst
        self.allowed = min(self.n_items, self.allowed + burst)

    def check_bounds(self, command: do.SendChunk) -> None:
        """Check that a chunk is of items that were offered, and not too far ahead."""
        start, stop = command.start, command.stop
        if self.is_over or not 0 <= start < stop <= self.offered:
            self._fail(f"{command} is for items that cannot be had")
        if stop > self.fresh:
            self.fresh = stop
            if stop - self.taken > self.policy.max_ahead:
                self._fail(f"{command} is too far ahead of the {self.taken} results taken")

    def receive(self, command: do.Deliver) -> None:
        """Take results, and check that they are the next ones, each once."""
        start, stop = command.index, command.index + command.count
        if self.is_over:
            self._fail(f"{command} comes after the end")
        if self.policy.ordered and start != len(self.delivered):
            self._fail(f"{command} is out of order")
        if self.delivered.add(start, stop) != [(start, stop)]:
            self._fail(f"{command} delivers an item twice")
        if isinstance(command.payload, do.LostItem):
            self.lost_items.extend(range(start, stop))
        elif not isinstance(command.payload, do.RunHere):
            assert isinstance(command.payload, range)
            if command.payload[command.offset :][: command.count] != range(start, stop):
                self._fail(f"{command} delivers results of other items")
        self.ready += command.count
