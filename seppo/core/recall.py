"""Recalls: which chunks are called back because another worker could begin them sooner.

While workers are idle and nothing waits: one chunk for each idle worker, from those that are
furthest behind. While items of a job wait that has had less of the workers' time: only chunks
that turned out long, since an ordinary one ends within ``TARGET_SECONDS`` anyway.
"""

from __future__ import annotations

from collections.abc import Iterable

from seppo.core.commands import Command, RecallChunk
from seppo.core.job import Attempt, Job
from seppo.core.ledger import Ledger
from seppo.core.shares import Shares

RECALL_GAIN = 0.01  # seconds of work; less is not worth a recall (a round trip is 0.1 ms)
RECALL_PAUSE = 0.02  # seconds until an idle worker looks again for a chunk to recall
RECALL_ANSWER = 1.0  # seconds; a worker that has not answered by then is not waited for
LONG_SECONDS = 0.25  # seconds of work not begun; an ordinary chunk has 0.1 s when it is sent
LONG_PAUSE = 0.1  # seconds from one look at chunks for other jobs to the next


class Recalls:
    """Decides which chunks are called back."""

    def __init__(self, ledger: Ledger, shares: Shares) -> None:
        self._ledger = ledger
        self._shares = shares
        self._idle_due: float | None = None
        self._long_due: float | None = None
        self._long_looked_at = float("-inf")

    @property
    def due(self) -> float | None:
        """When to look again; None if nothing can be called back."""
        dues = [due for due in (self._idle_due, self._long_due) if due is not None]
        return min(dues, default=None)

    def look(self, now: float, commands: list[Command]) -> None:
        """Call back chunks that other workers could begin sooner."""
        self._for_idle_workers(now, commands)
        self._for_other_jobs(now, commands)

    def ask(self, attempt: Attempt, now: float) -> Command:
        """Return the command that asks for the items of an attempt that have not begun."""
        attempt.recall(now)
        self._ledger.crew.workers[attempt.worker].ask(attempt.number, now)
        return RecallChunk(attempt.worker, attempt.number)

    def _n_asked(self, attempts: Iterable[Attempt], now: float) -> int:
        """Return how many of these chunks were called back and will soon be here."""
        return sum(
            attempt.recalled_at is not None and now - attempt.recalled_at < RECALL_ANSWER
            for attempt in attempts
        )

    # --- for workers that are idle

    def _for_idle_workers(self, now: float, commands: list[Command]) -> None:
        crew, recallable = self._ledger.crew, self._ledger.recallable
        if not crew.idle or not recallable:
            self._idle_due = None
            return
        is_news = crew.take_news()
        if self._idle_due is not None and now < self._idle_due and not is_news:
            return
        self._idle_due = None
        wanted = sum(worker.paused_until <= now for worker in crew.idle.values())
        wanted -= self._n_asked(recallable.values(), now)
        idle = next(iter(crew.idle))  # none of them has a chunk of any job: any will do
        found = [
            (self._seconds_ahead(attempt, now), attempt)
            for attempt in recallable.values()
            if attempt.recalled_at is None and attempt.job.takes_worker(idle)
        ]
        worthwhile = [pair for pair in found if pair[0] >= RECALL_GAIN]
        worthwhile.sort(key=lambda pair: (-pair[0], pair[1].number))
        for _, attempt in worthwhile[: max(0, wanted)]:
            commands.append(self.ask(attempt, now))
        if found:
            self._idle_due = now + RECALL_PAUSE

    def _seconds_ahead(self, attempt: Attempt, now: float) -> float:
        """Return the seconds of work not begun at its worker, up to the end of the attempt."""
        first = self._ledger.crew.workers[attempt.worker].first
        assert first is not None
        seconds = first.seconds_unbegun(now)
        if attempt is not first:
            seconds += first.seconds_overdue(now) + attempt.size * attempt.job.cost.seconds
        return seconds

    # --- for jobs that wait

    def _for_other_jobs(self, now: float, commands: list[Command]) -> None:
        asking = self._shares.asking
        if len(self._ledger.jobs) < 2 or not asking or not self._ledger.recallable:
            self._long_due = None
            return
        if now < self._long_looked_at + LONG_PAUSE:
            self._long_due = self._long_looked_at + LONG_PAUSE
            return
        self._long_looked_at = now
        self._long_due = now + LONG_PAUSE
        poorest = self._shares.poorest(asking)
        n_workers = len(self._ledger.crew.workers)
        wanted = poorest.items.n_waiting(n_workers)
        wanted -= self._n_asked(self._ledger.recallable.values(), now)
        had: dict[Job, float] = {}  # by jobs, without what is called back
        for first in self._long_chunks(poorest, now):
            if wanted <= 0:
                return
            job = first.job
            chunks = self._recallable_at(first)
            account = job.account
            begun = min(now - first.progress_at, account.charge_of(first.number))
            rest = sum(account.charge_of(chunk.number) for chunk in chunks) - begun
            left = had.get(job, account.served) - rest
            # Else the worker would get a chunk of the same job again.
            if left >= poorest.account.served + LONG_SECONDS:
                had[job] = left
                wanted -= 1
                commands += [self.ask(chunk, now) for chunk in chunks]

    def _long_chunks(self, poorest: Job, now: float) -> list[Attempt]:
        """Return the chunks of other jobs that occupy workers for long, the longest first."""
        found = []
        for worker in self._ledger.crew.workers.values():
            first = worker.first
            if first is None or worker.is_silent or first.job is poorest:
                continue
            if first.number in self._ledger.recallable and first.recalled_at is None:
                seconds = first.seconds_unbegun(now)
                if seconds >= LONG_SECONDS:
                    found.append((-seconds, first.number, first))
        return [first for _, _, first in sorted(found, key=lambda entry: entry[:2])]

    def _recallable_at(self, first: Attempt) -> list[Attempt]:
        """Return what can be called back of a worker's chunks that are of the same job."""
        return [
            attempt
            for attempt in self._ledger.crew.workers[first.worker].attempts.values()
            if attempt.job is first.job
            and attempt.number in self._ledger.recallable
            and attempt.recalled_at is None
        ]
