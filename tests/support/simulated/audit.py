"""What the scheduler's books must say at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NoReturn

from seppo.core.scheduler import Scheduler
from simulated.worker import SimulatedWorker


def audit_places(scheduler: Scheduler, fail: Callable[[str], NoReturn]) -> None:
    """Every item that was handed out is in one chunk, to be run again, or has a result.

    Copies come besides: their items have a place already.
    """
    for job in scheduler._jobs.values():
        chunks = [
            gap
            for attempt in job.attempts.values()
            if not attempt.is_shadow
            # The results of copies may have come while a chunk still runs.
            for gap in job.items.results.known.missing(attempt.position, attempt.stop)
        ]
        waiting = [*job.items.retry, *job.items.suspects, *job.items.doubtful]
        end = 0
        places = sorted([*job.items.results.known, *waiting, *chunks])
        for start, stop in places:
            if start != end:
                fail(f"item {min(start, end)} is {'nowhere' if start > end else 'twice'}")
            end = stop
        if end != job.items.next_index:
            fail(f"item {end} is nowhere")


def audit_books(scheduler: Scheduler, fail: Callable[[str], NoReturn]) -> None:
    """The counts of each job and worker agree with what it has."""
    for number, job in scheduler._jobs.items():
        items, attempts = job.items, job.attempts
        if not items.taken <= items.results.released <= items.next_index <= items.offered:
            fail(f"the counts of job {number} are out of order")
        if not job.shadows.keys() <= attempts.keys():
            fail(f"a shadow of job {number} has ended")
        if any(attempt.is_shadow != (n in job.shadows) for n, attempt in attempts.items()):
            fail(f"shadows of job {number} are not listed as such")
        at = Counter(
            attempt.worker
            for attempt in attempts.values()
            if not scheduler._workers[attempt.worker].is_silent
        )
        if job.chunks_at != at:
            fail(f"job {number} counts {job.chunks_at} instead of {dict(at)}")
        if (job.cost.seconds_per_item is None) != (job.cost.largest_returned == 0):
            fail(f"the cost of job {number} is half known")
    for worker in scheduler._workers.values():
        if worker.is_silent and worker.asked_at is None:
            fail(f"worker {worker.name} is silent, and no answer is due")
        if worker.echoes and not worker.is_silent:
            fail(f"worker {worker.name} has echoes, and is not silent")


def audit_copies(
    scheduler: Scheduler,
    workers: Mapping[str, SimulatedWorker],
    fail: Callable[[str], NoReturn],
) -> None:
    """No item is at more than two workers that have always answered."""
    for job in scheduler._jobs.values():
        for shadow in job.shadows.values():
            holders = [
                attempt.worker
                for attempt in job.attempts.values()
                if attempt.position <= shadow.position < attempt.stop
                and attempt.worker in workers
                and not workers[attempt.worker].was_quiet
            ]
            if len(holders) > 2:
                fail(f"item {shadow.position} is run by {', '.join(holders)}")
