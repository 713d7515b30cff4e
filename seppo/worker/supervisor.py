"""The host's side: starts workers, starts them again when they die, and ends them.

The supervisor never runs user code, so it answers at once whatever its workers do. Its
one loop waits for news of three kinds: a worker is ready, a worker has ended, or it is
told to stop.
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
from dataclasses import dataclass
from typing import Any

import seppo
from seppo.payload.folder import remove_leftovers
from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.credentials import Credentials
from seppo.transport.daemon import ControlDaemon
from seppo.transport.keyfile import key_path
from seppo.transport.nameserver import Entry
from seppo.transport.stream import Waker
from seppo.worker.launcher import Ended, Launcher, Started, launcher
from seppo.worker.process import WorkerConfig, cpus
from seppo.worker.registrar import Registrar

log = logging.getLogger(__name__)

OBJECT = "seppo.supervisor"
STEADY = 10.0  # seconds; a worker that lived longer is started again at once
LONGEST_PAUSE = 10.0  # seconds between starts of a worker that dies again and again
STILLBIRTHS = 5  # workers in a row that died before they were ready: then give up
FAREWELL = 2.0  # seconds between asking workers to end and killing them


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
    quick_ends: int = 0  # ends in a row after a short life
    start_at: float | None = 0.0  # when to start a process; None while one runs


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
        self._gave_up: str | None = None
        self._stillbirths = 0
        self._all_ready = threading.Event()  # set once every worker is ready, or none will be
        self._daemon = ControlDaemon(
            OBJECT, settings.host, port, {"info": self.info, "ping": lambda: "pong"},
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
        """Make ``run`` return; from any thread or signal handler."""
        self._stopping = True
        self._waker.wake()

    def run(self) -> None:
        """Supervise until ``stop``, SIGTERM or Ctrl-C.

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
                self._start_due()
                self._wait()
        finally:
            self._all_ready.set()
            self._end_workers()
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
        return {
            number: signal.signal(number, lambda *_: self.stop())
            for number in (signal.SIGTERM, signal.SIGINT)
        }

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
                slot.line = self._launcher.start(slot.number, config)
                slot.line.setblocking(False)
                slot.inbox = b""
                self._selector.register(slot.line, selectors.EVENT_READ, slot)

    def _wait(self) -> None:
        dues = [slot.start_at for slot in self._slots if slot.start_at is not None]
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
            self._registrar.add(Entry(slot.name, Address.parse(told["uri"]), told["facts"]))
            slot.is_ready = True
            self._stillbirths = 0
            log.info("worker %s is ready, process %s, on %s", slot.name, slot.pid, told["uri"])
        if all(slot.is_ready for slot in self._slots):
            self._all_ready.set()

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
        if not slot.is_ready:
            self._stillbirths += 1
        if self._stillbirths >= STILLBIRTHS:
            self._gave_up = (
                f"{STILLBIRTHS} workers in a row died before they were ready, the last "
                f"with {describe_status(status)}; their own messages are above"
            )
        slot.is_ready, slot.pid = False, None
        slot.restarts += 1
        slot.quick_ends = 0 if lived >= STEADY else slot.quick_ends + 1
        pause = 0.0
        if slot.quick_ends > 1:
            pause = min(LONGEST_PAUSE, 0.1 * 2 ** (slot.quick_ends - 2))
        slot.start_at = time.monotonic() + pause
        log.warning(
            "worker %s ended with %s; starting another in %.1f s",
            slot.name, describe_status(status), pause,
        )  # fmt: skip

    def _end_workers(self) -> None:
        """Ask the workers to end, and kill those that have not after a while."""
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
