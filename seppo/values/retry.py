"""Retries of an item that raises: a wrapper that runs where the function runs.

The worker tries, not the client: nothing travels twice, and the order of items does not
matter. All tries of an item, with the pauses between them, are one item to everybody else:
to its ``task_timeout``, to an interruption, and to the measured cost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seppo.errors import ConfigurationError
from seppo.values.exceptions import add_note
from seppo.values.outcome import is_for_us

LONGEST_PAUSE = 60.0  # seconds between two tries, however often it was tried


@dataclass(frozen=True)
class Retry:
    """How an item that raises is tried again.

    Args:
        times: How many more times it is tried.
        on: Only after exceptions of these classes.
        backoff: Seconds before the second try; twice as long before each further one, and
            60 at most.

    Raises:
        ValueError: If a number is below 0.
        TypeError: If ``on`` holds something else than classes of exceptions.

    >>> Retry(3, on=(OSError,)).pause_before(2)
    0.2
    """

    times: int
    on: tuple[type[BaseException], ...] = (Exception,)
    backoff: float = 0.1

    def __post_init__(self) -> None:
        if isinstance(self.on, type):
            object.__setattr__(self, "on", (self.on,))
        on = tuple(self.on)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on):
            raise TypeError(f"on must hold classes of exceptions, not {self.on!r}")
        object.__setattr__(self, "on", on)
        if isinstance(self.times, bool) or not isinstance(self.times, int):
            raise TypeError(f"times must be a whole number, not {self.times!r}")
        if self.times < 0:
            raise ConfigurationError("retries", str(self.times), "0 or more is needed")
        if not 0 <= self.backoff < float("inf"):
            raise ConfigurationError("backoff", str(self.backoff), "0 seconds or more are needed")

    def pause_before(self, retry: int) -> float:
        """Return the seconds to wait before the ``retry``-th further try, from 1."""
        return min(LONGEST_PAUSE, self.backoff * 2.0 ** min(retry - 1, 60))


class Retrying:
    """A function that tries again.

    Args:
        func: The function.
        retry: When, and how often.
    """

    def __init__(self, func: Callable[..., Any], retry: Retry) -> None:
        self.func = func
        self.retry = retry
        # For messages about the function.
        self.__qualname__ = getattr(func, "__qualname__", None) or repr(func)[:80]

    def __reduce__(self) -> tuple[type[Retrying], tuple[Callable[..., Any], Retry]]:
        return Retrying, (self.func, self.retry)

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns, at the first try that does not raise."""
        process = os.getpid()
        for retry in range(1, self.retry.times + 1):
            try:
                return self.func(*args)
            except self.retry.on as error:
                # Not our own interruption; not in a child that the function has forked.
                if is_for_us(error) or os.getpid() != process:
                    raise
            pause = self.retry.pause_before(retry)
            if pause > 0:
                time.sleep(pause)
        try:
            return self.func(*args)
        except self.retry.on as error:
            if self.retry.times and not is_for_us(error):
                add_note(error, f"seppo: tried {self.retry.times + 1} times")
            raise


def retrying(func: Callable[..., Any], retry: Retry) -> Callable[..., Any]:
    """Return the function, wrapped if it is to be tried more than once."""
    return Retrying(func, retry) if retry.times else func
