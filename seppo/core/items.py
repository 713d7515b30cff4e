"""Items of one job: where each one is, and which go into the next chunk.

offered by the caller        0 ................................. offered
handed out at least once     0 .............. next_index
to be handed out again             retry, suspects, doubtful (spans below next_index)
results                      results.known; taken by the consumer: 0 .. taken
"""

from __future__ import annotations

from seppo.core.chunking import measured_chunksize
from seppo.core.cost import Cost
from seppo.core.events import Policy
from seppo.core.recovery import is_at_most_once
from seppo.core.reorder import Part, Reorder
from seppo.core.spans import SpanSet

ROUNDING = 1e-9  # items; what a quotient may be short of a whole number


class Items:
    """The items of one job, from the offer to the consumer.

    Invariants, after each event:

    - ``taken <= results.released <= next_index <= offered``.
    - Every item below ``next_index`` is in exactly one place: in a live attempt that is no
      shadow (see ``job``), in ``retry``, in ``suspects``, in ``doubtful``, or its result is
      in ``results``. No item from ``next_index`` on is in any of them.
    - ``offered`` does not change any more once ``ended`` is set.

    Args:
        policy: What the caller asked for.
        cost: What was measured: it decides the size of chunks and how many fit in.
        now: When the job was opened.

    Attributes:
        offered: Items that the caller has offered.
        ended: Whether no more will be offered.
        pending_since: When the oldest of a row of unfinished items was offered.
        next_index: The first item that was never handed out.
        retry: Items to be handed out again.
        suspects: The same, run alone: begun by a lost worker, guilty or not.
        doubtful: Those at silent workers: handed out when nothing else is left.
        results: Which results are here, and what waits for its turn.
        taken: Results that the consumer has taken.
        runs_here: Whether no worker is left, and the caller runs what is not begun.
    """

    def __init__(self, policy: Policy, cost: Cost, now: float = 0.0) -> None:
        self.offered = 0
        self.ended = False
        self.pending_since = now
        self.next_index = 0
        self.retry = SpanSet()
        self.suspects = SpanSet()
        self.doubtful = SpanSet()
        self.results = Reorder(policy.ordered)
        self.taken = 0
        self.runs_here = False
        self._policy = policy
        self._cost = cost

    # --- the caller and the consumer

    def offer(self, count: int, last: bool, now: float) -> None:
        """Take note of ``count`` more items; with ``last``, there are no others."""
        if not self.is_pending:
            self.pending_since = now
        self.offered += count
        self.ended = self.ended or last

    def end(self) -> None:
        """Take note that no more items will be offered."""
        self.ended = True

    def deliver(self, index: int, count: int, payload: object) -> list[Part]:
        """Take the results of ``count`` items; return what goes to the consumer now."""
        parts = self.results.add(index, count, payload)
        if self._policy.taken_on_delivery:
            self.taken = self.results.released
        return parts

    def take(self, count: int) -> None:
        """Take note that the consumer took ``count`` more results."""
        self.taken += count

    def leave_to_caller(self) -> None:
        """Hand out nothing any more: the caller runs what has no result, or will be offered."""
        self.runs_here = True
        self.drop_waiting(0, self.offered)
        self.next_index = self.offered

    @property
    def is_finished(self) -> bool:
        """Whether every item that will ever be offered has been delivered."""
        return self.ended and self.results.released >= self.offered

    @property
    def is_pending(self) -> bool:
        """Whether an item waits for a result; false for an executor without calls."""
        return self.ended or self.offered > self.results.released

    @property
    def n_done(self) -> int:
        """Items that have a result or have failed."""
        return len(self.results.known)

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the spans of these items that have no result."""
        return self.results.known.missing(start, stop)

    def is_known(self, start: int, stop: int) -> bool:
        """Whether all results of these items are here."""
        return not self.results.known.missing(start, stop)

    # --- what may be handed out

    def admitted(self, n_workers: int) -> int:
        """Return how many fresh items may be handed out now.

        Items that are run again are always admitted, so a lost head cannot lock up; and
        one item for each worker always has room, however heavy.
        """
        policy, next_index = self._policy, self.next_index
        room = min(self.offered - next_index, policy.max_ahead - (next_index - self.taken))
        weight = self._weight
        if room > 0 and weight > 0:
            known = len(self.results.known)
            held = (known - self.taken) * self._cost.bytes_out + (next_index - known) * weight
            if held + room * weight > policy.max_ahead_bytes:
                limit = max(policy.max_ahead_bytes, self._share_of(n_workers) * weight)
                room = min(room, int((limit - held) / weight + ROUNDING))
        return max(room, 0)

    @property
    def _weight(self) -> float:
        """Bytes that an item under way adds to what the caller's process keeps."""
        cost = self._cost
        return cost.bytes_out if self._policy.keeps_input else cost.bytes_in + cost.bytes_out

    def _share_of(self, n_workers: int) -> int:
        """Return how many of the workers may work for the job."""
        return max(1, min(n_workers, self._policy.max_workers or n_workers))

    def window(self, n_workers: int) -> int:
        """Return how many items beyond those taken the input should be read ahead.

        Enough for every worker to hold two full chunks while two more lie ready.
        """
        if self._policy.chunksize is not None:
            full = self._policy.chunksize
        elif self._cost.largest_returned == 0:
            full = 1
        else:
            full = self._chunksize(1 << 30, n_workers)
        wanted = 4 * n_workers * full
        if self._weight > 0:
            fit = int(self._policy.max_ahead_bytes / self._weight)
            wanted = min(wanted, max(2 * n_workers, fit))
        return min(wanted, self._policy.max_ahead)

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

    # --- out, and back

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
        policy, cost = self._policy, self._cost
        if policy.chunksize is not None:
            return policy.chunksize
        if is_at_most_once(policy):
            return 1  # what is lost with a worker is what may have begun: one item
        return measured_chunksize(
            remaining,
            self._share_of(n_workers),
            largest_returned=cost.largest_returned,
            seconds_per_item=cost.seconds_per_item or 0.0,
            bytes_per_item=max(cost.bytes_in, cost.bytes_out),
            ended=self.ended,
        )

    def put_back(
        self, start: int, stop: int, suspect: bool = False, doubtful: bool = False
    ) -> None:
        """Hand out these items again, except those whose result came by another way."""
        spans = self.suspects if suspect else self.doubtful if doubtful else self.retry
        for a, b in self.missing(start, stop):
            spans.add(a, b)

    def drop_waiting(self, start: int, stop: int) -> None:
        """Do not hand out these items any more: their results have come."""
        for spans in (self.retry, self.suspects, self.doubtful):
            if spans:
                spans.discard(start, stop)

    def take_back(self, start: int, stop: int) -> bool:
        """Take items out of what is doubtful, if all of them that matter are still there."""
        needed = self.missing(start, stop)
        if any(self.doubtful.missing(a, b) for a, b in needed):
            return False
        for a, b in needed:
            self.doubtful.discard(a, b)
        return True
