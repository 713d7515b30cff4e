"""Detection of silent workers and stragglers, and copies of their items.

A healthy worker shows a sign at least once a second: results, or the rest of a chunk that
it gives back because an item takes long. A worker that shows none is *asked* (by a recall,
which is answered even from inside a long item). One that does not answer is *silent*:
frozen, swapping, unreachable, or in C code that holds the interpreter. ::

    heard --2 s--> asked --2 s--> silent --any sign--> heard
                                    |
               copies allowed:      its items are doubtful: workers that have nothing else
                                    to do run them, and the first answer wins
               not allowed:         after 20 s its supervisor is asked to end it

An item that falls silent with one worker after the other is moved ``retries_on_loss``
times more and then stays where it is, so that it cannot take the whole cluster with it;
that worker's supervisor is asked to end it, too.

A worker that answers, but has been inside one item for long, is a *straggler*: when others
are idle and nothing waits, the item is copied to one of them, once.

A client may itself have stood still (stopped by a signal, a laptop that slept, a caller that
held the interpreter), and then has answers waiting that it has not read. So time counts only
at a wakeup, when all answers have been read, and not at a wakeup that comes late.
"""

from __future__ import annotations

from seppo.core.commands import Command, KillWorker
from seppo.core.crew import Worker
from seppo.core.job import Attempt, Job
from seppo.core.ledger import Ledger
from seppo.core.recall import Recalls
from seppo.core.recovery import (
    OVERDUE_SECONDS,
    PROBE_SECONDS,
    kill_after,
    may_try_again,
    probe_after,
    straggling_after,
)

PAUSE = 0.1  # seconds, at least, from one look at all workers to the next
LATE = 1.0  # seconds; a look that comes so late means that the client stood still


class Watch:
    """Decides which workers are silent, which items straggle, and what is copied.

    Attributes:
        due: When to look again; None while nothing runs.
    """

    def __init__(self, ledger: Ledger, recall: Recalls) -> None:
        self.due: float | None = None
        self._ledger = ledger
        self._recall = recall
        self._copies_due: float | None = None

    @property
    def deadline(self) -> float | None:
        """When a wakeup is due."""
        dues = [due for due in (self.due, self._copies_due) if due is not None]
        return min(dues, default=None)

    def note(self, now: float, is_news: bool) -> None:
        """Have a wakeup come when there is something to see.

        Args:
            now: The time.
            is_news: Whether more has happened than that time has passed.
        """
        if not self._ledger.attempts:
            self.due = self._copies_due = None
            return
        if self.due is None:
            self.due = now + PROBE_SECONDS
        if is_news and self._copies_due is None and self._ledger.crew.idle:
            self._copies_due = now + PAUSE

    def look(self, now: float, commands: list[Command]) -> None:
        """At a wakeup: ask workers that show no sign, and find those that are silent."""
        if self.due is None or now < self.due:
            return
        if now > self.due + LATE:
            self.due = now + PAUSE
            return
        soonest: float | None = None
        for worker in self._ledger.crew.workers.values():
            first = worker.first
            if first is not None:
                due = self._look_at(worker, first, now, commands)
                if due is not None and (soonest is None or due < soonest):
                    soonest = due
        # A worker that gets work from now on need not be looked at before that.
        latest = now + PROBE_SECONDS
        self.due = latest if soonest is None else min(latest, max(soonest, now + PAUSE))

    def _look_at(
        self, worker: Worker, first: Attempt, now: float, commands: list[Command]
    ) -> float | None:
        """Return when to look at a worker again."""
        if not worker.is_silent:
            if worker.asked_at is None:
                due = max(worker.heard_at, first.progress_at)
                due += probe_after(now - first.progress_at)
                if now < due:
                    return due
                commands.append(self._recall.ask(first, now))
                return now + OVERDUE_SECONDS
            if now < worker.asked_at + OVERDUE_SECONDS:
                return worker.asked_at + OVERDUE_SECONDS
            self._ledger.hush(worker)
            for attempt in worker.attempts.values():
                self._move(attempt, attempt is first)
        return self._wait_for(worker, now, commands)

    def _move(self, attempt: Attempt, may_run: bool) -> None:
        """Give the items of a silent worker another place, where that is allowed."""
        job = attempt.job
        if not job.policy.duplicate or attempt.is_shadow:
            return
        if may_run:
            moves = job.incidents.moves.get(attempt.position, 0)
            if moves and not may_try_again(moves, job.policy):
                return
            job.incidents.count_move(attempt.position)
        self._ledger.shadow(attempt)
        start, stop, suspect = attempt.position, attempt.stop, attempt.is_suspect
        self._ledger.put_back(job, start, stop, suspect, doubtful=True)

    def _wait_for(self, worker: Worker, now: float, commands: list[Command]) -> float | None:
        """Ask for the end of a silent worker that holds what must not be copied, after a while."""
        stays = [attempt for attempt in worker.attempts.values() if not attempt.is_shadow]
        if not stays:
            return None
        silent_since = worker.asked_at if worker.asked_at is not None else now
        due = silent_since + kill_after(worker.n_kills)
        if now >= due:
            worker.count_kill()
            first = worker.first
            assert first is not None
            commands.append(KillWorker(worker.name, first.number))
            due = silent_since + kill_after(worker.n_kills)
        return due

    # --- stragglers

    def copy(self, now: float, commands: list[Command]) -> None:
        """At a wakeup: copy stragglers to workers that are idle because nothing waits."""
        if self._copies_due is None or now < self._copies_due:
            return
        if now > self._copies_due + LATE:
            self._copies_due = now + PAUSE
            return
        idle, soonest = [], None
        for worker in self._ledger.crew.idle.values():
            if worker.paused_until <= now:
                idle.append(worker)
            elif soonest is None or worker.paused_until < soonest:
                soonest = worker.paused_until
        if not idle:
            self._copies_due = soonest
            return
        ripe: list[Attempt] = []
        for job in self._ledger.jobs.values():
            after = straggling_after(job.cost.median) if job.policy.duplicate else None
            if after is None:
                continue
            for attempt in job.attempts.values():
                if not self._may_copy(job, attempt):
                    continue
                if now - attempt.progress_at >= after:
                    ripe.append(attempt)
                elif soonest is None or attempt.progress_at + after < soonest:
                    soonest = attempt.progress_at + after
        ripe.sort(key=lambda attempt: attempt.progress_at)
        idle.sort(key=lambda worker: -worker.heard_at)  # others may be frozen, too
        for attempt in ripe:
            job = attempt.job
            if not idle or not job.takes_worker(idle[0].name):
                continue
            start, stop = attempt.position, attempt.stop
            job.incidents.count_copy(start, stop)
            self._ledger.shadow(attempt)
            commands.append(self._ledger.begin(idle.pop(0), job, start, stop, now))
        self._copies_due = None if soonest is None else max(soonest, now + PAUSE)

    def _may_copy(self, job: Job, attempt: Attempt) -> bool:
        incidents = job.incidents
        worker = self._ledger.crew.workers[attempt.worker]
        return (
            attempt.size == 1
            and not attempt.is_shadow
            and not worker.is_silent
            and worker.first is attempt
            and attempt.position not in incidents.losses  # it may be guilty: one worker at a time
            and attempt.position not in incidents.copied
        )
