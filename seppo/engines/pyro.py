"""Workers found through the name server: one selector over all their data channels."""

from __future__ import annotations

import logging
import selectors
import threading
import time
from queue import Empty, SimpleQueue

from seppo.core.commands import CancelAttempt, KillWorker, RecallChunk, SendChunk
from seppo.core.events import (
    ChunkSent,
    Event,
    ItemsDone,
    RestReturned,
    Verdict,
    WorkerDrains,
    WorkerJoined,
    WorkerLost,
)
from seppo.engines.base import Answer, Order
from seppo.engines.courier import Courier
from seppo.engines.discovery import Arrival, Discovery
from seppo.engines.hosts import Host, HostDrains, HostLost, HostNews, HostReady, Hosts, HostSilent
from seppo.engines.losses import Losses
from seppo.engines.peers import Peer, lender_of
from seppo.errors import ProtocolError
from seppo.payload.protocol import (
    Cancel,
    Chunk,
    Differs,
    Message,
    NeedFiles,
    NeedFunction,
    Recall,
    Results,
    Returned,
    Stored,
    WorkerEnded,
    from_frame,
    to_parts,
)
from seppo.payload.source import ItemSource
from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.stream import Waker

log = logging.getLogger(__name__)

HOLD = 1.0  # seconds that a new worker waits for our connection to its supervisor


