"""The hosts that this client uses: one connection to each supervisor.

    engine                        supervisor
    ------                        ----------
    Hello ----------------------> who we are
    Want(world, count) ---------> holds so many processes for us, and replaces those that end
         <----------------------- Leased: where one is, and the token that opens it
         <----------------------- Waiting: why there are fewer
    Ping ----------------------->
         <----------------------- Pong
         <----------------------- WorkerEnded: how, and which item ran
         <----------------------- Draining
    Kill ----------------->

A supervisor answers at once whatever its processes do. So its silence means that the machine
or the link is down. When this connection ends, however it ends, the host is lost, and its
processes with it: the supervisor does not keep them for a client that it cannot hear.
Discovery may find the host again later, and then it is a new one.

Silence is counted in pings that were not answered, never by the clock alone: a client that
was stopped itself (a laptop's lid) reads what has come meanwhile before it counts.

The driver's thread calls everything here.
"""

from __future__ import annotations

import logging
import selectors
from collections import Counter, deque
from dataclasses import dataclass, field

from seppo.engines.spread import spread
from seppo.errors import ProtocolError
from seppo.settings import Settings
from seppo.wire.messages import (
    Draining,
    Hello,
    Kill,
    Leased,
    Message,
    Ping,
    Pong,
    Waiting,
    Want,
    WorkerEnded,
)
from seppo.wire.peer import Peer
from seppo.wire.stream import Stream

log = logging.getLogger(__name__)

LARGEST = 1 << 16  # bytes of a message from a supervisor
PING = 2.0  # seconds between pings; more often where less silence is allowed
FAILURES = 3  # leased processes in a row that cannot be reached: then a host is left alone
BLOCKED = 30.0  # seconds, for so long
STUCK = 2.5  # seconds until a cancelled item that still runs costs its process its life


@dataclass(frozen=True)
class HostLost:
    """A host is lost, and these workers with it."""

    host: str
    workers: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class HostDrains:
    """These workers finish what runs, and end."""

    workers: tuple[str, ...]


HostNews = Leased | WorkerEnded | Waiting | HostLost | HostDrains


