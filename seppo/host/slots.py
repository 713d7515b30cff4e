"""Slots of a host: which processes it runs and for which client, as pure decisions.

Events go in, with the time, and commands come out, which the supervisor carries out. No
process, clock or socket is known here, so that dialogues without any of them prove the rules.

    StartSpare        SpareReady         Lease            LeaseReady
    ----------> STARTING -----> SPARE ----------> LEASING ----------> LEASED
                   |               |                  |                  |
                   +---------------+--- EndProcess ---+------------------+--> ProcessEnded

The rules:

- *Spares.* As many processes as the host has places wait for clients. One that is leased
  is replaced at once. Those that die by themselves again and again, before they have done
  anything, are started ever more slowly; when five in a row die before they are ready, the
  host gives up.
- *Leases.* A client says for each of its worlds how many processes it wants to hold, and
  gets them, up to the number of places, until it says another number; those that end are
  replaced. The client with the fewest is served first. Nothing is taken back by a lower
  target. When a client leaves, its processes are ended.
- *Bounds.* All clients together hold as many processes as ``max_clients`` with full sets
  would, and none is added while memory is short; but every client gets one. A world that
  wants none is *idle*: its processes are ended, longest idle first, when room is needed.
  A client that gets fewer than it wants is told why after ``TELL_WAITING``.
- *Ends.* A process that was told to end is killed if it does not; so is one whose item
  exceeds its time limit by far, and one whose client asks for it while the item in question
  still runs. Its client is told how a process ended, and what ran then.
- *The helper.* When the process that forks all others ends, they end, and no item is blamed; it
  is killed when it does not answer, and replaced.
- *Drain.* Spares end; leased processes finish their item first; no others are started.
"""

from __future__ import annotations

from collections.abc import Iterator

from seppo.host.births import Births, how_it_ended
from seppo.host.commands import (
    DrainProcess,
    GiveUp,
    HostCommand,
    StartSpare,
    Tell,
)
from seppo.host.events import (
    ClientCame,
    ClientLeft,
    DrainAsked,
    HelperAnswered,
    HelperEnded,
    HostEvent,
    KillAsked,
    MemorySeen,
    ProcessEnded,
    SpareReady,
    StopAsked,
    Tick,
    Wanted,
)
from seppo.host.silence import Silence
from seppo.host.slot import Slot, Stage
from seppo.host.tenants import IDLE, Bounds, Demand, Tenant
from seppo.wire.messages import Draining, Waiting

ESTIMATE = 32 << 20  # bytes that a leased process is expected to take soon
STOPPED = "its supervisor was stopped"
HELPER_ENDED = "the helper process that forks workers has ended"


