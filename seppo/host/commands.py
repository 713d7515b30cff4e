"""Commands: everything that the slots of a host can ask the supervisor to do."""

from __future__ import annotations

from dataclasses import dataclass

from seppo.wire.messages import Message


@dataclass(frozen=True)
class StartSpare:
    """Start a process under this number; ``SpareReady`` or ``ProcessEnded`` follows."""

    number: int


@dataclass(frozen=True)
class Lease:
    """Have a spare listen for a client; ``LeaseReady`` or ``ProcessEnded`` follows."""

    number: int


@dataclass(frozen=True)
class Tell:
    """Send a message to a client."""

    client: object
    message: Message


@dataclass(frozen=True)
class EndProcess:
    """End a process now: what runs in it is interrupted."""

    number: int


@dataclass(frozen=True)
class DrainProcess:
    """End a process once the item that runs in it is finished."""

    number: int


@dataclass(frozen=True)
class KillProcess:
    """Kill a process."""

    number: int
    why: str


@dataclass(frozen=True)
class ReplaceHelper:
    """Kill the helper that forks processes; ``HelperEnded`` follows, and all their ends."""


@dataclass(frozen=True)
class GiveUp:
    """Stop: no process can be started here."""

    reason: str


HostCommand = (
    StartSpare | Lease | Tell | EndProcess | DrainProcess | KillProcess | ReplaceHelper | GiveUp
)  # fmt: skip
