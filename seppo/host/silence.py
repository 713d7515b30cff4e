"""Detection of a forking helper that does not answer any more: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable

from seppo.host.commands import GiveUp, HostCommand, KillProcess, ReplaceHelper, StartSpare

SILENCE = 30.0  # seconds without an answer that are too long; 10 ms are usual
DOUBT = 5.0  # seconds more, once that is noticed: we may have been stopped as well. Then
# the helper is replaced, and after as many without any news there is no hope
REASON = "the helper process that forks workers does not answer"


class Silence:
    """Notices when requests to the helper are not answered any more.

    Its first answer may take long: it imports what is preloaded.

    Attributes:
        due: When to look, at the latest.
    """

    def __init__(self) -> None:
        self.due = float("inf")
        self._asked: dict[int, float] = {}  # by the number of the process that it is about
        self._has_answered = False
        self._looks = 0  # since it was due the first time

    def begin(self, commands: Iterable[HostCommand], now: float) -> None:
        """Take note of what the helper is asked for now."""
        for command in commands:
            if isinstance(command, StartSpare | KillProcess):
                self._asked.setdefault(command.number, now)
        self._reckon()

    def answered(self, number: int) -> None:
        """Take note of an answer, or that the process has ended."""
        self._asked.pop(number, None)
        self._has_answered = True
        self._looks = 0
        self._reckon()

    def _reckon(self) -> None:
        if self._looks:
            return
        oldest = min(self._asked.values(), default=float("inf"))
        self.due = oldest + SILENCE if self._has_answered else float("inf")

    def look(self, now: float) -> list[HostCommand]:
        """Return what is to be done when no answer comes."""
        if now < self.due:
            return []
        self._looks, self.due = self._looks + 1, now + DOUBT
        if self._looks < 2:
            return []
        return [ReplaceHelper() if self._looks == 2 else GiveUp(REASON)]
