"""Starting worker processes, and learning how each one ended.

On Linux workers are forked, so that what the user's start script has imported or loaded
is there. Forking a process with threads is not safe, so they are forked from a helper
process, which itself was forked before the supervisor started any thread and never
starts one. It imports what is to be preloaded, so that all workers share that memory; it
reaps the workers, and kills them when its supervisor is gone. Each worker leads a session
and a process group of its own, so that what user code does to its group reaches nobody else.

Elsewhere, and where the start script has threads already, workers are started as new
interpreters.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, Protocol

from seppo.wire.config import WorkerConfig, limit_threads
from seppo.wire.stream import Waker

MESSAGE = 1 << 16  # bytes; the largest message between a supervisor and its helper
PR_SET_PDEATHSIG = 1  # from linux/prctl.h

RunWorker = Callable[[socket.socket, WorkerConfig, "int | None"], None]


@dataclass(frozen=True)
class Started:
    """The worker of this number runs, under this process id."""

    number: int
    pid: int


@dataclass(frozen=True)
class Ended:
    """A worker process ended; ``status`` is its exit code, or minus the signal."""

    number: int
    status: int


class Launcher(Protocol):
    """Starts worker processes; its descriptor is readable when there is news."""

    def fileno(self) -> int:
        """Return the descriptor for selectors."""

    def start(self, number: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
        """Start a worker and return our end of its control line.

        Args:
            number: Its number among ours, which no other ever had.
            config: What it is told.
            mark: Descriptor of the memory where it marks what it runs, if any.

        Raises:
            OSError: If there are too many descriptors or processes.
        """

    def news(self) -> list[Started | Ended]:
        """Return what has happened since the last call.

        Raises:
            EOFError: If no worker can be started any more; its text says why.
        """

    def kill(self, number: int) -> None:
        """Kill a worker, and what it has started in its own process group."""

    def close(self) -> None:
        """Kill what still runs and let go."""


def launcher(run_worker: RunWorker, preload: tuple[str, ...] = (), threads: int = 0) -> Launcher:
    """Return the launcher that fits this platform and process.

    Args:
        run_worker: What a worker process does, given its end of the control line, what it
            is told, and the descriptor of the memory for its mark.
        preload: Modules to be imported before the first worker is forked.
        threads: Threads for numerical libraries among them; 0 for as they like.
    """
    if sys.platform == "linux" and threading.active_count() == 1:
        return ForkLauncher(run_worker, preload, threads)
    return SpawnLauncher()


class ForkLauncher:
    """Forks workers from a single-threaded helper process.

    Args: as for ``launcher``.
    """

    def __init__(
        self, run_worker: RunWorker, preload: tuple[str, ...] = (), threads: int = 0
    ) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            _run_helper(theirs, run_worker, preload, threads)
        theirs.close()

    def fileno(self) -> int:
        """Return the descriptor for selectors."""
        return self._socket.fileno()

    def start(self, number: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
        """Start a worker and return our end of its control line."""
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno()] if mark is None else [theirs.fileno(), mark]
        request = json.dumps({"start": number, "config": config.to_json()})
        with theirs:
            try:
                socket.send_fds(self._socket, [request.encode()], fds)
            except BrokenPipeError:
                pass  # the helper is gone; ``news`` says why
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
            if "failed" in told:
                raise EOFError(told["failed"])
            if "started" in told:
                found.append(Started(told["started"], told["pid"]))
            else:
                found.append(Ended(told["ended"], told["status"]))

    def kill(self, number: int) -> None:
        """Kill a worker; the helper knows whether the process still is one."""
        try:
            self._socket.send(json.dumps({"kill": number}).encode())
        except OSError:
            pass  # the helper is gone, and its workers with it

    def close(self) -> None:
        """Let the helper kill what still runs, and wait for its end."""
        self._socket.close()
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass  # somebody else reaps the children of this process


def _run_helper(
    line: socket.socket, run_worker: RunWorker, preload: tuple[str, ...], threads: int
) -> NoReturn:
    """Fork, reap and kill workers until the supervisor is gone. Never returns."""
    status = 1
    try:
        helper = _Helper(line, run_worker)
        if helper.preload(preload, threads):
            helper.serve()
            status = 0
    except BaseException:  # nothing may unwind into the start script's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class _Helper:
    """The helper process."""

    def __init__(self, line: socket.socket, run_worker: RunWorker) -> None:
        os.setsid()  # Ctrl-C in the terminal is the supervisor's business
        self._line = line
        self._run_worker = run_worker
        self._children: dict[int, int] = {}  # numbers by process id
        self._prctl = ctypes.CDLL(None).prctl
        self._waker = Waker()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.signal_fd, warn_on_full_buffer=False)

    def preload(self, names: tuple[str, ...], threads: int) -> bool:
        """Import what all workers are to share; return whether all is there."""
        if threads and names:
            limit_threads(os.environ, threads)
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException as error:  # any module may be imported
                why = f"{name!r} cannot be preloaded: {type(error).__name__}: {error}"
                self._tell({"failed": why[: MESSAGE // 8]})
                return False
        # What is there now is never collected: the collector's notes in the objects would
        # copy page after page into each worker.
        gc.collect()
        gc.freeze()
        return True

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
        else:
            for pid, number in self._children.items():
                if number == request["kill"]:
                    _kill(pid)
        return True

    def _fork(self, number: int, config: WorkerConfig, fds: list[int]) -> None:
        helper = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:  # too many processes
            print(f"no worker can be forked: {error}", file=sys.stderr, flush=True)  # noqa: T201
            for fd in fds:
                os.close(fd)
            self._tell({"ended": number, "status": 1})
            return
        if pid == 0:
            self._be_worker(helper, config, *fds)
        for fd in fds:
            os.close(fd)
        self._children[pid] = number
        self._tell({"started": number, "pid": pid})

    def _be_worker(
        self, helper: int, config: WorkerConfig, fd: int, mark: int | None = None
    ) -> NoReturn:
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._line.close()
            self._waker.close()
            # The last resort against orphans, also while C code holds the interpreter.
            self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == helper:
                self._run_worker(socket.socket(fileno=fd), config, mark)
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
            number = self._children.pop(pid, None)  # user code's orphans do not come here
            if number is not None:
                self._tell({"ended": number, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._line.send(json.dumps(message).encode())
        except OSError:
            pass  # the supervisor is gone; the next read says so

    def _kill_all(self) -> None:
        for pid in self._children:
            _kill(pid)


def _kill(pid: int) -> None:
    """Kill a child of ours that was not reaped yet, with its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)  # it may not lead a group yet


