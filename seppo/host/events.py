"""Events: everything that can be reported to the slots of a host."""

from __future__ import annotations

from dataclasses import dataclass

from seppo.wire.lastgasp import NOTHING, Mark


@dataclass(frozen=True)
class ClientCame:
    """A client has connected and sent its ``Hello``."""

    client: object
    name: str


@dataclass(frozen=True)
class ClientLeft:
    """A client's control connection has ended."""

    client: object


@dataclass(frozen=True)
class Wanted:
    """A client wants to hold ``count`` processes for a world."""

    client: object
    world: int
    count: int


@dataclass(frozen=True)
class KillAsked:
    """A client asks to kill the process that runs an attempt.

    Attributes:
        client: Who asks.
        name: The process.
        attempt: The attempt.
        only_frozen: Leave it alone unless it is frozen.
        running: What it runs now.
        is_stopped: Whether it is stopped by a signal.
        is_frozen: Whether it has not used the processor for long.
    """

    client: object
    name: str
    attempt: int
    only_frozen: bool
    running: Mark
    is_stopped: bool
    is_frozen: bool

    @property
    def is_meant(self) -> bool:
        """Whether what runs is what the client means."""
        if not self.only_frozen:
            return self.running.attempt == self.attempt != 0
        # Without an item it froze before it began what it has been sent. One that is merely
        # idle uses no processor either.
        return self.is_frozen if self.running.attempt else self.is_stopped


@dataclass(frozen=True)
class HelperAnswered:
    """The launcher has done what it was asked to do with a process."""

    number: int


@dataclass(frozen=True)
class HelperEnded:
    """The helper that forks processes is gone; so are they, and their ends follow."""


@dataclass(frozen=True)
class SpareReady:
    """A process has started, and waits to be leased."""

    number: int


@dataclass(frozen=True)
class LeaseReady:
    """A process listens for the client that it is leased to."""

    number: int
    address: str
    token: str


@dataclass(frozen=True)
class LimitsBegan:
    """Items with a time limit run in a process: look at its mark for a while."""

    number: int


@dataclass(frozen=True)
class FinalizerBegan:
    """A finalizer runs in a process."""

    number: int


@dataclass(frozen=True)
class LineBroken:
    """The control line to a process is closed or broken.

    Attributes:
        number: Which.
        why: What it did; empty if it has closed its line, as one does that ends.
    """

    number: int
    why: str = ""


@dataclass(frozen=True)
class ProcessEnded:
    """A process is gone.

    Attributes:
        number: Which.
        status: Its exit code, or minus the signal.
        ran: What it was running.
        has_worked: Whether it ever ran anything.
        out_of_memory: Whether the kernel has just killed a process to free memory.
    """

    number: int
    status: int
    ran: Mark = NOTHING
    has_worked: bool = False
    out_of_memory: bool = False


@dataclass(frozen=True)
class MarkSeen:
    """The mark of a watched process was read: this runs."""

    number: int
    running: Mark


@dataclass(frozen=True)
class MemorySeen:
    """Memory that is free without swapping, in bytes; None if it is not known."""

    free: int | None


@dataclass(frozen=True)
class DrainAsked:
    """Finish what runs, and end."""


@dataclass(frozen=True)
class StopAsked:
    """End at once."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


HostEvent = (
    ClientCame | ClientLeft | Wanted | KillAsked | HelperAnswered | HelperEnded
    | SpareReady | LeaseReady | LimitsBegan | FinalizerBegan | LineBroken | ProcessEnded
    | MarkSeen | MemorySeen | DrainAsked | StopAsked | Tick
)  # fmt: skip