class Slots:
    """Decides about all processes of a host.

    Args:
        name: The host's entry in the name server; processes are named after it.
        bounds: How much there is to give.

    Attributes:
        is_draining: Whether nothing is leased any more.
        tenants: The clients that are connected.
    """

    def __init__(self, name: str, bounds: Bounds) -> None:
        self.is_draining = False
        self.tenants: dict[object, Tenant] = {}
        self._name = name
        self._bounds = bounds
        self._slots: dict[int, Slot] = {}
        self._last_number = 0
        self._is_stopping = False
        self._births = Births()
        self._silence = Silence()
        self._free: int | None = None  # bytes of memory

    # --- what others may know

    @property
    def is_over(self) -> bool:
        """Whether no process is left after a drain or a stop."""
        return (self.is_draining or self._is_stopping) and not self._slots

    @property
    def n_spares(self) -> int:
        """Processes that wait to be leased."""
        return sum(slot.is_spare for slot in self)

    @property
    def is_wanted(self) -> bool:
        """Whether any client wants processes now."""
        return any(demand.count for _, demand in self._demands())

    @property
    def is_memory_short(self) -> bool:
        """Whether no process should be added, as far as was looked."""
        return self._free is not None and self._free < self._bounds.least_memory

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def find(self, name: str) -> Slot | None:
        """Return the process of a name."""
        return next((slot for slot in self if slot.name == name), None)

    def watched(self, now: float) -> list[int]:
        """Return the processes whose marks are to be looked at."""
        return [slot.number for slot in self if slot.limits_until > now]

    def next_deadline(self) -> float:
        """Return when ``Tick`` is due, at the latest; infinity for never."""
        dues = [self._silence.due, *(slot.kill_at for slot in self)]
        if not (self.is_draining or self._is_stopping):
            if self._n_missing():
                dues.append(self._births.next_at)
            dues += [one.tell_at for _, one in self._demands() if one.tell_at is not None]
        return min(dues, default=float("inf"))

    # --- events

    def handle(self, event: HostEvent, now: float) -> list[HostCommand]:
        """Return what is to be done after this."""
        commands = self._handle(event, now)
        commands += self._kill_late(now)
        if not (self.is_draining or self._is_stopping):
            commands += self._lease(now)
            commands += self._start(now)
            commands += self._tell_waiting(now)
        self._silence.begin(commands, now)
        return commands

    def _handle(self, event: HostEvent, now: float) -> list[HostCommand]:
        match event:
            case ClientCame(client=client, name=name):
                self.tenants[client] = Tenant(name)
                if self.is_draining:  # it may have been greeted before
                    return [Tell(client, Draining())]
            case ClientLeft(client=client):
                self.tenants.pop(client, None)
                return self._end([slot for slot in self if slot.client == client], "", now)
            case Wanted():
                self._want(event, now)
            case KillAsked():
                return self._kill_asked(event)
            case MemorySeen(free=free):
                self._free = free
                if self.is_memory_short and self.is_wanted:
                    return self._make_room(now)
            case ProcessEnded():
                return self._ended(event, now)
            case DrainAsked():
                return self._drain(now)
            case StopAsked():
                return self._stop(now)
            case HelperAnswered(number=number):
                self._silence.answered(number)
            case HelperEnded():
                commands = self._tell_end(HELPER_ENDED)
                for each in self:
                    each.expect_end()
                return commands
            case Tick():
                return self._silence.look(now)
            case _:
                slot = self._slots.get(event.number)
                if slot is not None:  # else its last words come after its end
                    if isinstance(event, SpareReady) and slot.stage is Stage.STARTING:
                        self._births.succeeded()
                    return slot.hear(event, now)
        return []

    # --- leases

    def _want(self, event: Wanted, now: float) -> None:
        tenant = self.tenants.get(event.client)
        if tenant is None:
            return  # it has left
        demand = tenant.demands.setdefault(event.world, Demand(event.world))
        demand.change(min(event.count, self._bounds.places), now)
        for world, other in list(tenant.demands.items()):
            if not other.count and not self._held(event.client, world):
                del tenant.demands[world]

    def _demands(self) -> Iterator[tuple[object, Demand]]:
        for client, tenant in self.tenants.items():
            for demand in tenant.demands.values():
                yield client, demand

    def _held(self, client: object, world: int | None = None) -> list[Slot]:
        """Return what a client holds, of one world or of all."""
        return [
            slot
            for slot in self
            if slot.client == client is not None
            and not slot.is_ending
            and (world is None or slot.world == world)
        ]

    def _unmet(self) -> list[tuple[object, Demand]]:
        """Return those that hold fewer than they want; who holds least comes first."""
        found = [
            (client, demand)
            for client, demand in self._demands()
            if len(self._held(client, demand.world)) < demand.count
        ]
        return sorted(found, key=lambda one: len(self._held(one[0])))

    def _lease(self, now: float) -> list[HostCommand]:
        commands: list[HostCommand] = []
        spares = [slot for slot in self if slot.is_spare]
        while spares:
            for client, demand in self._unmet():
                if self._is_crowded:
                    commands += self._make_room(now)
                if not self._has_its_share(client, demand.world):
                    slot = spares.pop(0)
                    if self._free is not None:
                        self._free -= ESTIMATE
                    commands.append(slot.lease(client, demand.world, now))
                    break
            else:
                break
        return commands

    def _has_its_share(self, client: object, world: int) -> bool:
        """Whether a world gets no more now. One it has in any case, unless memory is short.

        Else a map would wait for the end of another one of its client.
        """
        if self.is_memory_short:
            return bool(self._held(client))
        return self._is_crowded and bool(self._held(client, world))

    @property
    def _is_crowded(self) -> bool:
        n_leased = sum(slot.client is not None and not slot.is_ending for slot in self)
        return n_leased >= self._bounds.places * self._bounds.max_clients

    @property
    def _is_full(self) -> bool:
        """Whether nobody gets more than one process, for a world or in all."""
        return self.is_memory_short or self._is_crowded

    def _make_room(self, now: float) -> list[HostCommand]:
        """End the process that has been idle longest, if there is one."""
        idle = [
            (demand.idle_since, slot.number, slot)
            for client, demand in self._demands()
            if not demand.count
            for slot in self._held(client, demand.world)
            if slot.stage is Stage.LEASED
        ]
        if not idle:
            return []
        _, _, slot = min(idle)
        if self._free is not None:
            self._free += ESTIMATE  # at least; the next look tells
        return self._end([slot], IDLE, now)

    def _tell_waiting(self, now: float) -> list[HostCommand]:
        return [
            Tell(client, Waiting(self._reason(client)))
            for client, demand in self._demands()
            if demand.must_be_told(len(self._held(client, demand.world)), now)
        ]

    def _reason(self, client: object) -> str:
        """Return why a client has to wait, and who holds what."""
        if not self._is_full:
            return f"{self._name} is still starting processes"
        why = "memory is short" if self.is_memory_short else "all processes are taken"
        others = [(key, one.name) for key, one in self.tenants.items() if key != client]
        held = [(name, len(self._held(key))) for key, name in others]
        told = [f"{name} holds {count}" for name, count in held if count]
        return f"{why} on {self._name}: {', '.join(told) or 'others use the machine'}"[:1000]

    # --- starts and ends

    def _n_missing(self) -> int:
        """Return how many spares there are too few."""
        n_spares = sum(slot.client is None and not slot.is_ending for slot in self)
        wanted = 1 if self.is_memory_short else self._bounds.places
        return max(0, wanted - n_spares)

    def _start(self, now: float) -> list[HostCommand]:
        if now < self._births.next_at:
            return []
        commands: list[HostCommand] = []
        for _ in range(self._n_missing()):
            self._last_number = number = self._last_number + 1
            self._slots[number] = Slot(number, f"{self._name}.{number}", now)
            commands.append(StartSpare(number))
        return commands

    def _ended(self, event: ProcessEnded, now: float) -> list[HostCommand]:
        self._silence.answered(event.number)
        slot = self._slots.pop(event.number, None)
        if slot is None:
            return []
        how = how_it_ended(slot, event)
        commands: list[HostCommand] = []
        if not slot.is_ordered and (slot.client is None or event.status != 0):
            # Neither we ended it nor its client.
            self._births.died(slot, event, now)
            if self._births.is_hopeless:
                commands.append(GiveUp(self._births.reason(how)))
        if slot.stage is Stage.LEASED and slot.client in self.tenants and not slot.is_told:
            commands.append(slot.tell_ended(event, how))
        return commands

    def _end(self, slots: list[Slot], why: str, now: float) -> list[HostCommand]:
        """Tell processes to end, unless they were told before."""
        return [command for slot in slots for command in slot.end(why, now)]

    def _kill_asked(self, event: KillAsked) -> list[HostCommand]:
        slot = self.find(event.name)
        if slot is None or slot.client != event.client or slot.stage is not Stage.LEASED:
            return []
        return [slot.kill("its client asked for it")] if event.is_meant else []

    def _kill_late(self, now: float) -> list[HostCommand]:
        """Kill processes that were told to end, and have not."""
        return [command for slot in self for command in slot.kill_late(now)]

    def _drain(self, now: float) -> list[HostCommand]:
        if self.is_draining:
            return []
        self.is_draining = True
        commands: list[HostCommand] = [Tell(client, Draining()) for client in self.tenants]
        commands += self._end([slot for slot in self if slot.stage is not Stage.LEASED], "", now)
        leased = [slot for slot in self if slot.stage is Stage.LEASED and not slot.is_ending]
        return commands + [DrainProcess(slot.number) for slot in leased]

    def _stop(self, now: float) -> list[HostCommand]:
        self._is_stopping = True
        return self._tell_end(STOPPED) + self._end(list(self), STOPPED, now)

    def _tell_end(self, why: str) -> list[HostCommand]:
        """Tell all clients of the ends of their processes, whose items are not to be blamed."""
        commands: list[HostCommand] = []
        for slot in self:
            slot.order_end(why)
            if slot.stage is Stage.LEASED and slot.client in self.tenants and not slot.is_told:
                commands.append(slot.tell_end(why))
        return commands
