"""Starting worker processes, and learning how each one ended.

On Linux workers are forked, so that what the user's start script has imported or loaded
is there. Forking a process with threads is not safe, so they are forked from a helper
process, which itself was forked before the supervisor started any thread and never
starts one. It reaps the workers, and kills them when its supervisor is gone.

Elsewhere, and where the start script has threads already, workers are started as new
interpreters.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, Protocol

from seppo.errors import InternalError
from seppo.transport.stream import Waker
from seppo.worker.process import WorkerConfig, run_worker

MESSAGE = 1 << 16  # bytes; the largest message between a supervisor and its helper
PR_SET_PDEATHSIG = 1  # from linux/prctl.h


@dataclass(frozen=True)
class Started:
    """The worker of a slot runs, under this process id."""

    slot: int
    pid: int


@dataclass(frozen=True)
class Ended:
    """A worker process ended; ``status`` is its exit code, or minus the signal."""

    pid: int
    status: int


class Launcher(Protocol):
    """Starts worker processes; its descriptor is readable when there is news."""

    def fileno(self) -> int:
        """Return the descriptor for selectors."""

    def start(self, slot: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
        """Start a worker and return our end of its control line.

        Args:
            slot: Its number among ours.
            config: What it is told.
            mark: Descriptor of the memory where it marks what it runs, if any.
        """

    def news(self) -> list[Started | Ended]:
        """Return what has happened since the last call.

        Raises:
            EOFError: If no worker can be started any more.
        """

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a worker that has not been reported as ended."""

    def close(self) -> None:
        """Kill what still runs and let go."""


def launcher() -> Launcher:
    """Return the launcher that fits this platform and process."""
    if sys.platform == "linux" and threading.active_count() == 1:
        return ForkLauncher()
    return SpawnLauncher()


class ForkLauncher:
    """Forks workers from a single-threaded helper process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            _run_helper(theirs)
        theirs.close()

    def fileno(self) -> int:
        """Return the descriptor for selectors."""
        return self._socket.fileno()

    def start(self, slot: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
        """Start a worker and return our end of its control line."""
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno()] if mark is None else [theirs.fileno(), mark]
        request = json.dumps({"start": slot, "config": config.to_json()})
        socket.send_fds(self._socket, [request.encode()], fds)
        theirs.close()
        return ours

    def news(self) -> list[Started | Ended]:
        """Return what has happened since the last call."""
        found: list[Started | Ended] = []
        while True:
            try:
                data = self._socket.recv(MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except ConnectionResetError:
                data = b""  # it ended before it had read our last request
            if not data:
                raise EOFError("the helper process that forks workers has ended")
            told = json.loads(data)
            if "started" in told:
                found.append(Started(told["started"], told["pid"]))
            else:
                found.append(Ended(told["ended"], told["status"]))

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a worker; the helper knows whether the process still is one."""
        try:
            self._socket.send(json.dumps({"kill": pid, "signal": number}).encode())
        except OSError:
            pass  # the helper is gone, and its workers with it

    def close(self) -> None:
        """Let the helper kill what still runs, and wait for its end."""
        self._socket.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass  # somebody else reaps the children of this process


def _run_helper(line: socket.socket) -> NoReturn:
    """Fork, reap and kill workers until the supervisor is gone. Never returns."""
    status = 1
    try:
        _Helper(line).serve()
        status = 0
    except BaseException:  # nothing may unwind into the start script's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class _Helper:
    """The helper process."""

    def __init__(self, line: socket.socket) -> None:
        os.setsid()  # Ctrl-C in the terminal is the supervisor's business
        self._line = line
        self._children: set[int] = set()
        self._waker = Waker()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.signal_fd, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Do what the supervisor asks until it is gone, then kill the workers."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._waker:
                        self._waker.drain()
                        self._reap()
                    elif not self._obey():
                        self._kill_all()
                        return

    def _obey(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._line, MESSAGE, 2)
        except ConnectionResetError:
            return False  # the supervisor ended before it had read our last news
        if not data:
            return False
        request = json.loads(data)
        if "start" in request:
            self._fork(request["start"], WorkerConfig.from_json(request["config"]), fds)
        elif request["kill"] in self._children:
            os.kill(request["kill"], request["signal"])
        return True

    def _fork(self, slot: int, config: WorkerConfig, fds: list[int]) -> None:
        helper = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_worker(helper, config, *fds)
        for fd in fds:
            os.close(fd)
        self._children.add(pid)
        self._tell({"started": slot, "pid": pid})

    def _be_worker(
        self, helper: int, config: WorkerConfig, fd: int, mark: int | None = None
    ) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._line.close()
            self._waker.close()
            # The last resort against orphans, also while C code holds the interpreter.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == helper:
                run_worker(socket.socket(fileno=fd), config, mark)
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:  # nothing may unwind into the start script's code
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._tell({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._line.send(json.dumps(message).encode())
        except OSError:
            pass  # the supervisor is gone; the next read says so

    def _kill_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)


class SpawnLauncher:
    """Starts each worker as a new interpreter."""

    def __init__(self) -> None:
        self._waker = Waker()
        self._news: SimpleQueue[Started | Ended] = SimpleQueue()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def fileno(self) -> int:
        """Return the descriptor for selectors."""
        return self._waker.fileno()

    def start(self, slot: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
        """Start a worker and return our end of its control line."""
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno()] if mark is None else [theirs.fileno(), mark]
        process = subprocess.Popen(
            [sys.executable, "-m", "seppo.worker.process", config.to_json(), *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._processes[process.pid] = process
        self._news.put(Started(slot, process.pid))
        threading.Thread(target=self._await_end, args=(process,), daemon=True).start()
        self._waker.wake()
        return ours

    def _await_end(self, process: subprocess.Popen[bytes]) -> None:
        self._news.put(Ended(process.pid, process.wait()))
        self._waker.wake()

    def news(self) -> list[Started | Ended]:
        """Return what has happened since the last call."""
        self._waker.drain()
        found: list[Started | Ended] = []
        while True:
            try:
                found.append(self._news.get_nowait())
            except Empty:
                return found

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a worker."""
        process = self._processes.get(pid)
        if process is None:
            raise InternalError(f"process {pid} was not started here")
        process.send_signal(number)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes.values():
            process.kill()
        self._waker.close()
