"""The workers that were leased to this client, from the lease until their end is known.

    lease --> being attached --> connected --> ending --> WorkerLost
              (Arrivals)         chunks and    its socket has ended; how its process
                                 functions     ended is not known yet (``endings``)
                                 out, results
                                 in

A process belongs to one *world* (see ``worlds``) for life, and events are told together with
the number of the world that they happened in. The driver's thread calls everything here.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

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
    WorkersJoining,
)
from seppo.engines.arrivals import WorkerArrival
from seppo.engines.base import Answer, Order, Told
from seppo.engines.courier import Courier
from seppo.engines.endings import Endings
from seppo.engines.hosts import Hosts
from seppo.errors import ProtocolError
from seppo.values.source import ItemSource
from seppo.wire.messages import (
    Cancel,
    Chunk,
    Differs,
    Function,
    Leased,
    LeftBehind,
    Message,
    NeedFiles,
    NeedFunction,
    Recall,
    Results,
    Returned,
    Stored,
    WorkerEnded,
)
from seppo.wire.peer import Peer

log = logging.getLogger(__name__)


@dataclass(eq=False)
class LeasedWorker:
    """A connected worker."""

    name: str
    world: int
    sharing: str | None  # workers of the same name can map each other's memory
    peer: Peer = field(init=False)


class LeasedWorkers:
    """All workers that are leased to one engine.

    Args:
        selector: The engine's; a worker's key there has its ``LeasedWorker`` as data.
        hosts: Their supervisors.
    """

    def __init__(self, selector: selectors.BaseSelector, hosts: Hosts) -> None:
        self._selector = selector
        self._hosts = hosts
        self._leases: dict[str, Leased] = {}  # of processes that are being attached
        self._connected: dict[str, LeasedWorker] = {}
        self._ending: dict[str, int] = {}  # the worlds of those that are not connected any more
        self._endings = Endings()
        self._courier = Courier()
        self._events: list[Told] = []
        self._expected: Counter[int] = Counter()  # what the schedulers were told last
        self._has_to_count = False  # whether that may have changed

    # --- events

    def recount(self) -> None:
        """Have the schedulers told how many more workers will join, if that has changed."""
        self._has_to_count = True

    def take_events(self) -> list[Told]:
        """Return what has happened since the last call."""
        if self._has_to_count:
            self._tell_expected()
        found, self._events = self._events, []
        return found

    def _tell_expected(self) -> None:
        self._has_to_count = False
        expected = self._hosts.coming()
        expected.update(lease.world for lease in self._leases.values())
        for world in expected.keys() | self._expected.keys():
            if expected[world] != self._expected[world]:
                self._events.append((world, WorkersJoining(expected[world])))
        self._expected = expected

    def _tell(self, worker: LeasedWorker, event: Event) -> None:
        self._events.append((worker.world, event))

    # --- they come

    def expect(self, lease: Leased) -> None:
        """Take note of a process that is being attached."""
        self._leases[lease.name] = lease

    def welcome(self, arrival: WorkerArrival, is_wanted: bool) -> None:
        """Take note of an attached process, or of one that cannot be reached.

        Args:
            arrival: The process.
            is_wanted: Whether its world is not over.
        """
        lease = self._leases.pop(arrival.lease.name, None)
        if arrival.stream is None:
            assert arrival.error is not None
            if lease is not None:
                self._hosts.not_reached(lease.name, arrival.error, time.monotonic())
        elif lease is None or not is_wanted:
            # It has ended meanwhile, or its host is lost, or it replaces one of a world that
            # was over before its host had heard of that: then it ends when we hang up.
            arrival.stream.close()
        else:
            self._hosts.reached(lease.name)
            worker = LeasedWorker(lease.name, lease.world, arrival.sharing)
            worker.peer = Peer(arrival.stream, self._selector, worker)
            self._connected[worker.name] = worker
            self._tell(worker, WorkerJoined(worker.name))
            log.info("worker %s has joined", worker.name)

    # --- messages to them

    def execute(self, order: Order, source: ItemSource | None) -> None:
        """Carry out a command."""
        worker = self._connected.get(order.worker)
        if worker is None:
            return  # it is lost, and the scheduler will hear of it
        match order:
            case SendChunk():
                assert source is not None
                self._send_chunk(worker, order, source)
            case RecallChunk(attempt=attempt):
                self._send(worker, Recall(attempt))
            case CancelAttempt(attempt=attempt):
                self._send(worker, Cancel(attempt))
                self._hosts.cancelled(worker.name, attempt, time.monotonic())
            case KillWorker(attempt=attempt):
                if not worker.peer.unsent:  # else it may be waiting for us
                    self._hosts.kill(worker.name, attempt, only_frozen=True)

    def _send_chunk(self, worker: LeasedWorker, order: SendChunk, source: ItemSource) -> None:
        columns = source.pack(order.start, order.stop)
        function = source.function  # after its items: these may have made its bundle grow
        for message in self._courier.before_chunk(worker.name, worker.sharing, order.job, function):
            self._send(worker, message)
        chunk = Chunk(
            order.attempt, order.job, order.start, order.stop - order.start,
            function.digest, columns, order.task_timeout or 0.0, order.alone,
        )  # fmt: skip
        weight = sum(len(part) for column in columns for part in column.parts)
        self._tell(worker, ChunkSent(order.attempt, weight))
        self._send(worker, chunk)

    def _send(self, worker: LeasedWorker, message: Message) -> None:
        if self._connected.get(worker.name) is worker:
            try:
                worker.peer.send(message, _lender_of(message))
            except OSError as error:
                self._lose(worker, str(error))

    def _deliver(self, messages: Iterable[tuple[str, Message]]) -> None:
        for name, message in messages:
            if (worker := self._connected.get(name)) is not None:
                self._send(worker, message)

    def _unsent_to(self, name: str) -> int:
        worker = self._connected.get(name)
        return worker.peer.unsent if worker is not None else 0

    def job_over(self, job: int) -> None:
        """Forget a job's functions.

        One may still be on its way to a worker, as views of the caller's memory, which the
        caller may change from now on; its digest was computed before.
        """
        lenders = {job, *self._courier.digests_of(job)}
        self._courier.job_over(job)
        for worker in self._connected.values():
            if worker.peer.unsent:
                worker.peer.stream.own_unsent(lenders)

    # --- messages from them

    def serve(self, worker: LeasedWorker, events: int) -> None:
        """Receive and send; called when the selector says that it can be done."""
        if self._connected.get(worker.name) is not worker:
            return  # lost in this very turn
        try:
            if events & selectors.EVENT_READ:
                for message in worker.peer.receive():
                    self._handle(worker, message)
                if worker.name in self._endings:
                    self._endings.heard(worker.name, time.monotonic())
            if events & selectors.EVENT_WRITE and self._connected.get(worker.name) is worker:
                worker.peer.flush()
        except EOFError:
            self._lose(worker, "it closed the connection")
        except OSError as error:
            self._lose(worker, str(error))
        except ProtocolError as error:
            log.warning("worker %s is cut off: %s", worker.name, error)
            self._lose(worker, str(error), expects=False)

    def _handle(self, worker: LeasedWorker, message: Message) -> None:
        match message:
            case Results(attempt=attempt, seconds=seconds, batch=batch):
                nbytes = sum(len(part) for part in batch.parts)
                answer = Answer(batch, worker.name)
                self._tell(worker, ItemsDone(attempt, batch.count, seconds, nbytes, answer))
            case Returned(attempt=attempt, kept=kept):
                self._tell(worker, RestReturned(attempt, kept))
            case NeedFunction(digest=digest):
                now = time.monotonic()
                self._deliver(self._courier.needed(worker.name, worker.sharing, digest, now))
            case NeedFiles():
                self._deliver([(worker.name, file) for file in self._courier.files(message)])
            case Differs(digest=digest, versions=versions):
                self._courier.differs(worker.name, digest, versions)
            case LeftBehind(names=names):
                log.warning(
                    "the working folder of worker %s is removed with these files: %s; return "
                    "results instead, or write to a shared folder",
                    worker.name, ", ".join(names),
                )  # fmt: skip
            case Stored(digest=digest, location=location):
                self._deliver(self._courier.stored(worker.name, worker.sharing, digest, location))
            case _:
                raise ProtocolError(f"a worker does not send {type(message).__name__}")

    # --- they go

    def drain(self, names: Iterable[str]) -> None:
        """Take note that workers finish what they run, and end."""
        for name in names:
            if (worker := self._connected.get(name)) is not None:
                self._tell(worker, WorkerDrains(name))

    def process_ended(self, news: WorkerEnded, now: float) -> None:
        """Take note of how a process ended."""
        name = news.name
        if name in self._connected or name in self._endings:
            attempt = news.attempt or None
            verdict = Verdict(news.how, attempt, news.first, news.stop, news.timed_out, news.setup)
            self._conclude(self._endings.process_ended(name, verdict, now, name in self._connected))
        else:
            self._leases.pop(name, None)
            self._hosts.forget(name)

    def host_lost(self, names: Iterable[str], reason: str) -> None:
        """Let go of the workers of a host that is lost."""
        for name in names:
            self._leases.pop(name, None)
            if (worker := self._connected.get(name)) is not None:
                self._lose(worker, reason)
        for loss in self._endings.nobody_knows(names):
            self._conclude(loss)

    def world_over(self, world: int) -> None:
        """Let go of the workers of a world that is over."""
        for worker in list(self._connected.values()):
            if worker.world == world:  # its process ends when we hang up
                self._lose(worker, "its world has ended", expects=False)

    def _lose(self, worker: LeasedWorker, reason: str, expects: bool = True) -> None:
        """Let go of a worker; its loss is told once it is known how it ended, or never will.

        Args:
            worker: The worker.
            reason: Why.
            expects: Whether its supervisor may know more.
        """
        if self._connected.get(worker.name) is not worker:
            return
        del self._connected[worker.name]
        self._ending[worker.name] = worker.world
        worker.peer.close()
        now = time.monotonic()
        self._deliver(self._courier.peer_lost(worker.name, now))
        expects = expects and self._hosts.can_tell(worker.name)
        self._conclude(self._endings.socket_ended(worker.name, reason, now, expects))

    def _conclude(self, loss: WorkerLost | None) -> None:
        """Tell the loss of a worker, if all is known about it."""
        if loss is None:
            return
        self.recount()
        self._hosts.forget(loss.worker)
        self._events.append((self._ending.pop(loss.worker), loss))
        log.info("worker %s is lost: %s, %s", loss.worker, loss.reason, loss.verdict)

    # --- time

    def next_deadline(self) -> float:
        """Return when ``tick`` has something to do; infinity for never."""
        return min(self._endings.next_deadline(), self._courier.next_deadline())

    def tick(self, now: float) -> None:
        """Do what is due, after all that has come was received."""
        losses, silent = self._endings.due(now)
        for loss in losses:
            self._conclude(loss)
        for name in silent:
            # Something else holds the socket of a process that has ended.
            if (worker := self._connected.get(name)) is not None:
                self._lose(worker, "its process has ended")
        self._deliver(self._courier.overdue(now, self._unsent_to))

    def close(self) -> None:
        """Close all connections."""
        for worker in self._connected.values():
            worker.peer.close()
        self._connected.clear()

    def abandon(self) -> None:
        """Close our copies of the sockets: this is a forked child."""
        for worker in self._connected.values():
            worker.peer.abandon()
        self._connected.clear()


def _lender_of(message: Message) -> int | bytes | None:
    """Return whose memory a message may consist of: that of a job, or of a function's jobs."""
    match message:
        case Chunk(job=job):
            return job
        case Function(digest=digest):
            return digest
    return None
