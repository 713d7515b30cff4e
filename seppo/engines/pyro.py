"""Workers on this and other machines: leased from their hosts, and driven from one selector.

    discovery's threads         the driver's thread, in ``wait``            hosts
    -------------------         --------------------------------            -----
    a host has greeted us  -->  Hosts: how many processes we want    -->    leases them
                                connectors: attach to each one       <--    where they are
    a process has greeted  -->  a worker has joined its world
                                chunks and functions out, results in <-->   the processes

A process belongs to one *world* (see ``worlds``) for life, and events are told together with
the number of the world that they happened in: each world has a scheduler of its own.

Commands that come while the engine cannot carry them out are not lost silently: their worker
is lost, too, and that is told.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from seppo.core.commands import CancelAttempt, KillWorker, RecallChunk, SendChunk
from seppo.core.events import (
    ChunkSent,
    ItemsDone,
    RestReturned,
    Verdict,
    WorkerDrains,
    WorkerJoined,
    WorkerLost,
    WorkersJoining,
)
from seppo.engines.base import Answer, Order, Told, WorldOver
from seppo.engines.connectors import Connectors
from seppo.engines.courier import Courier
from seppo.engines.discovery import Discovery, HostArrival
from seppo.engines.endings import Endings
from seppo.engines.hosts import Host, HostDrains, HostLost, HostNews, Hosts
from seppo.engines.worlds import WorldBook
from seppo.errors import ProtocolError, SecurityError, SeppoError
from seppo.place import caller_facts, who_is_this
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.values.function import PackedFunction
from seppo.values.source import ItemSource
from seppo.wire.address import Address
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.messages import (
    Attach,
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
    Waiting,
    Welcome,
    WorkerEnded,
)
from seppo.wire.peer import Peer
from seppo.wire.stream import Stream, Waker

log = logging.getLogger(__name__)

ATTACH_SECONDS = 5.0  # for a process that was forked for us and need not be looked for
TOLD = 3  # refusals that an error tells; with a thousand workers they are all alike
IDLE_SECONDS = 2.0  # without work, after which hosts are told that a world is idle


@dataclass(eq=False)
class _Worker:
    """A process that is ours."""

    name: str
    world: int
    sharing: str | None  # workers of the same name can map each other's memory
    peer: Peer = field(init=False)


@dataclass(frozen=True)
class _Attached:
    """A leased process that has greeted us, or why it has not."""

    lease: Leased
    stream: Stream | None
    sharing: str | None = None
    error: Exception | None = None


def _summary_of(refusals: Sequence[SeppoError]) -> SeppoError:
    """Return one error for all hosts that cannot be used."""
    kind = SecurityError if any(isinstance(e, SecurityError) for e in refusals) else ProtocolError
    more = len(refusals) - TOLD
    told = [*map(str, refusals[:TOLD]), *([f"and {more} more"] if more > 0 else [])]
    return kind("no worker can be used: " + "; ".join(told))


def _lender_of(message: Message) -> int | bytes | None:
    """Return whose memory a message may consist of: that of a job, or of a function's jobs."""
    match message:
        case Chunk(job=job):
            return job
        case Function(digest=digest):
            return digest
    return None


