"""Handing out chunks: which worker gets what next, and whose turn it is.

Idle workers come first, the longest waiting before the others. A second chunk is kept at a
worker whose items are so short that it would have to wait for a new one. Among jobs, the
one that got least work so far is next, so they share the workers evenly, whatever the size
of their chunks; a job that is full (its consumer does not read) leaves its turn to others.
"""

from __future__ import annotations

from seppo.core.commands import Command
from seppo.core.crew import Worker
from seppo.core.job import Job
from seppo.core.ledger import Ledger


class Assignment:
    """Decides who gets the next chunks.

    Attributes:
        due: When a paused worker may get work again; None if none waits for that.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.due: float | None = None
        self._ledger = ledger

    def look(self, now: float, commands: list[Command]) -> None:
        """Hand out what can be handed out."""
        self.due = None
        ready = [job for job in self._ledger.jobs.values() if job.has_work()]
        if not ready:
            return
        crew = self._ledger.crew
        idle = list(crew.idle.values())
        if any(job.is_troubled for job in ready):
            # Of those that wait some may be frozen, too: first whoever was heard last.
            idle.sort(key=lambda worker: -worker.heard_at)
        for worker in idle:
            if worker.paused_until > now:
                if self.due is None or worker.paused_until < self.due:
                    self.due = worker.paused_until
                continue
            if not self._send_next(worker, ready, now, commands):
                break  # idle workers are alike: no other fits either
            if not ready:
                return
        quick = [job for job in ready if job.may_prefetch]
        for worker in list(crew.half.values()) if quick else ():
            if not worker.is_stuck:
                self._send_next(worker, quick, now, commands)
                quick = [job for job in quick if job.has_certain_work()]
                if not quick:
                    return

    def _send_next(
        self, worker: Worker, ready: list[Job], now: float, commands: list[Command]
    ) -> bool:
        """Send the worker a chunk of the job that got least so far; forget jobs run dry."""
        fitting = [job for job in ready if job.takes_worker(worker.name)]
        if not fitting:
            return False
        job = min(fitting, key=lambda job: job.served)
        start, stop, is_suspect = job.cut(len(self._ledger.crew.workers))
        commands.append(self._ledger.begin(worker, job, start, stop, now, is_suspect))
        if not job.has_work():
            ready.remove(job)
        return True
