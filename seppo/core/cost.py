"""Measured costs of one job: seconds and bytes per item, and what follows from them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from seppo.core.recovery import weighted_median

PREFETCH_SECONDS = 0.05  # no second chunk at a worker whose items take longer than this
UNKNOWN_SECONDS = 0.001  # seconds; estimate for an item before the first is done
UNKNOWN_CHARGE = 1.0  # seconds, for a chunk of such items; by then a longer one has shown itself
EVIDENCE_SECONDS = 0.001  # seconds; a sample that took less counts less
RECENT = 0.5  # weight of the newest chunk in the running mean of costs
SAMPLES = 64  # the newest chunks, of which the median cost of an item is taken


@dataclass(eq=False)
class Cost:
    """The measured costs of one job's items.

    Invariant: ``seconds_per_item`` is None as long as ``largest_returned`` is 0, and not
    longer; both change by ``measure`` alone.

    Attributes:
        seconds_per_item: A running mean; None before the first result.
        largest_returned: Items of the largest chunk that came back.
        bytes_in: Mean weight of an item on its way to a worker.
        bytes_out: Mean weight of a result.
    """

    seconds_per_item: float | None = None
    largest_returned: int = 0
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    _samples: deque[tuple[float, int]] = field(
        default_factory=lambda: deque(maxlen=SAMPLES), init=False, repr=False
    )

    def carried_over(self) -> Cost:
        """Return where a job of the same likeness begins, instead of with single items.

        Should it mislead, chunks are called back as those of any other wrong guess.
        """
        return Cost(self.seconds_per_item, self.largest_returned, self.bytes_in, self.bytes_out)

    def measure(self, count: int, seconds: float, nbytes: int, returned: int) -> None:
        """Learn from ``count`` items that took ``seconds``, and whose results weigh ``nbytes``.

        Args:
            count: How many items.
            seconds: What they took.
            nbytes: Weight of their results.
            returned: How many items of their chunk have a result by now.
        """
        # The largest chunk yet is the best sample. Others count by the time they took:
        # the clock's reading of a few microseconds says little about an item.
        weight = RECENT * min(1.0, seconds / EVIDENCE_SECONDS)
        if self.seconds_per_item is None or count > self.largest_returned:
            weight = 1.0
        self._samples.append((seconds / count, count))
        old = self.seconds_per_item or 0.0
        self.seconds_per_item = old + weight * (seconds / count - old)
        self.bytes_out = _running_mean(self.bytes_out or None, nbytes / count)
        self.largest_returned = max(self.largest_returned, returned)

    def weigh(self, count: int, nbytes: int) -> None:
        """Learn from ``count`` items that weigh ``nbytes`` on their way to a worker."""
        self.bytes_in = _running_mean(self.bytes_in or None, nbytes / count)

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return self.seconds_per_item is not None

    @property
    def seconds(self) -> float:
        """Estimated seconds of an item."""
        return UNKNOWN_SECONDS if self.seconds_per_item is None else self.seconds_per_item

    @property
    def median(self) -> float | None:
        """Seconds that half of the items did not exceed lately; None if nobody knows."""
        return weighted_median(self._samples) if self._samples else self.seconds_per_item

    @property
    def is_quick(self) -> bool:
        """Whether a worker that is busy with such items should hold a second chunk."""
        return self.seconds_per_item is not None and self.seconds_per_item < PREFETCH_SECONDS

    def charge_for(self, n_items: int) -> float:
        """Return what a chunk is charged with.

        As long as nothing is known of a job, it is not to take all workers from others: its
        items might take hours. If they do not, that is soon put right.
        """
        return UNKNOWN_CHARGE if self.seconds_per_item is None else n_items * self.seconds


def _running_mean(old: float | None, new: float) -> float:
    return new if old is None else old + RECENT * (new - old)
