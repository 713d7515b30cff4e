"""Starting worker processes, and learning how each one ended.

On Linux workers are forked, so that what the user's start script has imported or loaded
is there. Forking a process with threads is not safe, so they are forked from a helper
process, which itself was forked before the supervisor started any thread and never
starts one. It imports what is to be preloaded, so that all workers share that memory; it
reaps the workers, and kills them when its supervisor is gone (see ``helper``).

Elsewhere, and where the start script has threads already, workers are started as new
interpreters.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from seppo.host.helper import MESSAGE, RunWorker, other_threads, run_helper
from seppo.wire.config import WorkerConfig
from seppo.wire.stream import Waker

log = logging.getLogger(__name__)

CLOSING = 3.0  # seconds that a helper gets for ending; one that is stopped never would


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


@dataclass(frozen=True)
class Killed:
    """A kill of the worker of this number was tried; ``Ended`` follows, unless it came before."""

    number: int


@dataclass(frozen=True)
class HelperLost:
    """The helper has ended and was replaced; ``Ended`` follows for each worker."""

    status: int


News = Started | Ended | Killed | HelperLost


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

    def news(self) -> list[News]:
        """Return what has happened since the last call.

        Raises:
            EOFError: If no worker can be started any more; its text says why.
        """

    def kill(self, number: int) -> None:
        """Kill a worker, and what it has started in its own process group."""

    def replace_helper(self) -> None:
        """Kill the helper that forks workers, if there is one: it does not answer."""

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
    if sys.platform == "linux":
        others = other_threads()
        if not others:
            return ForkLauncher(run_worker, preload, threads)
        log.warning(
            "this program has started threads (%s), so it cannot be forked safely: the workers "
            "are new processes, without the modules and data that it has loaded. Start threads "
            "after the workers",
            ", ".join(others),
        )
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
        self._running: set[int] = set()  # numbers of workers whose end was not told
        self._asked_to_kill: set[int] = set()  # and of which it has said nothing since
        self._helper: int | None = None  # its process id, while its keeper waits for it
        self._pid = os.fork()
        if self._pid == 0:
            self._socket.close()
            run_helper(theirs, run_worker, preload, threads)
        theirs.close()

    def fileno(self) -> int:
        """Return the descriptor for selectors."""
        return self._socket.fileno()

    def start(self, number: int, config: WorkerConfig, mark: int | None = None) -> socket.socket:
        """Start a worker and return our end of its control line."""
        ours, theirs = socket.socketpair()
        fds = [theirs.fileno()] if mark is None else [theirs.fileno(), mark]
        self._running.add(number)
        request = json.dumps({"start": number, "config": config.to_json()})
        with theirs:
            try:
                # Not send_fds(): it takes flags, and leaves them out.
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))
                self._socket.sendmsg([request.encode()], [rights], socket.MSG_DONTWAIT)
            except BrokenPipeError:
                pass  # the helper is gone; ``news`` says why
            except BlockingIOError as error:  # it reads nothing, and hundreds of requests wait
                ours.close()
                self._running.discard(number)
                raise OSError("the helper process that forks workers is busy") from error
        return ours

    def news(self) -> list[News]:
        """Return what has happened since the last call."""
        found: list[News] = []
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
            elif "killed" in told:
                self._asked_to_kill.discard(told["killed"])
                found.append(Killed(told["killed"]))
            elif "helper" in told:
                self._helper = told["helper"]
            elif "lost" in told:
                self._helper = None
                found.append(HelperLost(told["lost"]))
                found += [Ended(number, -signal.SIGKILL) for number in sorted(self._running)]
                self._running.clear()
                self._asked_to_kill.clear()
            else:
                self._running.discard(told["ended"])
                self._asked_to_kill.discard(told["ended"])
                found.append(Ended(told["ended"], told["status"]))

    def kill(self, number: int) -> None:
        """Kill a worker; the helper knows whether the process still is one."""
        if number in self._asked_to_kill:
            return  # a helper that is stopped must not make us wait for room to ask again
        try:
            self._socket.send(json.dumps({"kill": number}).encode(), socket.MSG_DONTWAIT)
            self._asked_to_kill.add(number)
        except OSError:
            pass  # it is gone, and its workers with it; or too busy, and is asked again

    def replace_helper(self) -> None:
        """Kill the helper that forks workers; its keeper makes another one."""
        if self._helper is not None:
            with suppress(ProcessLookupError):
                os.kill(self._helper, signal.SIGKILL)

    def close(self) -> None:
        """Let the helper kill what still runs, and wait for its end."""
        self._socket.close()
        deadline = time.monotonic() + CLOSING
        with suppress(ChildProcessError):  # somebody else reaps the children of this process
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() >= deadline:
                    os.kill(self._pid, signal.SIGKILL)  # guardians and workers follow it
                time.sleep(0.005)


class SpawnLauncher:
    """Starts each worker as a new interpreter."""

    def __init__(self) -> None:
        self._waker = Waker()
        self._news: SimpleQueue[News] = SimpleQueue()
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
        # Not reaped yet, its number is nobody else's, and so is that of its process group.
        if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(process)
        self._news.put(Ended(number, process.wait()))
        self._waker.wake()

    def news(self) -> list[News]:
        """Return what has happened since the last call."""
        self._waker.drain()
        found: list[News] = []
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
            self._news.put(Killed(number))
            self._waker.wake()

    def replace_helper(self) -> None:
        """Do nothing: there is none."""

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes.values():
            _kill_unreaped(process)
        self._waker.close()


def _kill_unreaped(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _kill_group(process)
        process.kill()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session from its start
