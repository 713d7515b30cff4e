"""Calling back: when workers are idle and nothing waits, chunks from the slowest."""

from __future__ import annotations

from seppo.core.commands import Command, RecallChunk
from seppo.core.job import Attempt
from seppo.core.ledger import Ledger

RECALL_GAIN = 0.01  # seconds of work; less is not worth a recall (a round trip is 0.1 ms)
RECALL_PAUSE = 0.02  # seconds until an idle worker looks again for a chunk to recall
RECALL_ANSWER = 1.0  # seconds; a worker that has not answered by then is not waited for


class Recall:
    """Decides which chunks are called back.

    Attributes:
        due: When to look again; None if nothing can be called back.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.due: float | None = None
        self._ledger = ledger

    def look(self, now: float, commands: list[Command]) -> None:
        """Call back what idle workers could do sooner."""
        crew, recallable = self._ledger.crew, self._ledger.recallable
        if not crew.idle or not recallable:
            self.due = None
            return
        if self.due is not None and now < self.due and not crew.is_news:
            return
        crew.is_news = False
        self.due = None
        asked = sum(
            attempt.recalled_at is not None and now - attempt.recalled_at < RECALL_ANSWER
            for attempt in recallable.values()
        )
        wanted = sum(worker.paused_until <= now for worker in crew.idle.values()) - asked
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
            self.due = now + RECALL_PAUSE

    def ask(self, attempt: Attempt, now: float) -> Command:
        """Return the command that asks for what has not begun of an attempt."""
        attempt.recalled_at = now
        worker = self._ledger.crew.workers[attempt.worker]
        if worker.asked_at is None:
            worker.asked_at, worker.asked_about = now, attempt.number
        return RecallChunk(attempt.worker, attempt.number)

    def _seconds_ahead(self, attempt: Attempt, now: float) -> float:
        """Return how much work, in seconds, the worker begins until it ends the attempt."""
        first = self._ledger.crew.workers[attempt.worker].first
        assert first is not None
        seconds = first.seconds_unbegun(now)
        if attempt is not first:
            seconds += first.seconds_overdue(now) + attempt.size * attempt.job.cost
        return seconds
