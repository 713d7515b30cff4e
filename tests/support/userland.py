"""A module of the caller's own, which no worker can import: it lies in tests/support."""

import os
import time
from dataclasses import dataclass

OFFSET = 1000


class OwnError(Exception):
    """An exception of the caller's module."""


@dataclass(frozen=True)
class Point:
    x: int
    y: int

    def moved(self, by):
        return Point(self.x + by, self.y + by)


class Scaler:
    """A callable object, and bound methods."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor

    def times(self, x):
        return x * self.factor


def square(x):
    return x * x


def with_offset(x):
    return x + OFFSET


def add(x, y):
    return x + y


def fails_on_odd(x):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


def raises_own(x):
    raise OwnError(x)


def move(point):
    return point.moved(1)


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def pid_once(path):
    """Return the process, once there is a file of this name."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return os.getpid()


def span_of_nap(seconds):
    """Return when the nap began and ended, on this machine's monotonic clock."""
    start = time.monotonic()
    time.sleep(seconds)
    return start, time.monotonic()


def appends(path, line):
    """Write one line to a file that all processes share: counts how often items ran."""
    with open(path, "a") as file:
        file.write(f"{line}\n")
    return line
