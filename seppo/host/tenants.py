"""Clients of a host, their demands for processes, and the limits of the host."""

from __future__ import annotations

from dataclasses import dataclass, field

TELL_WAITING = 2.0  # seconds that a client waits before it is told why
IDLE = "idle, its place was needed"  # why a process was ended


@dataclass(frozen=True)
class Bounds:
    """The limits of what a host leases.

    Attributes:
        places: Processes for one world of a client, and spares.
        max_clients: Clients that can have full sets at once; further ones get one process
            for each world.
        least_memory: Bytes that are to stay free; with less no process is added.
    """

    places: int
    max_clients: int = 4
    least_memory: int = 256 << 20


@dataclass
class Demand:
    """How many processes a client wants to hold for one of its worlds."""

    world: int
    count: int = 0
    idle_since: float = 0.0  # when it last wanted none
    tell_at: float | None = None  # when to tell that it has to wait
    is_told: bool = False  # that it has to

    def change(self, count: int, now: float) -> None:
        """Take note of how many are wanted from now on."""
        if self.count and not count:
            self.idle_since = now
        if count > self.count:
            self.tell_at, self.is_told = None, False  # it waits anew
        self.count = count

    def must_be_told(self, held: int, now: float) -> bool:
        """Return, once, whether the client has waited for more than it holds for too long."""
        if held >= self.count:
            self.tell_at, self.is_told = None, False
        elif self.tell_at is None and not self.is_told:
            self.tell_at = now + TELL_WAITING
        if self.tell_at is None or now < self.tell_at:
            return False
        self.tell_at, self.is_told = None, True
        return True


@dataclass
class Tenant:
    """A client: its name, and its demand for each world."""

    name: str
    demands: dict[int, Demand] = field(default_factory=dict)
