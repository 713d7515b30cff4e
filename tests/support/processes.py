"""Real processes for tests: each is started here, waited for, and ended by its own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import call
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address

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
    """A Python program in a process of its own, with its output in a file.

    (A pipe would hold the program up as soon as it is full.)

    Args:
        args: Arguments of the interpreter.
        env: Environment variables to set.
    """

    def __init__(self, *args: str, env: dict[str, str] | None = None) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
        self._text = ""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (until it is stopped)
        self._process = subprocess.Popen(
            [sys.executable, *args],
            env={**clean, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        if self._output.closed:
            return self._text
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to this process and to no other."""
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit status, once the process has ended."""
        return self._process.wait(seconds)

    def stop(self, seconds: float = 10.0) -> None:
        """End the process, politely at first."""
        if not self.has_ended:
            self.kill(signal.SIGTERM)
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait(seconds)
        self._text = self.output
        self._output.close()

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
KEEPING = "import seppo.worker.attendant as attendant; attendant.LONG_ITEM = 5.0"

SUPERVISOR = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
{first}
from seppo.host.launcher import launcher
from seppo.host.options import HostOptions
from seppo.host.supervisor import Supervisor
from seppo.settings import Settings
from seppo.worker.process import run_worker
if __name__ == "__main__":
    options = HostOptions(**{options!r})
    forker = launcher(run_worker, options.preload, options.threads)
    Supervisor(Settings.load(), options, forker).run()
"""


class SupervisorProcess(Process):
    """A supervisor with its worker processes.

    Args:
        nameserver: Where it registers; None for nowhere.
        places: Processes for one client.
        name: Start of its name.
        group: Its group.
        first: Code to run before.
        wait: Whether to return only when all spares are ready and it is registered.
        options: Further options of the host.
    """

    def __init__(
        self,
        nameserver: NameServerProcess | None,
        places: int = 1,
        name: str = "test",
        group: str = "default",
        first: str = "",
        wait: bool = True,
        **options: Any,
    ) -> None:
        self.nameserver = nameserver
        self.name = name
        self.places = places
        self.address = Address("seppo.supervisor", "127.0.0.1", free_port())
        chosen = {"places": places, "name": name, "port": self.address.port, **options}
        env = {"PYRO_NS_PORT": str(nameserver.port if nameserver else 1), "SEPPO_GROUP": group}
        super().__init__("-c", SUPERVISOR.format(first=first, options=chosen), env=env)
        if wait:
            try:
                wait_until(self.is_ready, what="the host is ready")
            except BaseException:
                self.stop()
                print(self.output)
                raise

    def is_ready(self) -> bool:
        """Whether all spares are ready, and the name server knows the host."""
        if self.has_ended:
            raise AssertionError("the supervisor has ended")
        try:
            if len(self.spares()) < self.places:
                return False
        except (ConnectionError, TimeoutError):
            return False
        return self.nameserver is None or len(self.registered()) == 1

    def registered(self) -> set[str]:
        """Return the names under which the name server knows it."""
        assert self.nameserver is not None
        return {n for n in self.nameserver.names() if n.startswith(f"seppo.{self.name}.")}

    def info(self) -> dict[str, Any]:
        """Return what the supervisor says of itself."""
        return call(CREDENTIALS, self.address, "info", timeout=PATIENCE)

    def spares(self) -> list[int]:
        """Return the process ids of the spares that are ready."""
        return self.info()["spares"]

    def leased(self) -> list[int]:
        """Return the process ids of the processes that are leased."""
        return [one["pid"] for client in self.info()["clients"] for one in client["processes"]]
