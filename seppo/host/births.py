"""Restarts of worker processes that died by themselves, and descriptions of their ends."""

from __future__ import annotations

import signal

from seppo.host.events import ProcessEnded
from seppo.host.slot import Slot, Stage
from seppo.host.tenants import IDLE

STEADY = 10.0  # seconds; a process that lived longer is replaced at once
LONGEST_PAUSE = 10.0  # seconds between starts of processes that die again and again
STILLBIRTHS = 5  # processes in a row that died before they were ready: then give up


class Births:
    """Delays the starts of processes, longer each time that one dies at once.

    Attributes:
        next_at: When the next process may be started.
    """

    def __init__(self) -> None:
        self.next_at = float("-inf")
        self._quick_ends = 0  # in a row, of processes that had done nothing yet
        self._stillbirths = 0  # in a row

    @property
    def is_hopeless(self) -> bool:
        """Whether no process ever gets ready."""
        return self._stillbirths >= STILLBIRTHS

    def reason(self, how: str) -> str:
        """Return why there is no hope, given how the last one ended."""
        return (
            f"{STILLBIRTHS} worker processes in a row died before they were ready, the last "
            f"with {how}; their own messages are above"
        )

    def succeeded(self) -> None:
        """Take note that a process is ready."""
        self._stillbirths = 0

    def died(self, slot: Slot, end: ProcessEnded, now: float) -> None:
        """Take note of the end of a process that nobody has ended."""
        if slot.stage is Stage.STARTING:
            self._stillbirths += 1
        # An item that ends its process is no reason to wait: it is not tried for ever.
        if end.has_worked or now - slot.started_at >= STEADY:
            self._quick_ends = 0
            return
        self._quick_ends += 1
        if self._quick_ends > 1:
            self.next_at = now + min(LONGEST_PAUSE, 0.1 * 2 ** (self._quick_ends - 2))


def how_it_ended(slot: Slot, end: ProcessEnded) -> str:
    """Return how a process ended, and why if we know, in words."""
    if slot.why == IDLE:
        return IDLE
    how = describe_status(end.status)
    if slot.why:
        return f"{how} ({slot.why})"
    if end.status == -signal.SIGKILL and end.out_of_memory:
        return f"out of memory ({how})"
    return how


def describe_status(status: int) -> str:
    """Return how a process ended, in words.

    >>> describe_status(3), describe_status(-9)
    ('exit code 3', 'SIGKILL')
    """
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
