"""The engine of workers on this and other machines, driven from one selector.

    threads of ``arrivals``     the driver's thread, in ``wait``            hosts
    -----------------------     --------------------------------            -----
    a host has greeted us  -->  Hosts: how many processes we want    -->    lease them
                                Arrivals: attach to each one         <--    where they are
    a process has greeted  -->  LeasedWorkers: it joins its world
                                chunks and functions out, results in <-->   the processes

A process belongs to one *world* (see ``worlds``) for life, and events are told together with
the number of the world that they happened in: each world has a scheduler of its own.

A command that cannot be carried out is not lost silently: its worker is lost, too, and that
is told.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Iterable, Sequence

from seppo.engines.arrivals import Arrivals
from seppo.engines.base import Order, Told, WorldOver
from seppo.engines.discovery import HostArrival
from seppo.engines.hosts import Host, HostDrains, HostLost, HostNews, Hosts
from seppo.engines.leased import LeasedWorkers
from seppo.engines.worlds import WorldBook
from seppo.place import who_is_this
from seppo.settings import Settings
from seppo.values.function import PackedFunction
from seppo.values.source import ItemSource
from seppo.wire.messages import Leased, Waiting, WorkerEnded

log = logging.getLogger(__name__)

IDLE_SECONDS = 2.0  # without work, after which hosts are told that a world is idle


class PyroEngine:
    """An engine of workers on this and other machines.

    Args:
        settings: Name server, group and time limits.

    Attributes:
        arrivals: Hosts and workers that have just been connected to.
    """

    def __init__(self, settings: Settings) -> None:
        self.arrivals = Arrivals(settings)
        self.n_places = 0  # written by the driver's thread, read by any
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.arrivals.waker, selectors.EVENT_READ)
        self._hosts = Hosts(settings, self._selector, who_is_this())
        self._workers = LeasedWorkers(self._selector, self._hosts)
        self._worlds = WorldBook()
        self._demands: dict[int, int] = {}
        self._idle_at: dict[int, float] = {}  # when to say that a world is idle

    # --- any thread

    def find(self) -> bool:
        """Return whether there are hosts; look for some if none are known."""
        return self.arrivals.find()

    def open_job(self, job: int, source: ItemSource) -> int:
        """Return the number of the world that a job belongs to."""
        return self._worlds.open(job, source.function)

    def admits(self, job: int, function: PackedFunction) -> bool:
        """Whether another function can run in the world of a job."""
        return self._worlds.admits(job, function)

    def wake(self) -> None:
        """Make ``wait`` return."""
        self.arrivals.waker.wake()

    # --- the driver's thread: what is wanted

    def close_job(self, job: int) -> None:
        """Forget a job: its functions, and that it needs its world."""
        self._workers.job_over(job)
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
        self._tell_idle(list(self._idle_at))  # theirs may be the places that are needed
        # Fewer are not given back: the end of a map is no time to change places.
        if count > self._hosts.target(world):
            self._hosts.want(world, count)
            self._workers.recount()
        return self._workers.take_events()

    def set_active(self, active: bool) -> None:
        """Look for more hosts, or not."""
        self.arrivals.discovery.set_active(active)

    def execute(self, order: Order, source: ItemSource | None) -> list[Told]:
        """Carry out a command."""
        self._workers.execute(order, source)
        return self._workers.take_events()

    # --- the driver's thread: what happens

    def wait(self, timeout: float | None) -> list[Told]:
        """Return what has happened."""
        deadline = min(
            self._hosts.next_deadline(),
            self._workers.next_deadline(),
            self._worlds.next_deadline(),
            *self._idle_at.values(),
        )
        left = max(0.0, deadline - time.monotonic())
        if left < (float("inf") if timeout is None else timeout):
            timeout = left
        for key, events in self._selector.select(timeout):
            if key.fileobj is self.arrivals.waker:
                self._welcome_arrivals()
            elif isinstance(key.data, Host):
                self._hosts.serve(key.data, events)
            else:
                self._workers.serve(key.data, events)
        over = self._do_what_is_due(time.monotonic())
        return [*self._workers.take_events(), *over]

    def _welcome_arrivals(self) -> None:
        self.arrivals.waker.drain()
        arrivals = list(self.arrivals.take())
        for arrival in arrivals:
            if isinstance(arrival, HostArrival):
                self._hosts.welcome(
                    arrival.name, arrival.places, arrival.stream, arrival.is_draining
                )
            else:
                self._workers.welcome(arrival, arrival.lease.world in self._worlds)
        if arrivals:
            self._hosts_changed()

    def _do_what_is_due(self, now: float) -> list[Told]:
        """Do what is due, after all that has come was received; return which worlds are over."""
        news = self._hosts.tick(now)
        for each in news:
            self._hear_host(each, now)
        if news:
            self._hosts_changed()
        self._workers.tick(now)
        self._tell_idle([world for world, at in self._idle_at.items() if at <= now])
        over = self._worlds.over(now)
        for world in over:
            self._leave(world)
        return [(world, WorldOver()) for world in over]

    def _tell_idle(self, worlds: Iterable[int]) -> None:
        """Tell the hosts that there is no work in these worlds."""
        for world in worlds:
            del self._idle_at[world]
            self._hosts.want(world, 0)

    def _hosts_changed(self) -> None:
        self.n_places = self._hosts.n_places
        self._workers.recount()

    def _hear_host(self, news: HostNews, now: float) -> None:
        match news:
            case Leased():
                self._workers.expect(news)
                self.arrivals.attach(news, self._worlds.env(news.world))
            case WorkerEnded():
                self._workers.process_ended(news, now)
            case HostLost(host=host, workers=names, reason=reason):
                self.arrivals.host_lost(host)
                self._workers.host_lost(names, reason)
            case HostDrains(workers=names):
                self._workers.drain(names)
            case Waiting(reason=reason):
                log.warning("waiting for workers: %s", reason)

    def _leave(self, world: int) -> None:
        """Give back the workers of a world that is over."""
        self._hosts.want(world, 0)
        self._demands.pop(world, None)
        self._idle_at.pop(world, None)
        self._workers.world_over(world)

    # --- ends

    def close(self) -> None:
        """Close all connections."""
        self.arrivals.close()
        self._workers.close()
        self._hosts.close()
        self._selector.close()

    def abandon(self) -> None:
        """Close our copies of the sockets; the parent's connections go on."""
        self._workers.abandon()
        self._hosts.abandon()
        self._selector.close()
        self.arrivals.waker.close()
