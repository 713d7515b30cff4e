"""The supervisors of our workers: one connection to each, for news and for signs of life.

A supervisor answers at once whatever its workers do, so its silence means that machine or
link are gone. Connecting happens in threads of its own; frames are sent and received in
the engine's selector, by the driver's thread, which calls everything here but ``_connect``.

    engine                        supervisor
    ------                        ----------
    Uses(worker, channel) ------> drops the channel when this connection breaks
    Ping ----------------------->
         <----------------------- Pong
         <----------------------- WorkerEnded: how, and whose items ran
         <----------------------- Draining
    KillWorker ----------------->

Silence is counted in pings that were not answered, never by the clock alone: who was
stopped himself for a while (a laptop's lid) reads what has come meanwhile before he counts.
It goes on while there is no connection, however the last one ended: over TLS a kernel's
timeout looks as if the supervisor had left, and one that has left may have lost its machine.
"""

from __future__ import annotations

import logging
import selectors
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from seppo.engines.threads import start_thread
from seppo.errors import ProtocolError
from seppo.payload.protocol import (
    Draining,
    KillWorker,
    Message,
    Ping,
    Pong,
    Uses,
    Welcome,
    WorkerEnded,
    from_frame,
    to_parts,
)
from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.credentials import Credentials
from seppo.transport.liveness import watch_closely
from seppo.transport.proxy import attach
from seppo.transport.stream import Stream

log = logging.getLogger(__name__)

LARGEST = 1 << 16  # bytes of a message from a supervisor
PING = 2.0  # seconds between pings; more often where less silence is allowed
STUCK = 5.0  # seconds until a cancelled item that still runs costs its process its life
PAUSES = (1.0, 30.0)  # seconds between attempts to connect: the first, and at most


@dataclass(frozen=True)
class HostLost:
    """Machine or link are gone, and these workers with them."""

    workers: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class HostReady:
    """The supervisor knows that these workers are ours."""

    workers: tuple[str, ...]


@dataclass(frozen=True)
class HostSilent:
    """The supervisor of these workers cannot be asked; of them nothing is known."""

    workers: tuple[str, ...]


@dataclass(frozen=True)
class HostDrains:
    """These workers finish what runs, and end."""

    workers: tuple[str, ...]


HostNews = WorkerEnded | HostReady | HostLost | HostSilent | HostDrains


@dataclass(eq=False)
class Host:
    """One supervisor."""

    address: Address
    workers: dict[str, int] = field(default_factory=dict)  # their names, and our channels
    stream: Stream | None = None
    is_connecting: bool = False
    is_writing: bool = False
    is_draining: bool = False
    retry_at: float = 0.0
    pause: float = PAUSES[0]
    silent: float = 0.0  # seconds, in which it was neither heard nor reached


