"""Assignment of chunks to workers: which worker gets the next chunk, and of which job.

Idle workers come first, the longest waiting before the others. A second chunk is kept at a
worker whose items are so short that it would have to wait for a new one. Each chunk is of
the job whose turn it is (``shares``), the second one too, so that no worker becomes idle
while jobs with short items have work. A job that is full (its consumer does not read)
loses its turn to others.
"""

from __future__ import annotations

from seppo.core.commands import Command
from seppo.core.crew import Worker
from seppo.core.job import Job
from seppo.core.ledger import Ledger
from seppo.core.shares import Shares


class Assignment:
    """Decides which workers get the next chunks.

    Attributes:
        due: When a paused worker may get work again; None if none waits for that.
    """

    def __init__(self, ledger: Ledger, shares: Shares) -> None:
        self.due: float | None = None
        self._ledger = ledger
        self._shares = shares

    def look(self, now: float, commands: list[Command]) -> None:
        """Hand out what can be handed out."""
        self.due = None
        n_workers = self._ledger.crew.strength
        ready = [job for job in self._ledger.jobs.values() if job.items.has_work(n_workers)]
        self._shares.look(ready, now)
        if ready and self._fill_idle(ready, now, commands):
            self._fill_half(ready, now, commands)
        self._shares.note(ready)

    def _fill_idle(self, ready: list[Job], now: float, commands: list[Command]) -> bool:
        """Give idle workers chunks; return whether there is work left."""
        n_workers = self._ledger.crew.strength
        idle = list(self._ledger.crew.idle.values())
        if any(job.is_troubled for job in ready):
            # Some idle workers may be frozen, too: begin with the one that was heard last.
            idle.sort(key=lambda worker: -worker.heard_at)
        for worker in idle:
            if worker.paused_until > now:
                if self.due is None or worker.paused_until < self.due:
                    self.due = worker.paused_until
                continue
            job = self._shares.next_for(worker.name, ready)
            if job is None:
                break  # idle workers are alike: no other one fits
            self._send(worker, job, now, commands)
            if not job.items.has_work(n_workers):
                ready.remove(job)
                if not ready:
                    return False
        return True

    def _fill_half(self, ready: list[Job], now: float, commands: list[Command]) -> None:
        """Give workers with one short chunk a second one."""
        n_workers = self._ledger.crew.strength
        certain = [job for job in ready if job.items.has_certain_work(n_workers)]
        for worker in self._half_busy() if certain else ():
            job = self._shares.next_for(worker.name, certain)
            if job is None:
                continue
            if not job.may_wait:
                return  # it waits for the next idle worker
            self._send(worker, job, now, commands)
            if not job.items.has_certain_work(n_workers):
                certain.remove(job)
                if not job.items.has_work(n_workers):
                    ready.remove(job)
                if not certain:
                    return

    def _half_busy(self) -> list[Worker]:
        """Return the workers that may soon have to wait."""
        jobs = self._ledger.jobs
        return [
            worker
            for number, workers in self._ledger.crew.half.items()
            if number in jobs and jobs[number].cost.is_quick
            for worker in workers.values()
            if not worker.is_stuck
        ]

    def _send(self, worker: Worker, job: Job, now: float, commands: list[Command]) -> None:
        start, stop, is_suspect = job.items.cut(self._ledger.crew.strength)
        commands.append(self._ledger.begin(worker, job, start, stop, now, is_suspect))
