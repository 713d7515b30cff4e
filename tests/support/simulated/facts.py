"""What goes wrong in a simulation, what must not, and how it went."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from seppo.core import commands as do
from seppo.core.events import Policy


class SimulationError(AssertionError):
    """Something that must always hold did not.

    Args:
        what: What does not hold.
        seed: The seed of the run, to repeat it.
        log: The last events and commands, one a line, with their times.
    """

    def __init__(self, what: str, seed: int, log: tuple[str, ...]) -> None:
        super().__init__(what, seed, log)
        self.what = what
        self.seed = seed
        self.log = log

    def __str__(self) -> str:
        return "\n".join([f"{self.what} (seed {self.seed}); what happened last:", *self.log])


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a simulated cluster; by default nothing does.

    Attributes:
        life: Mean seconds until a worker is lost.
        undead: How many of the lost workers go on and answer too late, from 0 to 1.
        told: Of how many of the others a verdict tells which item ran, from 0 to 1.
        vague: How many of these verdicts name a few items, not one, from 0 to 1.
        rejoin: Seconds until a new worker comes in place of one that is lost or drains; None
            for never.
        talk: Mean seconds until a worker falls silent.
        silence: Seconds for which it then holds back what it has to say.
        repeat: How many of the last answers to a chunk come twice, from 0 to 1.
        deadly: Items that kill whoever runs them.
        freeze: Mean seconds until a worker freezes: it does and says nothing, but its
            connection stays. The last one that could work never does.
        thaw: Seconds until it goes on; infinite for never.
        drain: Mean seconds until a worker is asked to leave when it has done what it began.
    """

    life: float = math.inf
    undead: float = 0.0
    told: float = 0.0
    vague: float = 0.0
    rejoin: float | None = None
    talk: float = math.inf
    silence: float = 0.0
    repeat: float = 0.0
    deadly: Collection[int] = ()
    freeze: float = math.inf
    thaw: float = math.inf
    drain: float = math.inf


NO_FAULTS = Faults()


@dataclass(frozen=True)
class SimulatedJob:
    """What one caller has done.

    Attributes:
        n_items: How many items; their results are their indexes.
        cost: Seconds that the item of an index takes on a worker of speed 1.
        policy: What the caller asks for.
        opens_at: When the job begins.
        burst: Items that are offered at once, as calls of an executor: the next ones come
            ``pause`` seconds after all their results. None offers them without a pause.
        pause: For how long there is nothing to do between bursts.
    """

    n_items: int
    cost: Callable[[int], float]
    policy: Policy = field(default_factory=Policy)
    opens_at: float = 0.0
    burst: int | None = None
    pause: float = 0.0


@dataclass(frozen=True)
class SimulationReport:
    """How a simulated day went.

    Attributes:
        makespan: Virtual seconds from opening the jobs to their end.
        bound: No schedule is shorter: all work spread evenly over the first workers,
            or the longest item on the fastest of them.
        n_delivered: Items delivered, with a result or as lost.
        n_runs: How often an item was begun.
        n_messages: Messages between client and workers, both ways.
        n_steps: Happenings.
        lost_items: Items that were given up, by index.
        failure: Why a job failed, or None.
        n_kills: Workers that a supervisor ended because they were frozen.
    """

    makespan: float
    bound: float
    n_delivered: int
    n_runs: int
    n_messages: int
    n_steps: int
    lost_items: tuple[int, ...]
    failure: do.FailJob | None
    n_kills: int = 0
