"""Jobs and attempts: what a job is made of, and one try of a chunk on one worker.

A *shadow* is an attempt whose items have another place, too: it was a straggler and was
copied, or its worker is silent. It does not count as a place of its items; the first answer
wins.
"""

from __future__ import annotations

from dataclasses import dataclass

from seppo.core.account import Account
from seppo.core.cost import Cost
from seppo.core.events import Policy
from seppo.core.incidents import Incidents
from seppo.core.items import Items
from seppo.core.recovery import is_at_most_once


@dataclass(eq=False)
class Attempt:
    """One try of a chunk on one worker.

    Invariants: ``start <= position <= stop``; ``position`` never falls, ``stop`` never rises.
    """

    number: int
    job: Job
    worker: str
    start: int
    stop: int
    position: int  # the first item without a result
    progress_at: float  # when it was sent or last brought results
    is_suspect: bool = False  # one item, run alone, whose worker was lost before
    recalled_at: float | None = None  # when its rest was asked for
    is_shadow: bool = False  # its items have another place, too: see the module

    @property
    def size(self) -> int:
        """Items without a result."""
        return self.stop - self.position

    def advance(self, count: int, now: float) -> None:
        """Take note that its next items are done."""
        self.position += count
        self.progress_at = now

    def shorten(self, stop: int) -> None:
        """Take note that it ends at ``stop`` now: the rest was given back."""
        self.stop = stop

    def move_up(self, now: float) -> None:
        """Take note that it is now the first one of its worker, and begins."""
        self.progress_at = max(self.progress_at, now)

    def recall(self, now: float) -> None:
        """Take note that its rest is asked for."""
        self.recalled_at = now

    def seconds_unbegun(self, now: float) -> float:
        """Return the estimated time of its items that have probably not begun."""
        waited = max(0.0, now - self.progress_at)
        known = self.job.cost.seconds_per_item
        cost = waited if known is None else known
        # A cost of 0 is one too small for the worker's clock: waiting at all is slow then.
        if waited < cost * self.size or waited == 0:
            begun = 1 + int(waited / cost) if cost > 0 else 1
            return (self.size - begun) * cost
        # Slower than expected: the rest may well take as long as the chunk has taken so far.
        # One item, at least, is running.
        return waited if self.size > 1 else 0.0

    def seconds_overdue(self, now: float) -> float:
        """Return for how long the chunk has run beyond its estimated time."""
        return max(0.0, now - self.progress_at - self.size * self.job.cost.seconds)


class Job:
    """One ``map_parallel`` call or executor: its items, their cost, and its workers.

    Invariants:

    - ``shadows`` are the attempts with ``is_shadow``; all of them are in ``attempts``.
    - ``chunks_at`` counts the attempts at each worker that is not silent, and ``account``
      has a charge for these and for no other.

    Args:
        number: Chosen by the outside.
        policy: What the caller asked for.
        now: When it was opened.
        cost: What a job of the same likeness has learned; None for a new start.

    Attributes:
        items: Which item is where.
        cost: What was measured.
        incidents: What has happened to single items.
        account: What it has had of the workers' time.
        deadline: When its time is up; None for never.
        attempts: Live attempts by number.
        shadows: Those whose items have another place, too.
        chunks_at: How many attempts are at each worker.
    """

    def __init__(
        self, number: int, policy: Policy, now: float = 0.0, cost: Cost | None = None
    ) -> None:
        self.number = number
        self.policy = policy
        self.deadline = None if policy.timeout is None else now + policy.timeout
        self.cost = Cost() if cost is None else cost
        self.items = Items(policy, self.cost, now)
        self.incidents = Incidents()
        self.account = Account()
        self.attempts: dict[int, Attempt] = {}
        self.shadows: dict[int, Attempt] = {}
        self.chunks_at: dict[str, int] = {}

    @property
    def demand(self) -> int:
        """Workers that could work for the job now."""
        pending = self.items.offered - self.items.n_done
        return pending if self.policy.max_workers is None else min(pending, self.policy.max_workers)

    @property
    def may_wait(self) -> bool:
        """Whether a chunk of this job may be the second one at a worker."""
        return not is_at_most_once(self.policy)

    @property
    def is_at_limit(self) -> bool:
        """Whether ``max_workers`` work for the job."""
        limit = self.policy.max_workers
        return limit is not None and len(self.chunks_at) >= limit

    def takes_worker(self, worker: str) -> bool:
        """Whether ``max_workers`` lets this worker work for the job."""
        return not self.is_at_limit or worker in self.chunks_at

    @property
    def is_troubled(self) -> bool:
        """Whether items have lost their workers, or wait for silent ones."""
        return bool(self.items.doubtful or self.incidents)

    # --- attempts

    def begin(self, attempt: Attempt) -> None:
        """Take note of a new attempt."""
        self.attempts[attempt.number] = attempt
        self.count(attempt)

    def end(self, attempt: Attempt) -> None:
        """Forget an attempt."""
        del self.attempts[attempt.number]
        self.shadows.pop(attempt.number, None)
        self.discount(attempt)

    def count(self, attempt: Attempt) -> None:
        """Count an attempt: its worker is new, or shows signs of life again."""
        self.chunks_at[attempt.worker] = self.chunks_at.get(attempt.worker, 0) + 1
        self.account.charge(attempt.number, self.cost.charge_for(attempt.size))

    def discount(self, attempt: Attempt) -> None:
        """Do not count an attempt any more: it has ended, or its worker is silent.

        None at a silent worker is counted, so that the end of one changes nothing then.
        """
        self.account.drop(attempt.number)
        left = self.chunks_at.get(attempt.worker, 0) - 1
        if left > 0:
            self.chunks_at[attempt.worker] = left
        else:
            self.chunks_at.pop(attempt.worker, None)

    def shadow(self, attempt: Attempt) -> None:
        """Make an attempt a shadow; its items must get another place in the same step."""
        attempt.is_shadow = True
        self.shadows[attempt.number] = attempt

    def restore(self, attempt: Attempt) -> None:
        """Make a shadow an ordinary attempt again: its items have no other place now."""
        attempt.is_shadow = False
        del self.shadows[attempt.number]
