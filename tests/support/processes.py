"""Real processes for tests: each is started here, waited for, and ended by its own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.credentials import Credentials
from seppo.transport.nameserver import NameServer
from seppo.transport.proxy import call

ROOT = Path(__file__).parents[2]
CREDENTIALS = Credentials(Settings())  # of the test run: its key is made on demand
T = TypeVar("T")
PATIENCE = 40.0  # seconds; also a machine whose cores are all taken does it in that time


def wait_until(
    condition: Callable[[], T], what: str | Callable[[], str] = "", seconds: float = PATIENCE
) -> T:
    """Return the condition's value as soon as it is true.

    Args:
        condition: Asked again and again.
        what: What it stands for, for the message; or what tells how far things are then.
        seconds: How long; only what could not come later needs a limit of its own.

    Raises:
        AssertionError: If it is not true in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {seconds} s: {told or condition}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a port of the loopback interface on which nobody listens now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than an entry that nobody has reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if sys.platform == "linux":
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return status.rpartition(")")[2].split()[0] not in "ZX"


def parent_of(pid: int) -> int:
    """Return the id of a process's parent, on Linux."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Process:
    """A Python program in a process of its own, with its output in memory.

    Args:
        args: Arguments of the interpreter.
        env: Environment variables to set.
    """

    def __init__(self, *args: str, env: dict[str, str] | None = None) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
        self._process = subprocess.Popen(
            [sys.executable, *args],
            env={**clean, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        self.output = ""

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to this process and to no other."""
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit status, once the process has ended."""
        self.output += self._process.communicate(timeout=seconds)[0] or ""
        return self._process.returncode

    def stop(self, seconds: float = 10.0) -> None:
        """End the process, politely at first."""
        if not self.has_ended:
            self.kill(signal.SIGTERM)
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait(seconds)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class NameServerProcess(Process):
    """A Pyro5 name server on the loopback interface, empty at its start.

    Args:
        port: Its port; None for any free one.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        super().__init__("-m", "Pyro5.nameserver", "-n", "127.0.0.1", "-p", str(self.port), "-x")
        self.settings = Settings(ns_port=self.port, connect_timeout=PATIENCE)
        try:
            wait_until(self._answers, what="the name server answers")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        if self.has_ended:
            self.wait()
            raise AssertionError(f"the name server has ended: {self.output}")
        try:
            NameServer(self.settings).names()
        except ConnectionError:
            return False
        return True

    def names(self) -> set[str]:
        """Return the names of seppo's entries."""
        return NameServer(self.settings).names()


# For tests without a scheduler, which would send again what is given back after a second:
# on a machine whose cores are all taken a second passes within any item.
KEEPING = "import seppo.worker.service as service; service.LONG_ITEM = 5.0"

SUPERVISOR = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
{first}
from seppo.settings import Settings
from seppo.worker.supervisor import Supervisor
if __name__ == "__main__":
    Supervisor(Settings.load(), {n_workers}, {name!r}, {port}).run()
"""


class SupervisorProcess(Process):
    """A supervisor with its workers.

    Args:
        nameserver: Where the workers register.
        n_workers: How many.
        name: Start of the workers' names.
        group: Their group.
        first: Code to run before.
        wait: Whether to return only when all workers are registered.
    """

    def __init__(
        self,
        nameserver: NameServerProcess,
        n_workers: int = 1,
        name: str = "test",
        group: str = "default",
        first: str = "",
        wait: bool = True,
    ) -> None:
        self.nameserver = nameserver
        self.name = name
        self.address = Address("seppo.supervisor", "127.0.0.1", free_port())
        code = SUPERVISOR.format(
            first=first, n_workers=n_workers, name=name, port=self.address.port
        )
        env = {"PYRO_NS_PORT": str(nameserver.port), "SEPPO_GROUP": group}
        super().__init__("-c", code, env=env)
        if wait:
            try:
                wait_until(lambda: len(self.registered()) == n_workers, what="workers register")
            except BaseException:
                self.stop()
                print(self.output)
                raise

    def registered(self) -> set[str]:
        """Return the names of the workers that the name server knows."""
        return {n for n in self.nameserver.names() if n.startswith(f"seppo.{self.name}.")}

    def info(self) -> dict[str, Any]:
        """Return what the supervisor says of itself."""
        return call(CREDENTIALS, self.address, "info", timeout=PATIENCE)

    def pids(self) -> list[int]:
        """Return the process ids of the workers that are ready."""
        return [worker["pid"] for worker in self.info()["workers"] if worker["ready"]]