class PyroEngine:
    """An engine of workers on this and other machines.

    Args:
        settings: Name server, group and time limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials = Credentials(settings)
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._arrivals: SimpleQueue[HostArrival | _Attached] = SimpleQueue()
        self._is_closed = False  # then what still arrives is let go
        # Where hosts are that are connected or have just arrived, by address: their names, once
        # they are known. Read by other threads.
        self._known: dict[Address, str] = {}
        self._known_lock = threading.Lock()
        self._connectors = Connectors()
        self.discovery = Discovery(
            settings, self._credentials, self._connectors, self._on_host, self._is_known
        )
        self.n_places = 0  # written by the driver's thread, read by any
        self._hosts = Hosts(settings, self._selector, who_is_this())
        self._worlds = WorldBook()
        self._workers: dict[str, _Worker] = {}
        self._leases: dict[str, Leased] = {}  # of processes that are being connected to
        self._ending: dict[str, int] = {}  # the worlds of workers that _losses knows
        self._losses = Endings()
        self._courier = Courier()
        self._events: list[Told] = []
        self._demands: dict[int, int] = {}
        self._idle_at: dict[int, float] = {}  # when to say that a world is idle
        self._expected: Counter[int] = Counter()  # what the schedulers were told last
        self._is_stirred = False  # whether that may have changed

    # --- other threads

    def _on_host(self, arrival: HostArrival) -> None:
        with self._known_lock:
            self._known[arrival.address] = arrival.name
        self._arrive(arrival)

    def _arrive(self, arrival: HostArrival | _Attached) -> None:
        self._arrivals.put(arrival)
        self._waker.wake()
        if self._is_closed:
            self._close_arrivals()

    def _is_known(self, address: Address) -> bool:
        with self._known_lock:
            return address in self._known

    @property
    def n_hosts(self) -> int:
        """Hosts connected or just arrived; from any thread."""
        with self._known_lock:
            return len(self._known)

    def find(self) -> bool:
        """Return whether there are hosts; look for some if none are known."""
        if self.n_hosts > 0:
            return True
        refusals = self.discovery.look_once()
        if self.n_hosts > 0:
            return True
        if refusals:
            raise _summary_of(refusals)
        return False

    def _attach(self, lease: Leased, env: dict[str, str]) -> None:
        """Connect to a process that was leased, in a connector's thread."""
        try:
            address = Address.parse(lease.address)
            sock = self._credentials.connect(address, ATTACH_SECONDS)
            try:
                stream = Stream(sock, self._settings.max_frame_bytes)
                stream.send(*to_parts(Attach(lease.token, {**caller_facts(), "env": env})))
                welcome = from_frame(stream.receive_one(ATTACH_SECONDS))
                if not isinstance(welcome, Welcome) or welcome.info.get("name") != lease.name:
                    raise ProtocolError("whoever listens there is another one")
            except BaseException:
                sock.close()
                raise
        except (OSError, EOFError, ProtocolError) as error:
            self._arrive(_Attached(lease, None, error=error))
        except BaseException as error:  # the lease must not be waited for for ever
            self._arrive(_Attached(lease, None, error=ConnectionError(repr(error))))
            raise
        else:
            sharing = welcome.info.get("sharing")
            self._arrive(_Attached(lease, stream, sharing if isinstance(sharing, str) else None))

    def open_job(self, job: int, source: ItemSource) -> int:
        """Return the number of the world that a job belongs to."""
        return self._worlds.open(job, source.function)

    def admits(self, job: int, function: PackedFunction) -> bool:
        """Whether another function can run in the world of a job."""
        return self._worlds.admits(job, function)

    # --- the driver's thread: jobs and worlds

    def close_job(self, job: int) -> None:
        """Forget the job's functions.

        One may still be on its way to a worker, as views of the caller's memory, which the
        caller may change from now on; its digest was computed before.
        """
        lenders = {job, *self._courier.digests_of(job)}
        self._courier.job_over(job)
        for worker in self._workers.values():
            if worker.peer.unsent:
                worker.peer.stream.own_unsent(lenders)
        self._worlds.close(job, time.monotonic())

    def want(self, world: int, count: int) -> Sequence[Told]:
        """Say how many workers there is work for in a world; return what came of it."""
        if count == self._demands.get(world, 0):
            return ()
        self._demands[world] = count
        if count == 0:
            self._idle_at[world] = time.monotonic() + IDLE_SECONDS
            return ()
        self._idle_at.pop(world, None)
        # Fewer are not given back: the end of a map is no time to change places.
        if count > self._hosts.target(world):
            self._hosts.want(world, count)
            self._is_stirred = True
        return self._take_events()

    def set_active(self, active: bool) -> None:
        """Look for more hosts, or not."""
        self.discovery.set_active(active)

    # --- the driver's thread: commands

    def execute(self, order: Order, source: ItemSource | None) -> list[Told]:
        """Carry out a command."""
        worker = self._workers.get(order.worker)
        if worker is not None:  # else it is lost, and the scheduler will hear of it
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
                    if not worker.peer.unsent:  # else it is we who are busy with it
                        self._hosts.kill(worker.name, attempt, only_frozen=True)
        return self._take_events()

    def _take_events(self) -> list[Told]:
        if self._is_stirred:
            self._tell_expected()
        found, self._events = self._events, []
        return found

    def _tell_expected(self) -> None:
        """Tell the schedulers how many more workers will join, where that has changed."""
        self._is_stirred = False
        self.n_places = self._hosts.n_places
        expected = Counter(lease.world for lease in self._leases.values())
        for world in self._demands:
            expected[world] += self._hosts.n_coming(world)
        for world in expected.keys() | self._expected.keys():
            if expected[world] != self._expected[world]:
                self._events.append((world, WorkersJoining(expected[world])))
        self._expected = expected

    def _send_chunk(self, worker: _Worker, order: SendChunk, source: ItemSource) -> None:
        columns = source.pack(order.start, order.stop)
        function = source.function  # after its items: these may have made its bundle grow
        for message in self._courier.before_chunk(worker.name, worker.sharing, order.job, function):
            self._send(worker, message)
        chunk = Chunk(
            order.attempt, order.job, order.start, order.stop - order.start,
            function.digest, columns, order.task_timeout or 0.0, order.alone,
        )  # fmt: skip
        weight = sum(len(part) for column in columns for part in column.parts)
        self._events.append((worker.world, ChunkSent(order.attempt, weight)))
        self._send(worker, chunk)

    def _send(self, worker: _Worker, message: Message) -> None:
        if self._workers.get(worker.name) is worker:
            try:
                worker.peer.send(message, _lender_of(message))
            except OSError as error:
                self._lose(worker, str(error))

    def _unsent_to(self, name: str) -> int:
        worker = self._workers.get(name)
        return worker.peer.unsent if worker is not None else 0

    def _deliver(self, messages: Iterable[tuple[str, Message]]) -> None:
        for name, message in messages:
            if (worker := self._workers.get(name)) is not None:
                self._send(worker, message)

    # --- the driver's thread: what happens

    def wait(self, timeout: float | None) -> list[Told]:
        """Return what has happened."""
        deadline = min(
            self._hosts.next_deadline(),
            self._losses.next_deadline(),
            self._courier.next_deadline(),
            self._worlds.next_deadline(),
            *self._idle_at.values(),
        )
        left = max(0.0, deadline - time.monotonic())
        if left < (float("inf") if timeout is None else timeout):
            timeout = left
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._waker:
                self._waker.drain()
                self._welcome_arrivals()
            elif isinstance(key.data, Host):
                self._hosts.serve(key.data, events)
            else:
                self._serve(key.data, events)
        self._do_what_is_due(time.monotonic())
        return self._take_events()

    def _serve(self, worker: _Worker, events: int) -> None:
        if self._workers.get(worker.name) is not worker:
            return  # lost in this very turn
        try:
            if events & selectors.EVENT_READ:
                for message in worker.peer.receive():
                    self._handle(worker, message)
                if worker.name in self._losses:
                    self._losses.heard(worker.name, time.monotonic())
            if events & selectors.EVENT_WRITE and self._workers.get(worker.name) is worker:
                worker.peer.flush()
        except EOFError:
            self._lose(worker, "it closed the connection")
        except OSError as error:
            self._lose(worker, str(error))
        except ProtocolError as error:
            log.warning("worker %s is cut off: %s", worker.name, error)
            self._lose(worker, str(error), expects=False)

    def _handle(self, worker: _Worker, message: Message) -> None:
        match message:
            case Results(attempt=attempt, seconds=seconds, batch=batch):
                nbytes = sum(len(part) for part in batch.parts)
                answer = Answer(batch, worker.name)
                done = ItemsDone(attempt, batch.count, seconds, nbytes, answer)
                self._events.append((worker.world, done))
            case Returned(attempt=attempt, kept=kept):
                self._events.append((worker.world, RestReturned(attempt, kept)))
            case NeedFunction(digest=digest):
                self._deliver(
                    self._courier.needed(worker.name, worker.sharing, digest, time.monotonic())
                )
            case NeedFiles():
                self._deliver([(worker.name, file) for file in self._courier.files(message)])
            case Differs(digest=digest, versions=versions):
                self._courier.differs(worker.name, digest, versions)
            case LeftBehind(names=names):
                log.warning(
                    "files in the working folder of worker %s, which is removed with it: %s; "
                    "return results instead, or write to a folder that is shared",
                    worker.name, ", ".join(names),
                )  # fmt: skip
            case Stored(digest=digest, location=location):
                self._deliver(self._courier.stored(worker.name, worker.sharing, digest, location))
            case _:
                raise ProtocolError(f"a worker does not send {type(message).__name__}")

    def _welcome_arrivals(self) -> None:
        while True:
            try:
                arrival = self._arrivals.get_nowait()
            except Empty:
                return
            self._is_stirred = True
            if isinstance(arrival, HostArrival):
                self._hosts.welcome(
                    arrival.name, arrival.places, arrival.stream, arrival.is_draining
                )
            else:
                self._welcome_worker(arrival)

    def _welcome_worker(self, attached: _Attached) -> None:
        lease = self._leases.pop(attached.lease.name, None)
        if attached.stream is None:
            assert attached.error is not None
            if lease is not None:
                self._hosts.not_reached(lease.name, attached.error, time.monotonic())
        elif lease is None or lease.world not in self._worlds:
            # It has ended meanwhile, or its host is lost, or it replaces one of a world that
            # was over before its host had heard of that: then it ends when we hang up.
            attached.stream.close()
        else:
            self._hosts.reached(lease.name)
            worker = _Worker(lease.name, lease.world, attached.sharing)
            worker.peer = Peer(attached.stream, self._selector, worker)
            self._workers[worker.name] = worker
            self._events.append((worker.world, WorkerJoined(worker.name)))
            log.info("worker %s has joined", worker.name)

    def _do_what_is_due(self, now: float) -> None:
        """Do what is due, after all that has come was received."""
        for news in self._hosts.tick(now):
            self._is_stirred = True
            self._hear_host(news, now)
        losses, silent = self._losses.due(now)
        for loss in losses:
            self._conclude(loss)
        for name in silent:
            # Something else holds the socket of a process that has ended.
            if (worker := self._workers.get(name)) is not None:
                self._lose(worker, "its process has ended")
        self._deliver(self._courier.overdue(now, self._unsent_to))
        for world in [world for world, at in self._idle_at.items() if at <= now]:
            del self._idle_at[world]
            self._hosts.want(world, 0)
        for world in self._worlds.over(now):
            self._leave(world)

    def _hear_host(self, news: HostNews, now: float) -> None:
        match news:
            case Leased():
                self._leases[news.name] = news
                env = self._worlds.env(news.world)
                self._connectors.submit(partial(self._attach, news, env))
            case WorkerEnded(name=name):
                self._process_ended(name, news, now)
            case HostLost(workers=names, reason=reason):
                with self._known_lock:
                    for address in [a for a, name in self._known.items() if name == news.host]:
                        del self._known[address]
                for name in names:
                    self._leases.pop(name, None)
                    if (worker := self._workers.get(name)) is not None:
                        self._lose(worker, reason)
                for loss in self._losses.nobody_knows(names):
                    self._conclude(loss)
            case HostDrains(workers=names):
                for name in names:
                    if (worker := self._workers.get(name)) is not None:
                        self._events.append((worker.world, WorkerDrains(name)))
            case Waiting(reason=reason):
                log.warning("waiting for workers: %s", reason)

    def _process_ended(self, name: str, news: WorkerEnded, now: float) -> None:
        if name in self._workers or name in self._losses:
            attempt = news.attempt or None
            verdict = Verdict(news.how, attempt, news.first, news.stop, news.timed_out, news.setup)
            loss = self._losses.process_ended(name, verdict, now, name in self._workers)
            if loss is not None:
                self._conclude(loss)
        else:
            self._leases.pop(name, None)
            self._hosts.forget(name)

    def _lose(self, worker: _Worker, reason: str, expects: bool = True) -> None:
        """Let go of a worker; its loss is told once it is known how it ended, or never will.

        Args:
            worker: The worker.
            reason: Why.
            expects: Whether its supervisor may know more.
        """
        if self._workers.get(worker.name) is not worker:
            return
        del self._workers[worker.name]
        self._ending[worker.name] = worker.world
        worker.peer.close()
        now = time.monotonic()
        self._deliver(self._courier.peer_lost(worker.name, now))
        loss = self._losses.socket_ended(
            worker.name, reason, now, expects and self._hosts.can_tell(worker.name)
        )
        if loss is not None:
            self._conclude(loss)

    def _conclude(self, loss: WorkerLost) -> None:
        self._hosts.forget(loss.worker)
        self._is_stirred = True
        self._events.append((self._ending.pop(loss.worker), loss))
        log.info("worker %s is lost: %s, %s", loss.worker, loss.reason, loss.verdict)

    def _leave(self, world: int) -> None:
        """Give back the workers of a world that nobody will come back to."""
        self._hosts.want(world, 0)
        self._demands.pop(world, None)
        self._idle_at.pop(world, None)
        for worker in list(self._workers.values()):
            if worker.world == world:  # its process ends when we hang up
                self._lose(worker, "its world is over", expects=False)
        self._events.append((world, WorldOver()))

    # --- ends

    def wake(self) -> None:
        """Make ``wait`` return."""
        self._waker.wake()

    def close(self) -> None:
        """Close all connections."""
        self.discovery.set_active(False)
        self._is_closed = True
        self._close_arrivals()
        for worker in self._workers.values():
            worker.peer.close()
        self._workers.clear()
        self._hosts.close()
        self._selector.close()

    def _close_arrivals(self) -> None:
        """Let go of those that nobody welcomes any more."""
        while True:
            try:
                stream = self._arrivals.get_nowait().stream
            except Empty:
                return
            if stream is not None:
                stream.close()

    def abandon(self) -> None:
        """Close our copies of the sockets; the parent's connections go on."""
        for worker in self._workers.values():
            worker.peer.abandon()
        self._workers.clear()
        self._hosts.abandon()
        self._selector.close()
        self._waker.close()
