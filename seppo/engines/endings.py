"""Endings of workers: what is known of each one, and how long to wait for more.

Two signs show that a worker has ended, in any order: its data socket ends, and its
supervisor says how its process ended. Either may never come: the supervisor may be out of
reach, or a process that user code has started may hold the socket open. Decides only; the
time arrives as ``now``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from seppo.core.events import Verdict, WorkerLost

VERDICT_WAIT = 1.0  # seconds for the supervisor's word after the socket has ended
LAST_WORDS = 0.5  # seconds for the rest of the data after the process has ended


@dataclass
class _Ending:
    deadline: float
    reason: str | None = None  # why the socket ended; None while it has not
    verdict: Verdict | None = None


class Endings:
    """Knows which workers are ending."""

    def __init__(self) -> None:
        self._endings: dict[str, _Ending] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._endings

    def socket_ended(self, name: str, reason: str, now: float, expects: bool) -> WorkerLost | None:
        """Take note that a worker's socket has ended; return its loss if all is known.

        Args:
            name: The worker.
            reason: What the socket said.
            now: The time.
            expects: Whether its supervisor can be expected to say more.
        """
        ending = self._endings.pop(name, None)
        if ending is not None and ending.verdict is not None:
            return WorkerLost(name, ending.verdict.how, ending.verdict)
        if not expects:
            return WorkerLost(name, reason)
        self._endings[name] = _Ending(now + VERDICT_WAIT, reason)
        return None

    def process_ended(
        self, name: str, verdict: Verdict, now: float, is_open: bool
    ) -> WorkerLost | None:
        """Take note of how a worker's process ended; return its loss if all is known.

        Args:
            name: The worker.
            verdict: What its supervisor said.
            now: The time.
            is_open: Whether its socket is open; if it is not, and nobody waits for the
                verdict, its loss has been told.
        """
        ending = self._endings.get(name)
        if ending is not None and ending.reason is not None:
            del self._endings[name]
            return WorkerLost(name, verdict.how, verdict)
        if is_open:
            self._endings[name] = _Ending(now + LAST_WORDS, None, verdict)
        return None

    def heard(self, name: str, now: float) -> None:
        """Take note that data still comes from a worker whose process has ended."""
        ending = self._endings.get(name)
        if ending is not None and ending.reason is None:
            ending.deadline = now + LAST_WORDS

    def nobody_knows(self, names: Iterable[str]) -> list[WorkerLost]:
        """Return the losses of those workers of which nothing more will be said.

        Their supervisor is lost.
        """
        found = []
        for name in names:
            ending = self._endings.get(name)
            if ending is not None and ending.reason is not None:
                del self._endings[name]
                found.append(WorkerLost(name, ending.reason))
        return found

    def due(self, now: float) -> tuple[list[WorkerLost], list[str]]:
        """Return the losses that are certain by now, and the workers whose sockets to close."""
        losses, silent = [], []
        for name, ending in list(self._endings.items()):
            if ending.deadline > now:
                continue
            if ending.reason is not None:
                del self._endings[name]
                losses.append(WorkerLost(name, ending.reason))
            else:
                silent.append(name)
        return losses, silent

    def next_deadline(self) -> float:
        """Return when something is due; infinity for never."""
        if not self._endings:
            return float("inf")
        return min(ending.deadline for ending in self._endings.values())
