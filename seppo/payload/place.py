"""Where this code runs: in a client, on a worker, or in something a worker has started.

A map inside a worker runs serially, since workers that wait for each other would wait for
ever. Processes that an item starts are told by an environment variable.
"""

from __future__ import annotations

import os
import threading

INSIDE = "SEPPO_INSIDE_WORKER"  # environment variable; its value is the worker's group

_worker: str | None = None  # the name of the worker that this process is
_thread = threading.local()


def enter_worker(name: str, group: str) -> None:
    """Say that this process is a worker, to itself and to those that it will start."""
    global _worker
    _worker = name
    os.environ[INSIDE] = group


def enter_worker_thread(name: str) -> None:
    """Say that this thread is a worker."""
    _thread.name = name


def is_worker_process() -> bool:
    """Whether this process is a worker."""
    return _worker is not None


def current_worker() -> str | None:
    """Return the name of the worker that this code runs on, or None."""
    return getattr(_thread, "name", None) or _worker


def is_nested(group: str | None) -> bool:
    """Whether a map over ``group`` would have workers wait for workers of the same group.

    Args:
        group: The group asked for, None for whichever is the default.
    """
    outer = os.environ.get(INSIDE)
    if current_worker() is None and outer is None:
        return False
    return group is None or outer in (None, group)
