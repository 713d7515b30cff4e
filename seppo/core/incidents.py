"""Incidents of one job: how often its items lost their workers, fell silent, were copied."""

from __future__ import annotations

from seppo.core.spans import SpanSet


class Incidents:
    """What has happened to items that have no result yet.

    Invariants: every number is 1 or more. A result that a worker brings clears its item of
    losses, mishaps and moves; an item that is given up is cleared of its losses.

    Attributes:
        losses: How often an item's worker was lost while it ran.
        mishaps: Losses with nobody to blame, by the first item that the worker held.
        moves: How often an item fell silent with its worker, and went elsewhere.
        copied: Items that were copied as stragglers: once is enough.
        n_unready: Workers in a row that were lost before any item ran.
        n_guilty: Items that lost every worker allowed, and were given up for that.
    """

    def __init__(self) -> None:
        self.losses: dict[int, int] = {}
        self.mishaps: dict[int, int] = {}
        self.moves: dict[int, int] = {}
        self.copied = SpanSet()
        self.n_unready = 0
        self.n_guilty = 0

    def __bool__(self) -> bool:
        """Whether items have lost their workers, or fell silent with them."""
        return bool(self.moves or self.losses or self.mishaps)

    def count_loss(self, index: int) -> int:
        """Count a worker that was lost while it ran the item; return how many there were."""
        self.losses[index] = tries = self.losses.get(index, 0) + 1
        return tries

    def give_up(self, index: int, is_guilty: bool = False) -> int:
        """Forget an item that will not be tried again; return how many workers it has lost."""
        self.n_guilty += is_guilty
        return self.losses.pop(index, 0)

    def count_mishap(self, index: int) -> int:
        """Count a loss with nobody to blame; return how many there were."""
        self.mishaps[index] = count = self.mishaps.get(index, 0) + 1
        return count

    def count_unready(self) -> int:
        """Count a worker that was lost before any item ran; return how many in a row."""
        self.n_unready += 1
        return self.n_unready

    def count_move(self, index: int) -> None:
        """Count that an item fell silent with its worker, and goes elsewhere."""
        self.moves[index] = self.moves.get(index, 0) + 1

    def count_copy(self, start: int, stop: int) -> None:
        """Take note that these items were copied."""
        self.copied.add(start, stop)

    def forget(self, start: int, stop: int) -> None:
        """These items have come through: nothing is held against them any more."""
        self.n_unready = 0
        for counts in (self.losses, self.mishaps, self.moves):
            if counts:
                for index in [i for i in counts if start <= i < stop]:
                    del counts[index]
