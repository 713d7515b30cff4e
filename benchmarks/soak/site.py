"""The processes of a soak run: a name server and hosts, all started here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import call
from seppo.settings import Settings
from seppo.trust.credentials import Credentials

PATIENCE = 30.0  # seconds that something which was started may take until it is there


class Site:
    """A name server and hosts; a context manager.

    Attributes:
        environ: The environment in which clients find them.
        supervisors: The supervisors that run, by name.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seppo-soak-")
        self.log = Path(self._folder.name) / "log"
        self._port = 0
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))},
            "SEPPO_KEY_FILE": str(Path(self._folder.name) / "key"),
            "PYRO_NS_HOST": "127.0.0.1",
        }
        self.supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self._nameserver: subprocess.Popen[str] | None = None

    def __enter__(self) -> Site:
        self.start_nameserver()
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.supervisors):
            self.stop_supervisor(name, signal.SIGINT)
        self.stop_nameserver()
        self._folder.cleanup()

    @property
    def settings(self) -> Settings:
        """The settings of a client of this site."""
        return Settings.load(self.environ)

    def start_nameserver(self) -> None:
        """Start the name server, empty, on the port of the one before."""
        command = [sys.executable, "-m", "seppo", "nameserver", "--port", str(self._port)]
        with self.log.open("a") as log:
            self._nameserver = subprocess.Popen(
                command, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._nameserver.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", self._nameserver.stdout.readline())
        if found is None:
            raise RuntimeError(f"the name server does not start:\n{self.log.read_text()}")
        self._port = int(found[1])
        self.environ["PYRO_NS_PORT"] = found[1]

    @property
    def nameserver_pid(self) -> int:
        """The process id of the name server that runs."""
        assert self._nameserver is not None
        return self._nameserver.pid

    def stop_nameserver(self) -> None:
        """End the name server; its entries are gone."""
        if self._nameserver is not None:
            _end(self._nameserver, signal.SIGTERM)
            if self._nameserver.stdout is not None:
                self._nameserver.stdout.close()
            self._nameserver = None

    def start_supervisor(self, name: str, places: int) -> None:
        """Start a host, and wait until it is registered and all its spares are ready."""
        command = [sys.executable, "-m", "seppo", "worker", "-n", str(places), "--name", name]
        with self.log.open("a") as log:
            self.supervisors[name] = subprocess.Popen(
                command, env=self.environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while sum(len(host["spares"]) for host in self._hosts(name)) < places:
            if time.monotonic() > deadline:
                raise RuntimeError(f"host {name} does not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop_supervisor(self, name: str, number: int) -> None:
        """End a host with a signal to its supervisor."""
        _end(self.supervisors.pop(name), number)

    def worker_pids(self) -> list[int]:
        """Return the ids of the processes that clients hold."""
        clients = [client for host in self._hosts() for client in host["clients"]]
        return [process["pid"] for client in clients for process in client["processes"]]

    def _hosts(self, name: str = "") -> list[dict[str, Any]]:
        """Return what the supervisors whose names begin so say of their hosts."""
        credentials = Credentials(self.settings)
        try:
            entries = NameServer(self.settings, credentials).find()
        except OSError:
            return []  # the name server is being started again
        found = []
        for entry in entries:
            if entry.name.startswith(f"seppo.{name}"):
                with suppress(OSError):  # it was killed, and its entry is still there
                    found.append(call(credentials, entry.address, "info", timeout=PATIENCE))
        return found


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"process {process.pid} did not end within {PATIENCE} s") from None
