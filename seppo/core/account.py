"""Accounts of worker time: how much of it each job has had, so that jobs share it evenly.

A chunk is *charged* when it is handed out, with the estimated time of its items. As
results come, their part of the charge is replaced by the time that they took. What a worker
gives back is credited at the estimate of then, whatever has been learned since. So an error
of the estimate lasts no longer than the chunk. While a chunk runs for longer than it
was charged for, the charge grows with it.
"""

from __future__ import annotations


class Account:
    """The account of one job, in seconds of one worker.

    Attributes:
        spent: The time of the items that are done, plus the level at which the job began.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self._charges: dict[int, float] = {}  # of live attempts, by number
        self._charged = 0.0  # their sum

    @property
    def served(self) -> float:
        """Time that the job has had or has under way: the job with the least is next.

        >>> account = Account()
        >>> account.charge(1, 0.8)
        >>> account.keep(1, 0.5)       # half of the chunk is done, and took 3 s
        >>> account.pay(3.0)
        >>> account.served
        3.4
        """
        return self.spent + self._charged

    def charge(self, attempt: int, seconds: float) -> None:
        """Charge an attempt with its estimated time; a second call replaces the charge."""
        self._charged += seconds - self._charges.get(attempt, 0.0)
        self._charges[attempt] = seconds

    def keep(self, attempt: int, part: float) -> None:
        """Reduce the charge of an attempt to this part of it."""
        charge = self._charges.get(attempt)
        if charge is not None:
            self._charged -= charge * (1 - part)
            self._charges[attempt] = charge * part

    def drop(self, attempt: int) -> None:
        """Remove the charge of an attempt."""
        self._charged -= self._charges.pop(attempt, 0.0)
        if not self._charges:
            self._charged = 0.0  # and with it what rounding has left

    def charge_of(self, attempt: int) -> float:
        """Return the charge of an attempt; 0 if it has none."""
        return self._charges.get(attempt, 0.0)

    def pay(self, seconds: float) -> None:
        """Add the time that finished items took."""
        self.spent += seconds

    def raise_to(self, level: float) -> None:
        """Raise the account to a level: a job that was idle has saved nothing up."""
        self.spent = max(self.spent, level - self._charged)
