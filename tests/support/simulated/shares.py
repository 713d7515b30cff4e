"""Who had how much of the workers' time: jobs that always have work share it evenly.

Over any ten seconds, their shares differ by a quarter at most, and by one item, which
cannot be cut. Nobody knows beforehand what an item will take: where that has just changed,
or the job is new, all workers may have begun one more before the first of them tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from itertools import combinations
from typing import NoReturn

from simulated.caller import Caller

WINDOW = 10  # seconds over which shares are compared
UNEVEN = 0.25  # of the larger share: how much smaller another one may be


class ShareRecord:
    """Takes note of what runs and who waits, second by second.

    Args:
        callers: Those who share the workers.
    """

    def __init__(self, callers: Collection[Caller]) -> None:
        self._callers = callers
        self._now = 0.0
        # By job and second: how long its items ran, and what they took; and when it did
        # not have an item that nobody had begun.
        self._work: defaultdict[tuple[int, int], float] = defaultdict(float)
        self._kinds: defaultdict[tuple[int, int], set[float]] = defaultdict(set)
        self._longest: defaultdict[int, float] = defaultdict(float)
        self._sated: set[tuple[int, int]] = set()

    def pass_to(self, now: float) -> None:
        """Let time pass, at the beginning of which the callers wait or do not."""
        for caller in self._callers:
            if not caller.is_waiting:
                for second in range(int(self._now), int(now) + 1):
                    self._sated.add((caller.job, second))
        self._now = now

    def ran(self, job: int, now: float, seconds: float) -> None:
        """Take note that an item, which is done now, has taken so long."""
        began = now - seconds
        self._longest[job] = max(self._longest[job], seconds)
        for second in range(int(began), int(now) + 1):
            self._work[job, second] += min(now, second + 1) - max(began, second)
            self._kinds[job, second].add(seconds)

    def check(self, n_workers: int, fail: Callable[[str], NoReturn]) -> int:
        """Check all windows of whole seconds; return how many pairs of jobs were compared."""
        n_compared = 0
        for start in range(int(self._now) - WINDOW + 1):
            seconds = range(start, start + WINDOW)
            jobs = [c.job for c in self._callers if self._waits(c.job, seconds)]
            for pair in combinations(jobs, 2):
                n_compared += 1
                less, more = sorted(sum(self._work[job, s] for s in seconds) for job in pair)
                item = max(self._longest[job] for job in pair)
                if not all(self._is_steady(job, start) for job in jobs):
                    item *= 1 + n_workers
                if less < (1 - UNEVEN) * more - item:
                    fail(
                        f"from {start} s to {start + WINDOW} s jobs {pair[0]} and {pair[1]} "
                        f"had {less:.2f} s and {more:.2f} s, and items of {item:.2f} s"
                    )
        return n_compared

    def _waits(self, job: int, seconds: range) -> bool:
        """Whether a job always had work."""
        return not any((job, second) in self._sated for second in seconds)

    def _is_steady(self, job: int, start: int) -> bool:
        """Whether a job's items have long taken the same."""
        before = range(start - WINDOW, start + WINDOW)
        kinds = set().union(*(self._kinds[job, second] for second in before))
        return len(kinds) <= 1 and start >= WINDOW and self._waits(job, before)