class PyroEngine:
    """An engine of workers on this and other machines.

    Args:
        settings: Name server, group and time limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._peers: dict[str, Peer] = {}
        self._arrivals: SimpleQueue[Arrival] = SimpleQueue()
        self._events: list[Event] = []
        self._is_closed = False  # then what still arrives is let go
        self._courier = Courier()
        # Addresses of workers connected or just arrived; read by discovery's threads.
        self._known: set[Address] = set()
        self._known_lock = threading.Lock()
        self._hosts = Hosts(settings, self._selector, self._waker.wake)
        self._losses = Losses()
        self._held: dict[str, float] = {}  # new workers, and until when they are not told of
        self.discovery = Discovery(settings, self._on_arrival, self._is_known)

    # --- discovery's threads

    def _on_arrival(self, arrival: Arrival) -> None:
        with self._known_lock:
            self._known.add(arrival.address)
        self._arrivals.put(arrival)
        self._waker.wake()
        if self._is_closed:
            self._close_arrivals()

    def _is_known(self, address: Address) -> bool:
        with self._known_lock:
            return address in self._known

    @property
    def n_workers(self) -> int:
        """Workers connected or just arrived; from any thread."""
        with self._known_lock:
            return len(self._known)

    # --- the driver's thread

    @property
    def n_joining(self) -> int:
        """Workers that are connected, and that ``wait`` has not told of yet."""
        return self._arrivals.qsize() + len(self._held)

    def execute(self, order: Order, source: ItemSource | None) -> list[Event]:
        """Carry out a command."""
        peer = self._peers.get(order.worker)
        if peer is None:
            return []  # lost in the meantime; the scheduler will hear of it
        match order:
            case SendChunk():
                assert source is not None
                self._send_chunk(peer, order, source)
            case RecallChunk(attempt=attempt):
                self._send(peer, Recall(attempt))
            case CancelAttempt(attempt=attempt):
                self._send(peer, Cancel(attempt))
                self._hosts.cancelled(peer.name, attempt, time.monotonic())
            case KillWorker(attempt=attempt):
                if not peer.stream.unsent:  # else it is we who are busy with it
                    self._hosts.kill(peer.name, attempt, only_frozen=True)
        return self._take_events()

    def _take_events(self) -> list[Event]:
        found, self._events = self._events, []
        return found

    def _send_chunk(self, peer: Peer, order: SendChunk, source: ItemSource) -> None:
        columns = source.pack(order.start, order.stop)
        function = source.function  # after its items: these may have made its bundle grow
        for message in self._courier.before_chunk(peer.name, peer.sharing, order.job, function):
            self._send(peer, message)
        chunk = Chunk(
            order.attempt, order.job, order.start, order.stop - order.start,
            function.digest, columns, order.task_timeout or 0.0, order.alone,
        )  # fmt: skip
        weight = sum(len(part) for column in columns for part in column.parts)
        self._events.append(ChunkSent(order.attempt, weight))
        self._send(peer, chunk)

    def _send(self, peer: Peer, message: Message) -> None:
        try:
            peer.stream.send(*to_parts(message), lender=lender_of(message))
        except OSError as error:
            self._lose(peer, str(error))
        else:
            self._watch(peer)

    def _watch(self, peer: Peer) -> None:
        """Watch the socket for writing while something is unsent."""
        if (peer.stream.unsent > 0) != peer.is_writing and peer.name in self._peers:
            peer.is_writing = not peer.is_writing
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.is_writing else 0)
            self._selector.modify(peer.stream, events, peer)

    def _unsent_to(self, name: str) -> int:
        peer = self._peers.get(name)
        return peer.stream.unsent if peer is not None else 0

    def wait(self, timeout: float | None) -> list[Event]:
        """Return what has happened."""
        deadline = min(
            self._hosts.next_deadline(),
            self._losses.next_deadline(),
            self._courier.next_deadline(),
            *self._held.values(),
        )
        left = max(0.0, deadline - time.monotonic())
        if left < (float("inf") if timeout is None else timeout):
            timeout = left
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._waker:
                self._waker.drain()
                self._welcome_arrivals()
                continue
            if isinstance(key.data, Host):
                self._hosts.serve(key.data, events)
                continue
            peer = key.data
            if events & selectors.EVENT_READ:
                self._receive(peer)
            if events & selectors.EVENT_WRITE and peer.name in self._peers:
                try:
                    peer.stream.flush()
                except OSError as error:
                    self._lose(peer, str(error))
                else:
                    self._watch(peer)
        self._look_at_hosts(time.monotonic())
        return self._take_events()

    def _look_at_hosts(self, now: float) -> None:
        """Do what is due, after all that has come was received."""
        for news in self._hosts.tick(now):
            self._hear_host(news, now)
        for name in [name for name, until in self._held.items() if until <= now]:
            self._release(name)
        self._deliver(self._courier.overdue(now, self._unsent_to))
        losses, silent = self._losses.due(now)
        for loss in losses:
            self._conclude(loss)
        for name in silent:
            # Something else holds the socket of a process that has ended.
            if (peer := self._peers.get(name)) is not None:
                self._lose(peer, "its process has ended")

    def _hear_host(self, news: HostNews, now: float) -> None:
        match news:
            case WorkerEnded(name=name):
                is_ours = news.channel == self._hosts.channel_of(name)
                attempt = news.attempt if is_ours else None
                verdict = Verdict(
                    news.how, attempt, news.first, news.stop, is_ours and news.timed_out
                )
                loss = self._losses.process_ended(name, verdict, now, name in self._peers)
                if loss is not None:
                    self._conclude(loss)
            case HostReady(workers=workers):
                for name in workers:
                    self._release(name)
            case HostLost(workers=workers, reason=reason):
                for name in workers:
                    if (peer := self._peers.get(name)) is not None:
                        self._lose(peer, reason)
                for loss in self._losses.nobody_knows(workers):
                    self._conclude(loss)
            case HostSilent(workers=workers):
                for name in workers:
                    self._release(name)
                for loss in self._losses.nobody_knows(workers):
                    self._conclude(loss)
            case HostDrains(workers=workers):
                self._events += [WorkerDrains(name) for name in workers if name in self._peers]

    def _release(self, name: str) -> None:
        """Tell of a worker that has joined."""
        if self._held.pop(name, None) is not None and name in self._peers:
            self._events.append(WorkerJoined(name))

    def _welcome_arrivals(self) -> None:
        now = time.monotonic()
        while True:
            try:
                arrival = self._arrivals.get_nowait()
            except Empty:
                return
            self._end_predecessor(arrival.name)
            peer = self._peers[arrival.name] = Peer(arrival)
            self._selector.register(peer.stream, selectors.EVENT_READ, peer)
            self._held[peer.name] = now + HOLD
            if (
                peer.supervisor is None
                or not peer.channel
                or not self._hosts.add(peer.name, peer.supervisor, peer.channel)
            ):
                self._release(peer.name)
            log.info("worker %s has joined, at %s", peer.name, peer.address)

    def _end_predecessor(self, name: str) -> None:
        """Conclude what is known of a worker's last connection, before the next one is told of."""
        if (peer := self._peers.get(name)) is not None:
            self._lose(peer, "another connection takes its place", expects=False)
        for loss in self._losses.nobody_knows([name]):
            self._conclude(loss)

    def _receive(self, peer: Peer) -> None:
        try:
            for frame in peer.stream.receive():
                self._handle(peer, from_frame(frame))
            if peer.name in self._losses:
                self._losses.heard(peer.name, time.monotonic())
        except EOFError:
            self._lose(peer, "it closed the connection")
        except OSError as error:
            self._lose(peer, str(error))
        except ProtocolError as error:
            log.warning("worker %s is cut off: %s", peer.name, error)
            self._lose(peer, str(error), expects=False)

    def _handle(self, peer: Peer, message: Message) -> None:
        match message:
            case Results(attempt=attempt, seconds=seconds, batch=batch):
                nbytes = sum(len(part) for part in batch.parts)
                answer = Answer(batch, peer.name)
                self._events.append(ItemsDone(attempt, batch.count, seconds, nbytes, answer))
            case Returned(attempt=attempt, kept=kept):
                self._events.append(RestReturned(attempt, kept))
            case NeedFunction(digest=digest):
                now = time.monotonic()
                self._deliver(self._courier.needed(peer.name, peer.sharing, digest, now))
            case NeedFiles():
                self._deliver([(peer.name, file) for file in self._courier.files(message)])
            case Differs(digest=digest, versions=versions):
                self._courier.differs(peer.name, digest, versions)
            case Stored(digest=digest, location=location):
                self._deliver(self._courier.stored(peer.name, peer.sharing, digest, location))
            case _:
                raise ProtocolError(f"a worker does not send {type(message).__name__}")

    def _deliver(self, messages: list[tuple[str, Message]]) -> None:
        for name, message in messages:
            if (peer := self._peers.get(name)) is not None:
                self._send(peer, message)

    def _lose(self, peer: Peer, reason: str, expects: bool = True) -> None:
        """Let go of a worker; its loss is told once it is known how it ended, or never will.

        Args:
            peer: The worker.
            reason: Why.
            expects: Whether its supervisor may know more.
        """
        if self._peers.get(peer.name) is not peer:
            return
        del self._peers[peer.name]
        self._selector.unregister(peer.stream)
        peer.stream.close()
        with self._known_lock:
            self._known.discard(peer.address)
        now = time.monotonic()
        self._deliver(self._courier.peer_lost(peer.name, now))
        loss = self._losses.socket_ended(
            peer.name, reason, now, expects and self._hosts.can_tell(peer.name)
        )
        if loss is not None:
            self._conclude(loss)

    def _conclude(self, loss: WorkerLost) -> None:
        self._hosts.remove(loss.worker)
        if self._held.pop(loss.worker, None) is None:  # else nobody has heard of it
            self._events.append(loss)
        log.info("worker %s is lost: %s, %s", loss.worker, loss.reason, loss.verdict)

    def wake(self) -> None:
        """Make ``wait`` return."""
        self._waker.wake()

    def set_active(self, active: bool) -> None:
        """Look for more workers, or not."""
        self.discovery.set_active(active)

    def forget_job(self, job: int) -> None:
        """Forget the job's functions, and tell the workers.

        One may still be on its way to a worker, as views of the caller's memory, which the
        caller may change from now on; its digest was computed before.
        """
        lenders = {job, *self._courier.digests_of(job)}
        self._deliver(self._courier.job_over(job))
        for peer in self._peers.values():
            if peer.stream.unsent:
                peer.stream.own_unsent(lenders)

    def close(self) -> None:
        """Close all connections."""
        self.discovery.set_active(False)
        self._is_closed = True
        self._close_arrivals()
        for peer in list(self._peers.values()):
            peer.stream.close()
        self._peers.clear()
        self._hosts.close()
        self._selector.close()

    def _close_arrivals(self) -> None:
        """Let go of workers that nobody welcomes any more."""
        while True:
            try:
                self._arrivals.get_nowait().stream.close()
            except Empty:
                return

    def abandon(self) -> None:
        """Close our copies of the sockets; the parent's connections go on."""
        for peer in self._peers.values():
            peer.stream.sock.close()
        self._peers.clear()
        self._hosts.abandon()
        self._selector.close()
        self._waker.close()
