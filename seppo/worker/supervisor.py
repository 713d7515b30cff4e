"""The host's side: starts workers, starts them again when they die, and ends them.

The supervisor never runs user code, so it answers at once whatever its workers do. Its
one loop waits for news: a worker is ready or has ended, a client asks for something or is
gone, or it is told to drain or to stop.

How a worker ended, and what it was running then, is told to all clients at once. A worker
is killed when an item exceeds its time limit, or goes on for a client that is gone, and
the worker's own threads could not end it because C code holds the interpreter.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import seppo
from seppo.payload.folder import remove_leftovers
from seppo.payload.protocol import Draining, KillWorker, Message, Uses, WorkerEnded
from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.credentials import Credentials
from seppo.transport.daemon import ControlDaemon
from seppo.transport.keyfile import key_path
from seppo.transport.nameserver import Entry
from seppo.transport.stream import Waker
from seppo.worker.clients import Client, Clients
from seppo.worker.lastgasp import NOTHING, LastGasp, Mark
from seppo.worker.launcher import Ended, Launcher, Started, launcher
from seppo.worker.process import WorkerConfig, cpus
from seppo.worker.pulse import Pulse, is_stopped
from seppo.worker.registrar import Registrar

log = logging.getLogger(__name__)

OBJECT = "seppo.supervisor"
STEADY = 10.0  # seconds; a worker that lived longer is started again at once
LONGEST_PAUSE = 10.0  # seconds between starts of a worker that dies again and again
STILLBIRTHS = 5  # workers in a row that died before they were ready: then give up
FAREWELL = 2.0  # seconds between asking workers to end and killing them
WATCH = 1.0  # seconds between two looks at the time limits of running items
WATCH_ON = 5.0  # seconds without any time limit after which nobody looks any more
OVERDUE = 3.0  # seconds that a worker gets for ending an item that is over its time
STUCK = 5.0  # seconds that a worker gets for leaving the item of a client that is gone
REMEMBERED = 256  # ends of workers, for clients that ask late


@dataclass
class _Slot:
    """The place of one worker: its process changes, the place stays."""

    number: int
    name: str = ""
    pid: int | None = None
    line: socket.socket | None = None  # the control line; None when no process runs
    inbox: bytes = b""
    is_ready: bool = False
    started_at: float = 0.0
    restarts: int = 0
    quick_ends: int = 0  # ends in a row after a short life without any item
    start_at: float | None = 0.0  # when to start a process; None while one runs
    memory: LastGasp | None = None  # where the process marks what it runs
    limits_until: float = 0.0  # until when to look at the time limits of its items
    dropped: dict[int, float] = field(default_factory=dict)  # channel: when it must be gone
    overdue: Mark = NOTHING  # what it was killed for, because it took too long
    killed_for: str = ""  # why we killed it
    pulse: Pulse = field(default_factory=Pulse)
    is_over: bool = False  # no process runs, and none will


class Supervisor:
    """Supervises the workers of one start on this host.

    Create it before the process has threads: workers are forked.

    Args:
        settings: Name server, address and group.
        n_workers: How many workers.
        name: Start of the workers' names; None for the host's name.
        port: Port for control calls; 0 for any free one.
        workers_launcher: Starts the workers; None for the one that fits this platform.

    Raises:
        OSError: If the address cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(
        self,
        settings: Settings,
        n_workers: int = 1,
        name: str | None = None,
        port: int = 0,
        workers_launcher: Launcher | None = None,
    ) -> None:
        # Forks, so before anything starts a thread.
        self._launcher: Launcher = workers_launcher or launcher()
        self._settings = settings
        self._key_file = str(key_path(settings).absolute())  # user code may change the folder
        self._name = name or socket.gethostname()
        self._threads = max(1, cpus() // n_workers)
        self._slots = [_Slot(number) for number in range(n_workers)]
        credentials = Credentials(settings)
        self._registrar = Registrar(settings, credentials)
        self._waker = Waker()
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._drain_asked = False
        self._is_draining = False
        self._ended: OrderedDict[str, WorkerEnded] = OrderedDict()
        self._requests: SimpleQueue[tuple[Client, Message | None]] = SimpleQueue()
        self._oom_kills = oom_kills()
        self._clients = Clients(
            settings.silence,
            greeting=lambda: {"supervisor": self._name, "draining": self._is_draining},
            on_request=self._on_request,
            on_gone=lambda client: self._on_request(client, None),
        )
        self._gave_up: str | None = None
        self._stillbirths = 0
        self._all_ready = threading.Event()  # set once every worker is ready, or none will be
        self._daemon = ControlDaemon(
            OBJECT, settings.host, port, {"info": self.info, "ping": lambda: "pong"},
            on_attach=self._clients.attach,
            credentials=credentials,
        )  # fmt: skip
        self.is_encrypted = credentials.is_encrypted(self._daemon.address.host)

    @property
    def address(self) -> Address:
        """Where the supervisor answers control calls."""
        return self._daemon.address

    def info(self) -> dict[str, Any]:
        """Return who this is and how its workers do, as plain values."""
        return {
            "seppo": seppo.__version__,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "group": self._settings.group,
            "draining": self._is_draining,
            "workers": [
                {"name": slot.name, "pid": slot.pid, "ready": slot.is_ready,
                 "restarts": slot.restarts}
                for slot in self._slots
            ],
        }  # fmt: skip

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until all workers are ready and registered; return whether they are."""
        deadline = time.monotonic() + timeout
        return (
            self._all_ready.wait(timeout)
            and self._gave_up is None
            and self._registrar.wait_until_settled(deadline - time.monotonic())
        )

    def stop(self) -> None:
        """Make ``run`` return at once; from any thread or signal handler."""
        self._stopping = True
        self._waker.wake()

    def drain(self) -> None:
        """Have the workers finish what runs, and then ``run`` return; from anywhere."""
        self._drain_asked = True
        self._waker.wake()

    def _on_request(self, client: Client, message: Message | None) -> None:
        self._requests.put((client, message))
        self._waker.wake()

    def run(self) -> None:
        """Supervise until ``stop`` or ``drain``, which signals ask for, too.

        The first SIGTERM drains, the second stops; Ctrl-C and SIGHUP stop at once.

        Raises:
            RuntimeError: If workers die again and again before they are ready.
        """
        handlers = self._catch_signals()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._selector.register(self._launcher, selectors.EVENT_READ)
        self._daemon.start()
        self._registrar.start()
        log.info(
            "supervising %d worker(s) of group %r on %s, %s",
            len(self._slots), self._settings.group, self.address,
            "encrypted" if self.is_encrypted else "not encrypted",
        )  # fmt: skip
        try:
            while not self._stopping and self._gave_up is None:
                if self._drain_asked and not self._is_draining:
                    self._begin_to_drain()
                if self._is_draining and all(slot.is_over for slot in self._slots):
                    break
                self._start_due()
                self._wait()
                self._answer_requests()
                self._watch_marks()
        finally:
            self._all_ready.set()
            self._end_workers()
            self._clients.close(FAREWELL)
            self._registrar.close()
            self._daemon.close()
            self._launcher.close()
            self._selector.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self._gave_up is not None:
            raise RuntimeError(self._gave_up)

    def _catch_signals(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        handlers = {
            signal.SIGTERM: self._on_sigterm,
            signal.SIGINT: lambda *_: self.stop(),
            signal.SIGHUP: lambda *_: self.stop(),
        }
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
            del handlers[signal.SIGHUP]
        return {number: signal.signal(number, call) for number, call in handlers.items()}

    def _on_sigterm(self, *_: object) -> None:
        if self._drain_asked:
            self.stop()
        else:
            self.drain()

    def _begin_to_drain(self) -> None:
        self._is_draining = True
        log.warning("draining: the workers finish what runs, and end")
        for slot in self._slots:
            self._registrar.remove(slot.name)
        self._clients.tell(Draining())
        for slot in self._slots:
            if slot.start_at is not None:
                slot.start_at, slot.is_over = None, True
            self._say(slot, {"drain": True})
        self._all_ready.set()

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.start_at is not None and slot.start_at <= now:
                slot.start_at, slot.started_at = None, now
                slot.name = f"seppo.{self._name}.{uuid.uuid4().hex[:8]}"
                config = WorkerConfig(
                    slot.name, self._settings.group, self._settings.host,
                    str(self.address), self._threads,
                    self._settings.ns_host, self._settings.ns_port,
                    self._key_file, self._settings.insecure,
                )  # fmt: skip
                slot.memory = LastGasp()
                slot.dropped, slot.overdue, slot.killed_for = {}, NOTHING, ""
                slot.line = self._launcher.start(slot.number, config, slot.memory.fd)
                slot.memory.close()  # of the descriptor; the memory stays
                slot.line.setblocking(False)
                slot.inbox = b""
                self._selector.register(slot.line, selectors.EVENT_READ, slot)

    def _wait(self) -> None:
        dues = [slot.start_at for slot in self._slots if slot.start_at is not None]
        now = time.monotonic()
        for slot in self._slots:
            dues.extend(slot.dropped.values())
            if slot.limits_until > now:
                dues.append(now + WATCH)
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._waker:
                self._waker.drain()
            elif key.fileobj is self._launcher:
                self._hear_launcher()
            elif key.data.line is key.fileobj:
                self._hear_worker(key.data)

    def _hear_launcher(self) -> None:
        try:
            news = self._launcher.news()
        except EOFError as error:
            self._gave_up = str(error)
            return
        for item in news:
            match item:
                case Started(slot=number, pid=pid):
                    self._slots[number].pid = pid
                case Ended(pid=pid, status=status):
                    for slot in self._slots:
                        if slot.pid == pid:
                            self._worker_ended(slot, status)

    def _hear_worker(self, slot: _Slot) -> None:
        assert slot.line is not None
        try:
            data = slot.line.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._close_line(slot)  # how it ended is the launcher's news
            return
        *lines, slot.inbox = (slot.inbox + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "limits" in told:
                slot.limits_until = time.monotonic() + WATCH_ON
                continue
            if self._is_draining:
                continue
            self._registrar.add(Entry(slot.name, Address.parse(told["uri"]), told["facts"]))
            slot.is_ready = True
            self._stillbirths = 0
            log.info("worker %s is ready, process %s, on %s", slot.name, slot.pid, told["uri"])
        if all(slot.is_ready for slot in self._slots):
            self._all_ready.set()

    def _say(self, slot: _Slot, told: dict[str, Any]) -> None:
        """Tell a worker something; it hears it once its interpreter is free."""
        if slot.line is not None:
            try:
                slot.line.send(json.dumps(told).encode() + b"\n")
            except OSError as error:
                log.info("worker %s cannot be told %s: %s", slot.name, told, error)

    def _slot_of(self, name: str) -> _Slot | None:
        """Return the slot in which the worker of this name runs."""
        for slot in self._slots:
            if slot.name == name and slot.pid is not None:
                return slot
        return None

    def _answer_requests(self) -> None:
        while True:
            try:
                client, message = self._requests.get_nowait()
            except Empty:
                return
            match message:
                case Uses(name=name, channel=channel):
                    # Those that have ended meanwhile need not be remembered.
                    client.uses = {use for use in client.uses if use[0] not in self._ended}
                    client.uses.add((name, channel))
                    if name in self._ended:
                        client.tell(self._ended[name])
                case KillWorker():
                    self._kill_for(client, message)
                case None:
                    self._drop(client)

    def _kill_for(self, client: Client, request: KillWorker) -> None:
        slot = self._slot_of(request.name)
        if slot is None or not slot.memory or (request.name, request.channel) not in client.uses:
            return
        mark = slot.memory.read()
        assert slot.pid is not None
        if not request.only_frozen:
            is_meant = (mark.channel, mark.attempt) == (request.channel, request.attempt)
        elif mark.channel == request.channel:
            is_meant = slot.pulse.is_frozen(slot.pid)
        else:
            # It froze before it began what it has been sent. One that is merely idle, or waits
            # in C code for another client, uses no processor either.
            is_meant = is_stopped(slot.pid)
        if is_meant:
            self._kill(slot, "its client asked for it")

    def _drop(self, client: Client) -> None:
        """Have the workers forget a client; one that cannot do so in time is killed."""
        for name, channel in client.uses:
            slot = self._slot_of(name)
            if slot is not None:
                self._say(slot, {"drop": channel})
                slot.dropped[channel] = time.monotonic() + STUCK

    def _watch_marks(self) -> None:
        """Kill workers that are inside items which should have ended."""
        now = time.monotonic()
        for slot in self._slots:
            due = [channel for channel, at in slot.dropped.items() if at <= now]
            if slot.memory is None or slot.pid is None or not (due or slot.limits_until > now):
                continue
            mark = slot.memory.read()
            if mark.deadline:
                slot.limits_until = now + WATCH_ON
                if now > mark.deadline + OVERDUE and slot.overdue != mark:
                    slot.overdue = mark
                    self._kill(slot, "an item exceeded its task_timeout")
            for channel in due:
                del slot.dropped[channel]
                if mark.channel == channel:
                    self._kill(slot, "its client is gone and its item does not end")

    def _kill(self, slot: _Slot, why: str) -> None:
        assert slot.pid is not None
        log.warning("worker %s, process %s, is killed: %s", slot.name, slot.pid, why)
        slot.killed_for = why
        self._launcher.kill(slot.pid, signal.SIGKILL)

    def _close_line(self, slot: _Slot) -> None:
        if slot.line is not None:
            self._selector.unregister(slot.line)
            slot.line.close()
            slot.line = None

    def _worker_ended(self, slot: _Slot, status: int) -> None:
        lived = time.monotonic() - slot.started_at
        self._registrar.remove(slot.name)
        remove_leftovers(slot.name)
        self._close_line(slot)
        how = self._tell_end(slot, status)
        slot.pid, slot.limits_until = None, 0.0
        slot.dropped.clear()
        if self._is_draining:
            slot.is_ready, slot.is_over = False, True
            return
        if not slot.is_ready:
            self._stillbirths += 1
        if self._stillbirths >= STILLBIRTHS:
            self._gave_up = (
                f"{STILLBIRTHS} workers in a row died before they were ready, the last "
                f"with {how}; their own messages are above"
            )
        slot.is_ready = False
        slot.restarts += 1
        # An item that ends its worker is no reason to wait: it is not tried for ever.
        has_worked = slot.memory is not None and slot.memory.has_begun
        slot.quick_ends = 0 if lived >= STEADY or has_worked else slot.quick_ends + 1
        pause = 0.0
        if slot.quick_ends > 1:
            pause = min(LONGEST_PAUSE, 0.1 * 2 ** (slot.quick_ends - 2))
        slot.start_at = time.monotonic() + pause
        log.warning(
            "worker %s ended with %s; starting another in %.1f s",
            slot.name, how, pause,
        )  # fmt: skip

    def _tell_end(self, slot: _Slot, status: int) -> str:
        """Tell all clients how a worker ended; return it in words."""
        mark = slot.memory.read() if slot.memory is not None else NOTHING
        how = describe_status(status)
        kills = oom_kills()
        if slot.killed_for:
            how = f"{how} ({slot.killed_for})"
        elif status == -signal.SIGKILL and kills > self._oom_kills:
            how = f"out of memory ({how})"
        self._oom_kills = kills
        ended = WorkerEnded(
            slot.name, how, mark.channel, mark.attempt, mark.first, mark.stop,
            timed_out=slot.overdue != NOTHING and slot.overdue == mark,
        )  # fmt: skip
        self._ended[slot.name] = ended
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._clients.tell(ended)
        return how

    def _end_workers(self) -> None:
        """Ask the workers to end, and kill those that have not after a while."""
        for slot in self._slots:
            if slot.pid is not None:  # nobody's item is to be blamed for this
                self._clients.tell(
                    WorkerEnded(slot.name, "its supervisor was stopped", 0, 0, 0, 0, False)
                )
        for number, patience in ((signal.SIGTERM, FAREWELL), (signal.SIGKILL, FAREWELL)):
            deadline = time.monotonic() + patience
            for slot in self._slots:
                if slot.pid is not None:
                    self._launcher.kill(slot.pid, number)
            while any(slot.pid is not None for slot in self._slots):
                left = deadline - time.monotonic()
                if left <= 0 or not self._selector.select(left):
                    break
                self._waker.drain()
                try:
                    ended = {item.pid for item in self._launcher.news()
                             if isinstance(item, Ended)}  # fmt: skip
                except EOFError:
                    return
                for slot in self._slots:
                    if slot.line is not None and (slot.pid is None or slot.pid in ended):
                        self._close_line(slot)
                    if slot.pid in ended:
                        slot.pid = None
                        remove_leftovers(slot.name)


def describe_status(status: int) -> str:
    """Return how a process ended, in words.

    >>> describe_status(3), describe_status(-9)
    ('exit code 3', 'SIGKILL')
    """
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def oom_kills() -> int:
    """Return how many processes this machine has killed for want of memory, if it tells."""
    try:
        with open("/proc/vmstat") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
