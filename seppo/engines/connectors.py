"""A pool of threads that connect to peers, so that no other thread waits for one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

CONNECTORS = 32  # threads; a thousand peers on one host take well under 1 s
MOST_CONNECTORS = 256  # threads, when those that there are all wait for the dead


class Connectors:
    """Runs tasks side by side, in threads that end when nothing is left to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._tasks: deque[Callable[[], None]] = deque()
        self._n_threads = 0

    @property
    def is_held_up(self) -> bool:
        """Whether tasks wait: all threads are busy, perhaps with peers that are dead."""
        return bool(self._tasks)

    @property
    def is_working(self) -> bool:
        """Whether any thread works on tasks."""
        return self._n_threads > 0

    def submit(self, task: Callable[[], None]) -> None:
        """Have a task run soon; what it raises is logged."""
        with self._lock:
            self._tasks.append(task)
            if self._n_threads < CONNECTORS:
                self._hire(1)

    def resume(self) -> None:
        """Work on the tasks that wait, if there are any: no thread may have started before."""
        with self._lock:
            self._hire(min(len(self._tasks), CONNECTORS - self._n_threads))

    def hire_more(self) -> None:
        """Have more threads work on the tasks that wait, if there are any."""
        with self._lock:
            self._hire(min(CONNECTORS, len(self._tasks), MOST_CONNECTORS - self._n_threads))

    def _hire(self, count: int) -> None:
        for _ in range(count):
            if not start_thread("seppo-connect", self._work):
                return  # what waits is done when one starts again
            self._n_threads += 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._n_threads -= 1
                    return
                task = self._tasks.popleft()
            try:
                task()
            except Exception:  # whatever a strange peer answers must not end the thread
                log.exception("a connection attempt has failed")


def start_thread(name: str, target: Callable[..., Any], *args: Any) -> bool:
    """Start a thread that does not keep the process; return whether it has started.

    It may not: from Python 3.12 on, no thread starts once the main thread has ended, while
    others may still use what is connected; and the system may have none to give.
    """
    try:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()
    except RuntimeError as error:
        log.info("thread %s cannot be started: %s", name, error)
        return False
    return True
