"""One job as the scheduler sees it: what is left to hand out, and what it costs.

    offered by the caller        0 ................................. offered
    handed out at least once     0 .............. next_index
    to be handed out again             retry, suspects, doubtful (spans below next_index)
    results                      reorder.known; taken by the consumer: 0 .. taken

Every item below ``next_index`` is in exactly one place: in a live attempt, in ``retry``,
in ``suspects``, in ``doubtful``, or its result is known. Attempts in ``shadows`` do not
count as a place: a straggler that was copied, and what a silent worker holds. Their items
have a place besides, and whoever answers first wins.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from seppo.core.account import Account
from seppo.core.chunking import measured_chunksize
from seppo.core.events import Policy
from seppo.core.recovery import is_at_most_once, weighted_median
from seppo.core.reorder import Reorder
from seppo.core.spans import SpanSet

PREFETCH_SECONDS = 0.05  # no second chunk at a worker whose items take longer than this
UNKNOWN_SECONDS = 0.001  # seconds; what an item is reckoned to take before the first is done
UNKNOWN_CHARGE = 1.0  # seconds, for a chunk of such items: what runs longer tells by then
EVIDENCE_SECONDS = 0.001  # seconds; a sample that took less counts less
ROUNDING = 1e-9  # items; what a quotient may be short of a whole number
RECENT = 0.5  # weight of the newest chunk in the running mean of costs
SAMPLES = 64  # the newest chunks, of which the median cost of an item is taken


@dataclass(frozen=True)
class Experience:
    """What was measured for a job: see the attributes of ``Job`` of the same names."""

    seconds_per_item: float
    largest_returned: int
    bytes_in: float
    bytes_out: float


@dataclass(eq=False)
class Attempt:
    """One try of a chunk on one worker."""

    number: int
    job: Job
    worker: str
    start: int
    stop: int
    position: int  # the first item without a result
    progress_at: float  # when it was sent or last brought results
    is_suspect: bool = False  # one item, run alone, whose worker was lost before
    recalled_at: float | None = None  # when its rest was asked for
    is_shadow: bool = False  # its items have a place besides: see the module

    @property
    def size(self) -> int:
        """Items without a result."""
        return self.stop - self.position

    def seconds_unbegun(self, now: float) -> float:
        """Return how long what is probably not begun will take, while the chunk runs."""
        waited = max(0.0, now - self.progress_at)
        cost = waited if self.job.seconds_per_item is None else self.job.seconds_per_item
        # A cost of 0 is one too small for the worker's clock: waiting at all is slow then.
        if waited < cost * self.size or waited == 0:
            begun = 1 + int(waited / cost) if cost > 0 else 1
            return (self.size - begun) * cost
        # Slower than expected, and nobody knows how far it is: what is left may well take
        # as long as it has taken so far. One item, at least, is running.
        return waited if self.size > 1 else 0.0

    def seconds_overdue(self, now: float) -> float:
        """Return for how long the chunk has run beyond what was reckoned."""
        return max(0.0, now - self.progress_at - self.size * self.job.cost)


class Job:
    """State of one job; only the scheduler touches it."""

    def __init__(self, number: int, policy: Policy, now: float = 0.0) -> None:
        self.number = number
        self.policy = policy
        self.offered = 0
        self.ended = False
        self.next_index = 0
        self.retry = SpanSet()
        self.suspects = SpanSet()  # begun by a lost worker, guilty or not: run alone
        self.doubtful = SpanSet()  # at silent workers: handed out when nothing else is left
        self.losses: dict[int, int] = {}  # how often an item's worker was lost
        self.mishaps: dict[int, int] = {}  # losses with nobody to blame, by the first item
        self.moves: dict[int, int] = {}  # how often an item fell silent with its worker
        self.copied = SpanSet()  # items that were copied as stragglers: once is enough
        self.shadows: dict[int, Attempt] = {}
        self.n_unready = 0  # workers in a row that were lost before any item ran
        self.n_guilty = 0  # items known to kill workers, and given up for that
        self.runs_here = False  # no worker is left: the caller runs what is not begun
        self.deadline = None if policy.timeout is None else now + policy.timeout
        self.reorder = Reorder(policy.ordered)
        self.taken = 0
        self.pending_since = now  # when the oldest of a row of unfinished items was offered
        self.attempts: dict[int, Attempt] = {}
        # Live attempts for each worker that has any; not those at silent ones.
        self.chunks_at: dict[str, int] = {}
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self.account = Account()
        self.largest_returned = 0
        self.seconds_per_item: float | None = None
        self.bytes_in = 0.0  # means per item
        self.bytes_out = 0.0

    @property
    def cost(self) -> float:
        """Seconds that an item is reckoned to take."""
        return UNKNOWN_SECONDS if self.seconds_per_item is None else self.seconds_per_item

    def charge_for(self, n_items: int) -> float:
        """Return what a chunk is charged with.

        As long as nothing is known of a job, it is not to take all workers from others: its
        items might take hours. If they do not, that is soon put right.
        """
        return UNKNOWN_CHARGE if self.seconds_per_item is None else n_items * self.cost

    @property
    def is_finished(self) -> bool:
        """Whether every item that will ever be offered has been delivered."""
        return self.ended and self.reorder.released >= self.offered

    @property
    def is_pending(self) -> bool:
        """Whether an item waits for a result; false for an executor without calls."""
        return self.ended or self.offered > self.reorder.released

    @property
    def demand(self) -> int:
        """Workers that could work for the job now."""
        if self.runs_here:
            return 0
        pending = self.offered - len(self.reorder.known)
        return pending if self.policy.max_workers is None else min(pending, self.policy.max_workers)

    @property
    def is_quick(self) -> bool:
        """Whether a worker that is busy with this job should hold a second chunk."""
        return self.seconds_per_item is not None and self.seconds_per_item < PREFETCH_SECONDS

    @property
    def may_wait(self) -> bool:
        """Whether a chunk of this job may be the second one at a worker."""
        return not is_at_most_once(self.policy)

    @property
    def is_at_limit(self) -> bool:
        """Whether ``max_workers`` work for the job."""
        limit = self.policy.max_workers
        return limit is not None and len(self.chunks_at) >= limit

    @property
    def weight(self) -> float:
        """Bytes that an item under way adds to what the caller's process keeps."""
        return self.bytes_out if self.policy.keeps_input else self.bytes_in + self.bytes_out

    def admitted(self, n_workers: int) -> int:
        """Return how many fresh items may be handed out now.

        Items that are run again are always admitted, so a lost head cannot lock up; and
        one item for each worker always has room, however heavy.
        """
        ahead = self.next_index - self.taken
        room = min(self.offered - self.next_index, self.policy.max_ahead - ahead)
        weight = self.weight
        if room > 0 and weight > 0:
            known = len(self.reorder.known)
            held = (known - self.taken) * self.bytes_out + (self.next_index - known) * weight
            limit = max(self.policy.max_ahead_bytes, self._share_of(n_workers) * weight)
            room = min(room, int((limit - held) / weight + ROUNDING))
        return max(room, 0)

    def _share_of(self, n_workers: int) -> int:
        """Return how many of the workers may work for the job."""
        return max(1, min(n_workers, self.policy.max_workers or n_workers))

    def window(self, n_workers: int) -> int:
        """Return how many items beyond those taken the input should be read ahead.

        Enough for every worker to hold two full chunks while two more lie ready.
        """
        if self.policy.chunksize is not None:
            full = self.policy.chunksize
        elif self.largest_returned == 0:
            full = 1
        else:
            full = self._chunksize(1 << 30, n_workers)
        wanted = 4 * n_workers * full
        if self.weight > 0:
            fit = int(self.policy.max_ahead_bytes / self.weight)
            wanted = min(wanted, max(2 * n_workers, fit))
        return min(wanted, self.policy.max_ahead)

    def has_work(self, n_workers: int) -> bool:
        """Whether an item could be handed out now."""
        return bool(self.doubtful) or self.has_certain_work(n_workers)

    def has_certain_work(self, n_workers: int) -> bool:
        """Whether an item could be handed out that nobody has."""
        return bool(self.suspects or self.retry or self.admitted(n_workers) > 0)

    def n_waiting(self, n_workers: int) -> int:
        """Return how many items could be handed out now."""
        waiting = len(self.suspects) + len(self.retry) + len(self.doubtful)
        return waiting + self.admitted(n_workers)

    def takes_worker(self, worker: str) -> bool:
        """Whether ``max_workers`` lets this worker work for the job."""
        return not self.is_at_limit or worker in self.chunks_at

    def cut(self, n_workers: int) -> tuple[int, int, bool]:
        """Take the next chunk out of what is left; return its span and whether it is suspect.

        Lowest index first, so that the head of the output is never starved.
        """
        if self.suspects:
            start, _ = self.suspects.first()
            self.suspects.discard(start, start + 1)
            return start, start + 1, True
        admitted = self.admitted(n_workers)
        if self.retry:
            return *self._cut_from(self.retry, admitted, n_workers), False
        if admitted > 0:
            start = self.next_index
            self.next_index += min(self._chunksize(admitted, n_workers), admitted)
            return start, self.next_index, False
        return *self._cut_from(self.doubtful, 0, n_workers), False

    def _cut_from(self, spans: SpanSet, more: int, n_workers: int) -> tuple[int, int]:
        start, stop = spans.first()
        stop = min(stop, start + self._chunksize(len(spans) + more, n_workers))
        spans.discard(start, stop)
        return start, stop

    def _chunksize(self, remaining: int, n_workers: int) -> int:
        if self.policy.chunksize is not None:
            return self.policy.chunksize
        if is_at_most_once(self.policy):
            return 1  # what is lost with a worker is what may have begun: one item
        return measured_chunksize(
            remaining,
            self._share_of(n_workers),
            largest_returned=self.largest_returned,
            seconds_per_item=self.seconds_per_item or 0.0,
            bytes_per_item=max(self.bytes_in, self.bytes_out),
            ended=self.ended,
        )

    def put_back(
        self, start: int, stop: int, suspect: bool = False, doubtful: bool = False
    ) -> None:
        """Hand out these items again, except those whose result came by another way."""
        spans = self.suspects if suspect else self.doubtful if doubtful else self.retry
        for a, b in self.reorder.known.missing(start, stop):
            spans.add(a, b)

    def drop_waiting(self, start: int, stop: int) -> None:
        """Do not hand out these items any more: their results have come."""
        for spans in (self.retry, self.suspects, self.doubtful):
            if spans:
                spans.discard(start, stop)

    def take_back(self, start: int, stop: int) -> bool:
        """Take items out of what is doubtful, if all of them that matter are still there."""
        needed = self.reorder.known.missing(start, stop)
        if any(self.doubtful.missing(a, b) for a, b in needed):
            return False
        for a, b in needed:
            self.doubtful.discard(a, b)
        return True

    @property
    def is_troubled(self) -> bool:
        """Whether items have lost their workers, or wait for silent ones."""
        return bool(self.doubtful or self.moves or self.losses or self.mishaps)

    def forget_troubles(self, start: int, stop: int) -> None:
        """These items have come through: nothing is held against them any more."""
        self.n_unready = 0
        for troubles in (self.losses, self.mishaps, self.moves):
            if troubles:
                for index in [i for i in troubles if start <= i < stop]:
                    del troubles[index]

    def is_known(self, start: int, stop: int) -> bool:
        """Whether all results of these items are here."""
        return not self.reorder.known.missing(start, stop)

    @property
    def median(self) -> float | None:
        """Seconds that half of the items did not exceed lately; None if nobody knows."""
        return weighted_median(self._samples) if self._samples else self.seconds_per_item

    @property
    def experience(self) -> Experience | None:
        """What the job has learned, if anything."""
        if self.seconds_per_item is None:
            return None
        return Experience(
            self.seconds_per_item, self.largest_returned, self.bytes_in, self.bytes_out
        )

    def begin_with(self, experience: Experience) -> None:
        """Begin where a job of the same likeness has ended, instead of with single items.

        Should it mislead, chunks are called back as those of any other wrong guess.
        """
        self.seconds_per_item = experience.seconds_per_item
        self.largest_returned = experience.largest_returned
        self.bytes_in = experience.bytes_in
        self.bytes_out = experience.bytes_out

    def measure(self, count: int, seconds: float, nbytes: int) -> None:
        """Learn from ``count`` items that took ``seconds`` and weigh ``nbytes``."""
        # The largest chunk yet is the best sample. Others count by the time they took:
        # the clock's reading of a few microseconds says little about an item.
        weight = RECENT * min(1.0, seconds / EVIDENCE_SECONDS)
        if self.seconds_per_item is None or count > self.largest_returned:
            weight = 1.0
        self._samples.append((seconds / count, count))
        old = self.seconds_per_item or 0.0
        self.seconds_per_item = old + weight * (seconds / count - old)
        self.bytes_out = _running_mean(self.bytes_out or None, nbytes / count)

    def weigh(self, count: int, nbytes: int) -> None:
        """Learn from ``count`` items that weigh ``nbytes`` on their way to a worker."""
        self.bytes_in = _running_mean(self.bytes_in or None, nbytes / count)


def _running_mean(old: float | None, new: float) -> float:
    return new if old is None else old + RECENT * (new - old)