@dataclass(eq=False)
class Host:
    """One host, by its supervisor.

    Attributes:
        name: What the supervisor calls itself.
        places: Processes that it may hold for one world.
        peer: The connection.
        wanted: How many processes we asked for, by world.
        held: The world of each process that was leased to us and has not ended.
        counts: How many of these there are, by world.
        is_full: Whether it cannot give all that we asked for.
        failures: Processes in a row that could not be reached.
        blocked_until: When to ask for processes again, after too many failures; 0 for now.
        silent: Seconds in which we asked for a sign of life and got none.
    """

    name: str
    places: int
    peer: Peer = field(init=False)
    wanted: dict[int, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    is_full: bool = False
    is_draining: bool = False
    silent: float = 0.0
    failures: int = 0
    blocked_until: float = 0.0

    def n_coming(self, world: int) -> int:
        """Return how many more processes will be leased soon, as far as is known."""
        if self.is_full or self.is_draining:
            return 0
        return max(0, self.wanted.get(world, 0) - self.counts[world])


class Hosts:
    """All hosts of one engine.

    Args:
        settings: Time limits.
        selector: The engine's; a host's key there has its ``Host`` as data.
        client: A text for people that says who we are; ``seppo status`` shows it.
    """

    def __init__(self, settings: Settings, selector: selectors.BaseSelector, client: str) -> None:
        self._silence = max(0.1, settings.silence)  # pings take their time
        self._interval = min(PING, self._silence / 5)
        self._selector = selector
        self._client = client
        self._hosts: dict[str, Host] = {}
        self._host_of: dict[str, Host] = {}  # by worker
        self._targets: dict[int, int] = {}  # processes wanted in all, by world
        self._cancelled: deque[tuple[float, str, int]] = deque()
        self._ticked_at = 0.0
        self._news: list[HostNews] = []

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def n_places(self) -> int:
        """Processes that all hosts together could hold for one world."""
        return sum(host.places for host in self._hosts.values() if not host.is_draining)

    def welcome(self, name: str, places: int, stream: Stream, is_draining: bool) -> bool:
        """Take note of a host that has greeted us.

        Returns:
            False if it is here already, found at another address: then the stream is closed.
        """
        if name in self._hosts:
            stream.close()
            return False
        host = self._hosts[name] = Host(name, places, is_draining=is_draining)
        host.peer = Peer(stream, self._selector, host)
        log.info("host %s has joined, with %d place(s)", name, places)
        self._send(host, Hello(self._client))
        for world in self._targets:
            self._share_out(world)
        return True

    # --- leases

    def want(self, world: int, count: int) -> None:
        """Have so many processes leased for a world, in all; 0: the world is idle."""
        before = self._targets.get(world, 0)
        self._targets[world] = count
        # Reading an endless input raises this with every item, and changes nothing here.
        if min(before, count) < self.n_places or count == 0:
            self._share_out(world)
        if count == 0:
            del self._targets[world]

    def target(self, world: int) -> int:
        """Return how many processes are wanted for a world."""
        return self._targets.get(world, 0)

    def _share_out(self, world: int) -> None:
        hosts = {
            name: host
            for name, host in self._hosts.items()
            if not host.is_draining and not host.blocked_until
        }
        places = {name: host.places for name, host in hosts.items()}
        held = {name: host.counts[world] for name, host in hosts.items()}
        target = self._targets[world]
        shares = spread(target, places, held) if target else dict.fromkeys(hosts, 0)
        full = {name for name, host in hosts.items() if host.is_full and shares[name]}
        if full and target:
            # What they cannot give now comes from others; there they stay in the queue.
            possible = {name: held[name] if name in full else places[name] for name in hosts}
            now = spread(target, possible, held)
            shares = {name: shares[name] if name in full else now[name] for name in hosts}
        for name, host in hosts.items():
            if host.wanted.get(world, 0) != shares[name]:
                host.wanted[world] = shares[name]
                host.is_full = False
                self._send(host, Want(world, shares[name]))
                if shares[name] == 0:
                    del host.wanted[world]

    def coming(self) -> Counter[int]:
        """Return how many more processes will be leased soon, by world, as far as is known."""
        hosts = self._hosts.values()
        return Counter({w: sum(host.n_coming(w) for host in hosts) for w in self._targets})

    def reached(self, name: str) -> None:
        """Take note that a leased process could be connected to."""
        if (host := self._host_of.get(name)) is not None:
            host.failures = 0

    def not_reached(self, name: str, error: Exception, now: float) -> None:
        """Take note that a leased process could not be connected to; it will end by itself."""
        host = self._host_of.get(name)
        if host is None:
            return
        host.failures += 1
        if host.failures < FAILURES:
            log.info("worker %s cannot be reached: %s", name, error)
            return
        log.warning(
            "the supervisor of host %s can be reached, but its workers cannot: %s; if there "
            "is a firewall, open all ports of that machine", host.name, error
        )  # fmt: skip
        host.failures, host.blocked_until = 0, now + BLOCKED
        for world in list(host.wanted):
            self._send(host, Want(world, 0))
        host.wanted.clear()
        for world in list(self._targets):  # others may have places
            self._share_out(world)

    def forget(self, name: str) -> None:
        """Forget a process that has ended, or of which nothing more will be heard."""
        host = self._host_of.pop(name, None)
        if host is not None:
            host.counts[host.held.pop(name)] -= 1

    def can_tell(self, name: str) -> bool:
        """Whether the worker's supervisor can be expected to say how it ended."""
        return name in self._host_of

    def kill(self, name: str, attempt: int, only_frozen: bool = False) -> None:
        """Have a worker's process killed if it still runs this attempt.

        Args:
            name: The worker.
            attempt: The attempt.
            only_frozen: Leave it alone while it uses the processor: it may merely be busy.
        """
        host = self._host_of.get(name)
        if host is not None:
            self._send(host, Kill(name, attempt, only_frozen))

    def cancelled(self, name: str, attempt: int, now: float) -> None:
        """Take note that an attempt was cancelled: it must not run for much longer."""
        if name in self._host_of:
            self._cancelled.append((now + STUCK, name, attempt))

    # --- messages

    def _send(self, host: Host, message: Message) -> None:
        if self._hosts.get(host.name) is host:
            try:
                host.peer.send(message)
            except OSError as error:
                self._lose(host, error)

    def serve(self, host: Host, events: int) -> None:
        """Receive and send; called when the selector says that it can be done."""
        if self._hosts.get(host.name) is not host:
            return  # lost in this very turn
        try:
            if events & selectors.EVENT_READ:
                for message in host.peer.receive():
                    host.silent = 0.0
                    self._handle(host, message)
            if events & selectors.EVENT_WRITE:
                host.peer.flush()
        except (EOFError, OSError) as error:
            self._lose(host, error)
        except ProtocolError as error:
            log.warning("the supervisor of host %s is cut off: %s", host.name, error)
            self._lose(host, error)

    def _handle(self, host: Host, message: Message) -> None:
        match message:
            case Pong():
                pass
            case Leased(name=name, world=world):
                if not name.startswith(f"{host.name}."):
                    raise ProtocolError(f"it leases {name[:100]!r}, which is not its own")
                if name in self._host_of:
                    raise ProtocolError(f"it leases {name!r} twice")
                host.held[name] = world
                host.counts[world] += 1
                host.is_full = False
                self._host_of[name] = host
                self._news.append(message)
            case WorkerEnded(name=name):
                if name in host.held:  # of others it has nothing to say
                    self._news.append(message)
            case Waiting(reason=reason):
                host.is_full = True
                log.info("host %s leases no more processes: %s", host.name, reason)
                self._news.append(message)
                for each in self._targets:
                    self._share_out(each)
            case Draining():
                host.is_draining = True
                self._news.append(HostDrains(tuple(host.held)))
                for world in self._targets:
                    self._share_out(world)
            case _:
                raise ProtocolError(f"a supervisor does not send {type(message).__name__}")

    def _lose(self, host: Host, error: Exception) -> None:
        """Let go of a host and of all its workers, however the connection ended."""
        if self._hosts.pop(host.name, None) is None:
            return
        host.peer.close()
        workers = tuple(host.held)
        if workers:
            log.warning("host %s is lost: %s", host.name, error)
        else:
            log.info("host %s is lost: %s", host.name, error)
        self._news.append(HostLost(host.name, workers, f"its host is lost: {error}"))
        for name in workers:
            self.forget(name)
        for world in list(self._targets):
            self._share_out(world)

    # --- time

    def next_deadline(self) -> float:
        """Return when ``tick`` has something to do; infinity for never."""
        deadline = float("inf")
        if self._news:
            return 0.0
        if self._hosts:
            deadline = self._ticked_at + self._interval
        if self._cancelled:
            deadline = min(deadline, self._cancelled[0][0])
        return deadline

    def tick(self, now: float) -> list[HostNews]:
        """Do what is due, after all that has come was received; return what has happened."""
        while self._cancelled and self._cancelled[0][0] <= now:
            _, name, attempt = self._cancelled.popleft()
            self.kill(name, attempt)
        if self._hosts and now >= self._ticked_at + self._interval:
            # A late tick means that we slept: count 1.5 intervals at most.
            passed = min(now - self._ticked_at, 1.5 * self._interval)
            self._ticked_at = now
            for host in list(self._hosts.values()):
                if 0 < host.blocked_until <= now:
                    host.blocked_until = 0.0
                    for world in list(self._targets):
                        self._share_out(world)
                self._look_at(host, passed)
        news, self._news = self._news, []
        return news

    def _look_at(self, host: Host, passed: float) -> None:
        if host.silent >= self._silence:
            self._lose(host, TimeoutError(f"no sign of life for {host.silent:.0f} s"))
            return
        host.silent += passed
        self._send(host, Ping())

    def close(self) -> None:
        """Close all connections."""
        for host in self._hosts.values():
            host.peer.close()
        self._hosts.clear()
        self._host_of.clear()

    def abandon(self) -> None:
        """Close our copies of the sockets: this is a forked child."""
        for host in self._hosts.values():
            host.peer.abandon()
        self._hosts.clear()
        self._host_of.clear()