class Hosts:
    """The supervisors of the workers that an engine is connected to.

    Args:
        settings: Time limits.
        selector: The engine's; a supervisor's key there has its ``Host`` as data.
        wake: Makes the engine call ``tick``; from any thread.
    """

    def __init__(
        self, settings: Settings, selector: selectors.BaseSelector, wake: Callable[[], None]
    ) -> None:
        self._silence = max(0.1, settings.silence)  # pings take their time
        self._connect_timeout = settings.connect_timeout
        self._credentials = Credentials(settings)
        self._interval = min(PING, self._silence / 5)
        self._selector = selector
        self._wake = wake
        self._hosts: dict[Address, Host] = {}
        self._of_worker: dict[str, Host] = {}
        self._arrivals: SimpleQueue[tuple[Host, Stream | None, bool]] = SimpleQueue()
        self._cancelled: deque[tuple[float, str, int]] = deque()
        self._ticked_at = 0.0
        self._is_closed = False  # then what still arrives is let go
        self._news: list[HostNews] = []

    # --- workers come and go

    def add(self, name: str, supervisor: Address, channel: int) -> bool:
        """Take note of a worker that has joined, and connect to its supervisor.

        Args:
            name: The worker.
            supervisor: Its supervisor.
            channel: Its number for our connection.

        Returns:
            Whether more will come of it soon: ``HostReady`` or ``HostSilent``. A worker that
            got an item before might be stuck with it for ever, should we die meanwhile.
        """
        host = self._hosts.get(supervisor)
        if host is None:
            host = self._hosts[supervisor] = Host(supervisor)
        host.workers[name] = channel
        self._of_worker[name] = host
        if host.stream is not None:
            self._send(host, Uses(name, channel))
        elif not host.is_connecting:
            self._start_to_connect(host)
        return host.is_connecting

    def remove(self, name: str) -> None:
        """Forget a worker."""
        host = self._of_worker.pop(name, None)
        if host is not None:
            del host.workers[name]
            self._forget_if_useless(host)

    def _forget_if_useless(self, host: Host) -> None:
        if not host.workers and host.stream is None and not host.is_connecting:
            self._hosts.pop(host.address, None)

    def channel_of(self, name: str) -> int:
        """Return a worker's number for us; 0 if it is forgotten."""
        host = self._of_worker.get(name)
        return host.workers[name] if host is not None else 0

    def can_tell(self, name: str) -> bool:
        """Whether the worker's supervisor can be expected to say how it ended."""
        host = self._of_worker.get(name)
        return host is not None and (host.stream is not None or host.is_connecting)

    def kill(self, name: str, attempt: int, only_frozen: bool = False) -> None:
        """Have a worker's process killed if it still runs this attempt of ours.

        Args:
            name: The worker.
            attempt: The attempt.
            only_frozen: Leave it alone while it uses the processor: it may merely be busy.
        """
        host = self._of_worker.get(name)
        if host is not None and host.stream is not None:
            self._send(host, KillWorker(name, host.workers[name], attempt, only_frozen))

    def cancelled(self, name: str, attempt: int, now: float) -> None:
        """Take note that an attempt was cancelled: it must not run for much longer."""
        if name in self._of_worker:
            self._cancelled.append((now + STUCK, name, attempt))

    # --- connecting

    def _start_to_connect(self, host: Host) -> None:
        host.is_connecting = True
        if not start_thread("seppo-host", self._connect, host):
            self._arrivals.put((host, None, False))
            self._wake()

    def _connect(self, host: Host) -> None:
        """Connect to a supervisor, in a thread of its own."""
        stream, is_draining = None, False
        try:
            sock = attach(self._credentials, host.address, self._connect_timeout)
            try:
                watch_closely(sock, self._silence)
                stream = Stream(sock, LARGEST)
                welcome = from_frame(stream.receive_one(self._connect_timeout))
                if not isinstance(welcome, Welcome) or "supervisor" not in welcome.info:
                    raise ProtocolError("whoever listens there is no supervisor")
                is_draining = bool(welcome.info.get("draining"))
            except BaseException:
                stream = None
                sock.close()
                raise
        except (OSError, EOFError, ProtocolError) as error:
            log.info("no supervisor at %s: %s", host.address, error)
        except Exception:  # whatever a strange peer answers must not end us without a word
            log.exception("connecting to the supervisor at %s", host.address)
        finally:
            self._arrivals.put((host, stream, is_draining))
            self._wake()
            if self._is_closed:
                self._close_arrivals()

    def _welcome_arrivals(self, now: float) -> None:
        while True:
            try:
                host, stream, is_draining = self._arrivals.get_nowait()
            except Empty:
                return
            host.is_connecting = False
            if stream is None:
                host.retry_at = now + host.pause
                host.pause = min(2 * host.pause, PAUSES[1])
                self._news.append(HostSilent(tuple(host.workers)))
                self._forget_if_useless(host)
                continue
            host.stream, host.silent, host.pause = stream, 0.0, PAUSES[0]
            self._selector.register(stream, selectors.EVENT_READ, host)
            for name, channel in host.workers.items():
                self._send(host, Uses(name, channel))
            self._news.append(HostReady(tuple(host.workers)))
            if is_draining:
                self._news.append(HostDrains(tuple(host.workers)))
            log.info("connected to the supervisor at %s", host.address)

    # --- frames

    def _send(self, host: Host, message: Message) -> None:
        if host.stream is not None:
            try:
                host.stream.send(*to_parts(message))
            except OSError as error:
                self._break(host, error)
            else:
                self._watch(host)

    def _watch(self, host: Host) -> None:
        if host.stream is not None and (host.stream.unsent > 0) != host.is_writing:
            host.is_writing = not host.is_writing
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if host.is_writing else 0)
            self._selector.modify(host.stream, events, host)

    def serve(self, host: Host, events: int) -> None:
        """Receive and send; called when the selector says that it can be done."""
        if host.stream is None:
            return
        try:
            if events & selectors.EVENT_READ:
                for frame in host.stream.receive():
                    host.silent = 0.0
                    self._handle(host, from_frame(frame))
            if events & selectors.EVENT_WRITE:
                host.stream.flush()
                self._watch(host)
        except (EOFError, OSError) as error:
            self._break(host, error)
        except ProtocolError as error:
            log.warning("the supervisor at %s is cut off: %s", host.address, error)
            self._break(host, error)

    def _handle(self, host: Host, message: Message) -> None:
        match message:
            case Pong():
                pass
            case WorkerEnded(name=name):
                if name in host.workers:  # of others it has nothing to say
                    self._news.append(message)
            case Draining():
                self._news.append(HostDrains(tuple(host.workers)))
            case _:
                raise ProtocolError(f"a supervisor does not send {type(message).__name__}")

    def _break(self, host: Host, error: Exception) -> None:
        """Let go of the connection to a supervisor, which may be reached again."""
        if host.stream is not None:
            log.info("the supervisor at %s has left: %s", host.address, error)
            self._disconnect(host)
            self._news.append(HostSilent(tuple(host.workers)))
            self._forget_if_useless(host)

    def _disconnect(self, host: Host) -> None:
        if host.stream is not None:
            self._selector.unregister(host.stream)
            host.stream.close()
            host.stream, host.is_writing = None, False
            host.retry_at = self._ticked_at + host.pause

    # --- time

    def next_deadline(self) -> float:
        """Return when ``tick`` has something to do; infinity for never."""
        deadline = float("inf")
        if self._hosts:
            deadline = self._ticked_at + self._interval
        if self._cancelled:
            deadline = min(deadline, self._cancelled[0][0])
        return deadline

    def tick(self, now: float) -> list[HostNews]:
        """Do what is due, after all that has come was received; return what has happened."""
        if not self._arrivals.empty():
            self._welcome_arrivals(now)
        while self._cancelled and self._cancelled[0][0] <= now:
            _, name, attempt = self._cancelled.popleft()
            self.kill(name, attempt)
        if self._hosts and now >= self._ticked_at + self._interval:
            # Who comes late was asleep himself, and nobody else's silence shows in it.
            passed = min(now - self._ticked_at, 1.5 * self._interval)
            self._ticked_at = now
            for host in list(self._hosts.values()):
                self._look_at(host, passed, now)
        news, self._news = self._news, []
        return news

    def _look_at(self, host: Host, passed: float, now: float) -> None:
        if host.silent >= self._silence:
            self._lose(host)
            return
        host.silent += passed
        if host.stream is not None:
            self._send(host, Ping())
        elif not host.is_connecting and host.workers and now >= host.retry_at:
            self._start_to_connect(host)

    def _lose(self, host: Host) -> None:
        """Give up a host, and forget its workers, whatever their own connections say."""
        why = f"no sign of life for {host.silent:.0f} s"
        log.warning("the machine of %s is out of reach: %s", host.address, why)
        self._disconnect(host)
        host.silent = 0.0
        workers = tuple(host.workers)
        self._news.append(HostLost(workers, f"its machine is out of reach: {why}"))
        for name in workers:
            self.remove(name)
        self._forget_if_useless(host)

    def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        self._close_arrivals()
        for host in self._hosts.values():
            if host.stream is not None:
                host.stream.close()
        self._hosts.clear()
        self._of_worker.clear()

    def _close_arrivals(self) -> None:
        while True:
            try:
                _, stream, _ = self._arrivals.get_nowait()
            except Empty:
                return
            if stream is not None:
                stream.close()

    def abandon(self) -> None:
        """Close our copies of the sockets: this is a forked child."""
        for host in self._hosts.values():
            if host.stream is not None:
                host.stream.sock.close()
        self._hosts.clear()
        self._of_worker.clear()
