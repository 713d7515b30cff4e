"""What one job has had of the workers' time, so that jobs can share them evenly.

A chunk is *charged* when it is handed out, at what its items are reckoned to take. As
results come, that part of the charge is replaced by the time that they took; what is given
back is given back at the price that was charged, whatever has been learned since. So an
error of the estimate lasts no longer than the chunk. While a chunk runs for longer than it
was charged for, the charge grows with it.
"""

from __future__ import annotations


class Account:
    """The account of one job, in seconds of one worker.

    Attributes:
        spent: What its items took that are done, and the level at which it began.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self._charges: dict[int, float] = {}  # of live attempts, by number
        self._charged = 0.0  # their sum

    @property
    def served(self) -> float:
        """What the job has had, and what it has under way: who has least is next.

        >>> account = Account()
        >>> account.charge(1, 0.8)
        >>> account.keep(1, 0.5)       # half of the chunk is done, and took 3 s
        >>> account.pay(3.0)
        >>> account.served
        3.4
        """
        return self.spent + self._charged

    def charge(self, attempt: int, seconds: float) -> None:
        """Charge an attempt with what it is reckoned to take, or more than before."""
        self._charged += seconds - self._charges.get(attempt, 0.0)
        self._charges[attempt] = seconds

    def keep(self, attempt: int, part: float) -> None:
        """Give back the charge of an attempt except for this part of it."""
        charge = self._charges.get(attempt)
        if charge is not None:
            self._charged -= charge * (1 - part)
            self._charges[attempt] = charge * part

    def drop(self, attempt: int) -> None:
        """Give back the whole charge of an attempt."""
        self._charged -= self._charges.pop(attempt, 0.0)
        if not self._charges:
            self._charged = 0.0  # and with it what rounding has left

    def charge_of(self, attempt: int) -> float:
        """Return what an attempt is charged with now."""
        return self._charges.get(attempt, 0.0)

    def pay(self, seconds: float) -> None:
        """Take note of what items that are done took."""
        self.spent += seconds

    def raise_to(self, level: float) -> None:
        """Give up a credit: whoever had nothing to do for a while has not saved that up."""
        self.spent = max(self.spent, level - self._charged)
