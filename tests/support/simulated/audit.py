"""What the scheduler's books must say at any time."""

from __future__ import annotations

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
            for gap in job.reorder.known.missing(attempt.position, attempt.stop)
        ]
        waiting = [*job.retry, *job.suspects, *job.doubtful]
        end = 0
        places = sorted([*job.reorder.known, *waiting, *chunks])
        for start, stop in places:
            if start != end:
                fail(f"item {min(start, end)} is {'nowhere' if start > end else 'twice'}")
            end = stop
        if end != job.next_index:
            fail(f"item {end} is nowhere")


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
