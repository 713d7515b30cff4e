"""What workers run: small functions that every peer can import."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def square(x: int) -> int:
    """Return the square: an item that costs next to nothing."""
    return x * x


def spin(loops: int) -> int:
    """Keep a core busy for so many loops, and return a number that depends on all."""
    total = 0
    for i in range(loops):
        total += i * i & 7
    return total


def nap(seconds: float) -> float:
    """Sleep: an item that takes time but no core, so that only the order counts."""
    time.sleep(seconds)
    return seconds


def plus_one(array: Any) -> Any:
    """Return a new array of the same size."""
    return array + 1


def pick(i: int, data: Any) -> float:
    """Return an element of big data that comes as an argument."""
    return float(data[i])


def closing_over(data: Any) -> Callable[[int], float]:
    """Return a function that closes over the data and does what ``pick`` does."""

    def pick_inside(i: int) -> float:
        return float(data[i])

    return pick_inside


def calibrate(seconds: float = 1e-3) -> int:
    """Return how many loops of ``spin`` take so many seconds on a core left alone.

    The quickest of many tries, since whatever else runs can only slow a try down.
    """
    loops = 10_000
    best = min(_timed(loops) for _ in range(50))
    return max(1, round(loops * seconds / best))


def _timed(loops: int) -> float:
    start = time.perf_counter()
    spin(loops)
    return time.perf_counter() - start
