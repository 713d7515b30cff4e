"""Errors in the place of results: of lost items, and of jobs that have failed."""

from __future__ import annotations

from seppo.core.commands import FailJob, LostItem
from seppo.errors import (
    MapTimeoutError,
    NoWorkersError,
    SeppoError,
    SetupError,
    TaskTimeoutError,
    WorkerLostError,
)


def error_of_item(
    lost: LostItem, index: int, task_timeout: float | None, item: str | None = None
) -> SeppoError:
    """Return what to raise at the place of an item that has no result.

    Args:
        lost: Why it has none.
        index: Its position in the input.
        task_timeout: The limit for one item, if there was one.
        item: A short text for the item.
    """
    if lost.timed_out:
        return TaskTimeoutError(index, task_timeout or 0.0, lost.worker, item)
    return WorkerLostError(index, lost.worker, lost.reason, lost.tries, item)


def error_of_job(failed: FailJob, timeout: float | None) -> SeppoError:
    """Return what to raise when a job cannot go on."""
    if failed.timed_out:
        return MapTimeoutError(timeout or 0.0, failed.delivered, failed.undone)
    unready = failed.unready
    if unready is not None:
        times = "" if unready.tries == 1 else f" (this happened on {unready.tries} workers)"
        why = f"it ended the process: {unready.reason}{times}"
        return SetupError(unready.worker, unready.what, why)
    reason = "all workers are gone"
    return NoWorkersError(reason, failed.delivered, failed.undone, failed.losses)