class SpawnLauncher:
    """Starts each worker as a new interpreter."""

    def __init__(self) -> None:
        self._waker = Waker()
        self._news: SimpleQueue[Started | Ended] = SimpleQueue()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def fileno(self) -> int:
        """Return the descriptor for selectors."""
        return self._waker.fileno()

    def start(self, number: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
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
        self._processes[number] = process
        self._news.put(Started(number, process.pid))
        threading.Thread(target=self._await_end, args=(number, process), daemon=True).start()
        self._waker.wake()
        return ours

    def _await_end(self, number: int, process: subprocess.Popen[bytes]) -> None:
        self._news.put(Ended(number, process.wait()))
        self._waker.wake()

    def news(self) -> list[Started | Ended]:
        """Return what has happened since the last call."""
        self._waker.drain()
        found: list[Started | Ended] = []
        while True:
            try:
                item = self._news.get_nowait()
            except Empty:
                return found
            if isinstance(item, Ended):
                del self._processes[item.number]
            found.append(item)

    def kill(self, number: int) -> None:
        """Kill a worker, and what it has started in its own process group."""
        process = self._processes.get(number)
        if process is not None:
            _kill_unreaped(process)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes.values():
            _kill_unreaped(process)
        self._waker.close()


def _kill_unreaped(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a session from its start
        process.kill()
