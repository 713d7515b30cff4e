"""The mailbox of a map: outcomes from the driver, for a caller who may be interrupted.

Ctrl-C raises ``KeyboardInterrupt`` between any two calls, also between the call that
takes something out of a queue and the assignment of what it returned. So nothing is taken
out here: the first outcome is looked at, dealt with, marked as dealt with in the same
step as the result of that, and dropped afterwards.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue

from seppo.driver import MoreRoom, Outcome

LONGEST_WAIT = 1.0  # seconds until Ctrl-C is noticed, at the latest


class Mailbox:
    """Outcomes of one job, in order."""

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._is_closed = False

    def put(self, outcome: Outcome) -> None:
        """Leave an outcome; from any thread."""
        if not isinstance(outcome, MoreRoom):
            self._outcomes.append(outcome)
            if self._is_closed:
                self._outcomes.clear()
        self._bell.put(None)

    def first(self) -> Outcome | None:
        """Return the first outcome and leave it here; None if there is none."""
        for outcome in self._outcomes:
            return outcome
        return None

    def drop(self, outcome: Outcome | None) -> None:
        """Forget an outcome, if it is the first one."""
        if outcome is not None and self.first() is outcome:
            try:
                self._outcomes.popleft()
            except IndexError:  # closed by another thread
                pass

    def close(self) -> None:
        """Let go of what is here and of what may still come, and end the wait."""
        self._is_closed = True
        self._outcomes.clear()
        self._bell.put(None)

    def wait(self, timeout: float | None) -> None:
        """Wait until something may have changed, at most ``timeout`` seconds."""
        # The kernel may give Ctrl-C to any thread. That does not wake the main thread, in which
        # alone it is raised; so it does not sleep for long.
        try:
            self._bell.get(timeout=LONGEST_WAIT if timeout is None else min(timeout, LONGEST_WAIT))
        except Empty:
            pass
