"""Slots: one worker process in the host's decisions, with its stage, its client and its end.

    STARTING --SpareReady--> SPARE --lease--> LEASING --LeaseReady--> LEASED
        |                      |                 |                      |
        +----------------------+------- end -----+----------------------+--> ending --> gone

A process that does not end in time is killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from seppo.host.commands import EndProcess, HostCommand, KillProcess, Lease, Tell
from seppo.host.events import (
    FinalizerBegan,
    HostEvent,
    LeaseReady,
    LimitsBegan,
    LineBroken,
    MarkSeen,
    ProcessEnded,
    SpareReady,
)
from seppo.wire.lastgasp import NOTHING, Mark
from seppo.wire.messages import Leased, WorkerEnded

ENDING = 2.0  # seconds that a process gets for ending when it is told to
ANSWER = 10.0  # seconds that a spare gets for listening to its client
LINE_GONE = 1.0  # seconds that it gets for ending once its control line has
FINALIZER = 6.0  # seconds that it gets while a finalizer runs, which it watches itself
WATCH_ON = 5.0  # seconds without any time limit after which nobody looks any more
OVERDUE = 3.0  # seconds that a process gets for ending an item that is over its time


class Stage(Enum):
    """The stages of a process before its end."""

    STARTING = auto()
    SPARE = auto()
    LEASING = auto()  # it was told to listen
    LEASED = auto()  # its client knows it


@dataclass
class Slot:
    """One process, from its start to its end.

    Invariants: it has a client from ``LEASING`` on, and no other one later. A process that was
    told to listen or to end has a finite ``kill_at`` until it has done so.
    """

    number: int
    name: str
    started_at: float
    stage: Stage = Stage.STARTING
    client: object = None  # whose it is
    world: int = 0
    is_ending: bool = False  # we have told it to, or its line is gone
    is_ordered: bool = False  # we have told it to, or kill it
    is_told: bool = False  # its client has heard of its end before it has ended
    why: str = ""  # we end it
    kill_at: float = float("inf")
    finalizes_until: float = 0.0
    limits_until: float = 0.0  # until when to look at its mark
    overdue: Mark = NOTHING  # what it was killed for, because it took too long

    @property
    def is_spare(self) -> bool:
        """Whether it waits to be leased."""
        return self.stage is Stage.SPARE and not self.is_ending

    def hear(self, event: HostEvent, now: float) -> list[HostCommand]:
        """Take note of what is known of the process."""
        match event:
            case SpareReady() if self.stage is Stage.STARTING:
                self.stage = Stage.SPARE
            case LeaseReady(address=address, token=token) if self.stage is Stage.LEASING:
                if self.is_ending:
                    return []
                self.stage, self.kill_at = Stage.LEASED, float("inf")
                return [Tell(self.client, Leased(self.world, self.name, address, token))]
            case LimitsBegan():
                self.limits_until = now + WATCH_ON
            case FinalizerBegan():
                self.finalizes_until = now + FINALIZER
                if self.is_ending:
                    self.kill_at = max(self.kill_at, self.finalizes_until)
            case LineBroken(why=why):
                if why:
                    self.is_ending, self.why = True, why
                    return [KillProcess(self.number, why)]
                if not self.is_ending:
                    self.is_ending, self.kill_at = True, now + LINE_GONE
            case MarkSeen(running=running) if running.deadline:
                self.limits_until = now + WATCH_ON
                if now > running.deadline + OVERDUE and self.overdue != running:
                    self.overdue = running
                    return [self.kill("an item exceeded its task_timeout")]
        return []

    def lease(self, client: object, world: int, now: float) -> Lease:
        """Lease the process to a client."""
        self.stage, self.client, self.world = Stage.LEASING, client, world
        self.kill_at = now + ANSWER
        return Lease(self.number)

    def end(self, why: str, now: float) -> list[HostCommand]:
        """Tell the process to end, unless it was told before."""
        if self.is_ending:
            return []
        self.is_ending, self.is_ordered, self.why = True, True, why
        self.kill_at = max(now + ENDING, self.finalizes_until)
        return [EndProcess(self.number)]

    def kill(self, why: str) -> KillProcess:
        """Kill the process."""
        self.order_end(why)
        return KillProcess(self.number, why)

    def kill_late(self, now: float) -> list[HostCommand]:
        """Kill the process if it was told to end, and has not."""
        if now < self.kill_at:
            return []
        self.kill_at = now + ENDING  # again, should it be possible
        return [KillProcess(self.number, self.why or "it did not answer in time")]

    def order_end(self, why: str) -> None:
        """Take note that its end is our doing, whoever carries it out."""
        self.is_ordered, self.why = True, why

    def expect_end(self) -> None:
        """Take note that it is about to end without being told."""
        self.is_ending = True

    def tell_end(self, why: str) -> Tell:
        """Tell its client of its end before it has ended: no item is to be blamed."""
        self.is_told = True
        return Tell(self.client, WorkerEnded(self.name, why, 0, 0, 0, False))

    def tell_ended(self, event: ProcessEnded, how: str) -> Tell:
        """Tell its client that it has ended, and what ran."""
        ran = event.ran
        timed_out = self.overdue != NOTHING and self.overdue == ran
        ended = WorkerEnded(self.name, how, ran.attempt, ran.first, ran.stop, timed_out, ran.setup)
        return Tell(self.client, ended)
