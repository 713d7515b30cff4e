"""Lifetimes of this client's worlds: when their processes are not needed any more.

Which world a job belongs to is decided in ``shipping.worlds``. A world without jobs is kept
for the next map: the newest one until there is a newer one, two others for a minute, and one
with a finalizer not at all, since that is called when the map is over. Decides only; the time
arrives as ``now``. Any thread may open a job; the driver's does the rest.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from seppo.shipping import worlds
from seppo.values.function import PackedFunction

KEPT_SECONDS = 60.0  # that a world without jobs is kept once there is a newer one
MOST_IDLE = 2  # worlds without jobs, beside the newest, that are kept


@dataclass
class _World:
    """One world.

    Attributes:
        env: Environment variables that its processes get.
        is_for_once: Whether it ends with its last job.
        jobs: Those that use it.
        idle_since: When the last of them ended.
    """

    env: dict[str, str]
    is_for_once: bool
    jobs: set[int] = field(default_factory=set)
    idle_since: float = 0.0


class WorldBook:
    """All worlds of one engine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._compatible = worlds.Worlds()
        self._worlds: dict[int, _World] = {}  # the newest last
        self._of_job: dict[int, int] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._worlds

    def open(self, job: int, function: PackedFunction) -> int:
        """Return the number of the world that a job is to run in."""
        setup = function.setup
        with self._lock:
            number = self._compatible.number_for(function.bundle.manifest, setup.name)
            if number not in self._worlds:
                self._worlds[number] = _World(dict(setup.env), setup.has_finalizer)
            self._worlds[number].jobs.add(job)
            self._of_job[job] = number
            return number

    def admits(self, job: int, function: PackedFunction) -> bool:
        """Whether another function can run in the world of a job that is open."""
        with self._lock:
            number = self._of_job.get(job)
            return number is None or self._compatible.admits(number, function.bundle.manifest)

    def close(self, job: int, now: float) -> None:
        """Take note that a job is over."""
        with self._lock:
            number = self._of_job.pop(job, None)
            if number is not None:
                world = self._worlds[number]
                world.jobs.discard(job)
                world.idle_since = now

    def env(self, number: int) -> dict[str, str]:
        """Return the environment variables that the processes of a world get."""
        world = self._worlds.get(number)
        return {} if world is None else world.env

    def _ends(self) -> dict[int, float]:
        """Return when each world without jobs is over, if no job comes back to it."""
        newest = max(self._worlds, default=0)
        ends = {}
        idle = [(w.idle_since, n, w) for n, w in self._worlds.items() if not w.jobs]
        for place, (since, number, world) in enumerate(sorted(idle, reverse=True)):
            if world.is_for_once:
                ends[number] = since
            elif number != newest:
                ends[number] = since + KEPT_SECONDS if place <= MOST_IDLE else since
        return ends

    def next_deadline(self) -> float:
        """Return when ``over`` has something to tell; infinity for never."""
        with self._lock:
            return min(self._ends().values(), default=float("inf"))

    def over(self, now: float) -> list[int]:
        """Return the worlds that are over now, and forget them."""
        with self._lock:
            over = [number for number, end in self._ends().items() if end <= now]
            for number in over:
                del self._worlds[number]
                self._compatible.forget(number)
            return over
