"""The supervisor of a host: keeps worker processes ready, leases them to clients, ends them.

The supervisor never runs user code, so it answers at once whatever its processes do. ``Slots``
decides what happens; here it is done. One loop waits for news: a process is
ready or has ended, a client asks for something or is gone, or it is told to drain or to
stop. Each piece of news becomes an event, and each command that comes back is carried out.

    clients' threads ---> calls --+
    launcher, control lines ------+--> events --> Slots --> commands --> launcher, lines, clients
    time, memory, marks ----------+
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from seppo.host.clients import Client, Clients
from seppo.host.commands import (
    DrainProcess,
    EndProcess,
    GiveUp,
    HostCommand,
    KillProcess,
    Lease,
    ReplaceHelper,
    StartSpare,
    Tell,
)
from seppo.host.entry import HostEntry
from seppo.host.events import (
    ClientCame,
    ClientLeft,
    DrainAsked,
    HostEvent,
    KillAsked,
    MarkSeen,
    MemorySeen,
    ProcessEnded,
    StopAsked,
    Tick,
    Wanted,
)
from seppo.host.health import free_memory, health
from seppo.host.launcher import Launcher
from seppo.host.local import local_host
from seppo.host.options import HostOptions
from seppo.host.overview import overview
from seppo.host.process import WorkerProcess
from seppo.host.processes import Processes
from seppo.host.pulse import is_stopped
from seppo.host.signals import signals_caught
from seppo.host.slots import Slots
from seppo.pyro.daemon import ControlDaemon
from seppo.pyro.nameserver import SUPERVISOR
from seppo.settings import Settings
from seppo.shipping.cache import GRACE, Sweeper
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address, path_of
from seppo.wire.messages import Hello, Kill, Message, Want
from seppo.wire.stream import Waker

log = logging.getLogger(__name__)

FAREWELL = 2.0  # seconds that clients get for reading the last news
LAST_ENDS = 7.0  # seconds that processes get for ending before their supervisor does
WATCH = 1.0  # seconds between two looks at memory and at the time limits of running items
ANSWER = 5.0  # seconds in which the loop answers a thread


class Supervisor:
    """Supervises the worker processes of one start on this host.

    Create its launcher before this process has threads: workers are forked.

    Args:
        settings: Name server, address and group.
        options: What the user of the host has chosen.
        launcher: Starts the processes.

    Attributes:
        name: The host's entry in the name server.

    Raises:
        OSError: If the address cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(self, settings: Settings, options: HostOptions, launcher: Launcher) -> None:
        self.name = f"seppo.{options.name or socket.gethostname()}.{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._options = options
        self._slots = Slots(self.name, options.bounds)
        credentials = Credentials(settings)
        self._waker = Waker()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._processes = Processes(launcher, self._selector)
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()  # for the loop to do
        self._is_stopping = False
        self._drain_asked = False
        self._looked_at = float("-inf")  # when memory and marks were looked at
        self._sweeper = Sweeper()
        self._sweep_at = 0.0  # when it has something to do
        self._clients = Clients(
            settings.silence,
            greeting=self._facts,
            on_request=lambda client, message: self._call(partial(self._answer, client, message)),
            on_gone=lambda client: self._call(partial(self._handle, ClientLeft(client))),
        )
        self._local = settings.host if path_of(settings.host) else local_host()
        self._gave_up: str | None = None
        self._all_ready = threading.Event()  # set once every spare was ready, or none will be
        ask = partial(health, settings, credentials)
        calls: dict[str, Callable[..., Any]] = {
            "info": self.info, "ping": lambda: "pong", "health": ask,
        }  # fmt: skip
        self._daemon = ControlDaemon(
            SUPERVISOR, settings.host, options.port, calls, self._clients.attach,
            credentials=credentials, local="" if path_of(settings.host) else self._local,
        )  # fmt: skip
        self._entry = HostEntry(
            self.name, self.address, settings, options, credentials, self._daemon.local
        )

    @property
    def address(self) -> Address:
        """Where the supervisor answers control calls."""
        return self._daemon.address

    @property
    def is_encrypted(self) -> bool:
        """Whether calls of clients are encrypted."""
        return self._entry.is_encrypted

    # --- any thread

    def _facts(self) -> dict[str, Any]:
        """Return who this is, for clients."""
        draining = self._slots.is_draining
        return {**self._entry.facts(), "supervisor": self.name, "draining": draining}

    def info(self) -> dict[str, Any]:
        """Return who this is, who its clients are and what runs for them, as plain values.

        Raises:
            TimeoutError: If the supervisor is not running.
        """
        answer: Future[dict[str, Any]] = Future()
        processes = self._processes.by_number
        self._call(lambda: answer.set_result(self._facts() | overview(self._slots, processes)))
        return answer.result(ANSWER)

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until all spares are ready and the host is registered; return whether they are."""
        deadline = time.monotonic() + timeout
        return (
            self._all_ready.wait(timeout)
            and self._gave_up is None
            and self._entry.wait_until_settled(deadline - time.monotonic())
        )

    def stop(self) -> None:
        """Make ``run`` return soon; from any thread or signal handler."""
        self._is_stopping = True
        self._waker.wake()

    def drain(self) -> None:
        """Have the processes finish what runs, and then ``run`` return; from anywhere."""
        self._drain_asked = True
        self._waker.wake()

    def _call(self, call: Callable[[], None]) -> None:
        self._calls.put(call)
        self._waker.wake()

    # --- the loop

    def run(self) -> None:
        """Supervise until ``stop`` or ``drain``, which signals ask for, too.

        The first SIGTERM drains, the second stops; Ctrl-C and SIGHUP stop at once.

        Raises:
            RuntimeError: If processes die again and again before they are ready, or
                cannot be started at all.
        """
        with signals_caught(self._on_sigterm, self.stop, self._waker.signal_fd):
            self._run()
        if self._gave_up is not None:
            raise RuntimeError(self._gave_up)

    def _run(self) -> None:
        self._daemon.start()
        self._entry.start()
        log.info(
            "%s of group %r has %d place(s), listens on %s, %s",
            self.name, self._settings.group, self._options.places, self.address,
            "encrypted" if self.is_encrypted else "not encrypted",
        )  # fmt: skip
        try:
            while not self._is_stopping and self._gave_up is None:
                if self._drain_asked and not self._slots.is_draining:
                    self._begin_to_drain()
                if self._slots.is_over:
                    break
                self._turn(float("inf"))
        finally:
            self._all_ready.set()
            self._end_all()
            self._clients.close(FAREWELL)
            self._entry.close()
            self._daemon.close()
            self._processes.close()
            self._sweep(grace=0.0)
            self._selector.close()

    def _on_sigterm(self) -> None:
        if self._drain_asked:
            self.stop()
        else:
            self.drain()

    def _begin_to_drain(self) -> None:
        log.warning("draining: the processes finish what runs, and end")
        self._entry.withdraw()
        self._all_ready.set()
        self._handle(DrainAsked())

    def _end_all(self) -> None:
        """End what still runs; the launcher kills what does not end in time."""
        deadline = time.monotonic() + LAST_ENDS
        if self._gave_up is None:
            self._handle(StopAsked())
        while not self._slots.is_over and self._gave_up is None and time.monotonic() < deadline:
            self._turn(deadline)

    def _turn(self, deadline: float) -> None:
        """Wait for news until the deadline at the latest, and act upon them."""
        due = min(deadline, self._slots.next_deadline(), self._sweep_at)
        if self._has_to_look:
            due = min(due, self._looked_at + WATCH)
        timeout = None if due == float("inf") else max(0.0, due - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._waker:
                self._waker.drain()
            elif key.data is None:
                self._hear_launcher()
            else:
                self._hear_process(key.data)
        while not self._calls.empty():  # nobody else takes from it
            self._calls.get_nowait()()
        if self._has_to_look:
            self._look()
        if time.monotonic() >= self._sweep_at:
            self._sweep(GRACE)
        self._handle(Tick())

    def _sweep(self, grace: float) -> None:
        """Remove bundles that nobody uses any more, and what dead processes have left."""
        now = time.monotonic()
        try:
            wait = self._sweeper.sweep(now, grace)
        except OSError as error:
            log.warning("the cache folder cannot be cleaned: %s", error)
            wait = None
        self._sweep_at = float("inf") if wait is None else now + wait

    @property
    def _has_to_look(self) -> bool:
        return (
            self._slots.is_wanted
            or self._slots.is_memory_short
            or bool(self._slots.watched(time.monotonic()))
        )

    def _look(self) -> None:
        """Look at memory and at the marks of items with time limits, not too often."""
        now = time.monotonic()
        if now < self._looked_at + WATCH:
            return
        self._looked_at = now
        self._handle(MemorySeen(free_memory()))
        for number in self._slots.watched(now):
            self._handle(MarkSeen(number, self._processes.by_number[number].memory.read()))

    def _handle(self, event: HostEvent) -> None:
        for command in self._slots.handle(event, time.monotonic()):
            self._carry_out(command)

    # --- commands

    def _carry_out(self, command: HostCommand) -> None:
        match command:
            case StartSpare(number=number):
                config = self._options.config(f"{self.name}.{number}", self.name, self._settings)
                if not self._processes.start(number, config):
                    self._call(partial(self._handle, ProcessEnded(number, 1)))
            case Lease(number=number):
                process = self._processes.by_number[number]
                slot = self._slots.find(process.name)
                is_local = slot is not None and getattr(slot.client, "is_local", False)
                process.lease(self._local if is_local else self._settings.host)
            case Tell(client=client, message=message):
                assert isinstance(client, Client)
                client.tell(message)
            case EndProcess(number=number):
                self._processes.say(number, end=True)
            case DrainProcess(number=number):
                self._processes.say(number, drain=True)
            case KillProcess(number=number, why=why):
                self._processes.kill(number, why)
            case ReplaceHelper():
                self._processes.replace_helper()
            case GiveUp(reason=reason):
                self._gave_up = reason

    # --- news

    def _hear_launcher(self) -> None:
        try:
            for event in self._processes.hear_launcher():
                if isinstance(event, ProcessEnded):
                    self._sweep_at = time.monotonic()  # it may have left something
                self._handle(event)
        except EOFError as error:
            self._gave_up = str(error)

    def _hear_process(self, process: WorkerProcess) -> None:
        for event in self._processes.hear(process):
            self._handle(event)
        if self._slots.n_spares:
            self._entry.announce()
        if self._slots.n_spares >= self._options.places:
            self._all_ready.set()

    def _answer(self, client: Client, message: Message) -> None:
        match message:
            case Hello(client=name):
                self._handle(ClientCame(client, name))
            case Want(world=world, count=count):
                self._look()
                self._handle(Wanted(client, world, count))
            case Kill(name=name, attempt=attempt, only_frozen=only_frozen):
                slot = self._slots.find(name)
                process = self._processes.by_number.get(slot.number) if slot is not None else None
                if process is not None and process.pid is not None:
                    frozen = only_frozen and process.pulse.is_frozen(process.pid)
                    running, stopped = process.memory.read(), is_stopped(process.pid)
                    asked = KillAsked(client, name, attempt, only_frozen, running, stopped, frozen)
                    self._handle(asked)
