"""A real name server and real workers on free loopback ports, for tests.

Only processes started here are ever ended, by process id.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from processes import PATIENCE, wait_until

from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import call
from seppo.settings import Settings
from seppo.trust.credentials import Credentials


class Cluster:
    """A name server of its own and, on demand, workers; a context manager."""

    def __init__(self, n_workers=2, group="default", cwd=None, verbose=False, **environ):
        self._processes = []
        self._cwd = cwd
        self._verbose = ["-v"] if verbose else []  # who wants it has to read it: pipes are short
        self.group = group
        self.extra = environ
        self.port = 0
        try:
            self.start_nameserver()
            self.workers = self.start_workers(n_workers, group) if n_workers else None
        except BaseException:
            self.stop()
            raise

    @property
    def environ(self):
        """The environment in which clients find this cluster."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
        found = {"PYRO_NS_HOST": "127.0.0.1", "PYRO_NS_PORT": str(self.port or 1)}
        return {**inherited, **found, **self.extra}

    @property
    def settings(self):
        return Settings.load(self.environ, group=self.group)

    def run(self, *command, timeout=60, check=True, **keywords):
        """Run a Python command as a client and return the finished process."""
        finished = subprocess.run(
            [sys.executable, *map(str, command)],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            **keywords,
        )
        if check and finished.returncode != 0:
            raise AssertionError(f"exit code {finished.returncode}\n{finished.stderr}")
        return finished

    def spawn(self, *command, **keywords):
        """Start a Python command that this cluster ends, with its output in a pipe."""
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._cwd,
            **keywords,
        )
        self._processes.append(process)
        return process

    def start_nameserver(self):
        """Start the name server; on the port of the one before, if there was one."""
        command = ["-m", "seppo", "nameserver", "--host", "127.0.0.1", "--port", self.port]
        self.nameserver = self.spawn(*command)
        line = read_line(self.nameserver)
        found = re.search(r"name server at 127\.0\.0\.1:(\d+)", line)
        assert found, line
        self.port = int(found[1])

    def start_workers(self, n_workers, group=None, wait=True):
        """Start a host with so many places and return its supervisor's process."""
        group = group or self.group
        before = len(self.entries(group))
        process = self.spawn(
            "-m", "seppo", *self._verbose, "worker", "-n", n_workers, "--group", group
        )
        if wait:
            wait_until(
                lambda: len(self.entries(group)) > before or process.poll(),
                what="the host's registration",
            )
            assert process.poll() is None, process.stdout.read()
            wait_until(
                lambda: any(h["pid"] == process.pid and len(h["spares"]) == n_workers
                            for h in self.hosts(group)),
                what="ready spares",
            )  # fmt: skip
        return process

    def entries(self, group=None):
        """Return what the name server knows."""
        settings = replace(Settings.load(self.environ), connect_timeout=PATIENCE)
        return NameServer(settings).find(group)

    def hosts(self, group=None):
        """Return what each supervisor says of its host."""
        credentials = Credentials(self.settings)
        return [
            call(credentials, entry.address, "info", timeout=PATIENCE)
            for entry in self.entries(group)
        ]

    def infos(self, group=None):
        """Return what is known of each process that a client holds."""
        clients = [client for host in self.hosts(group) for client in host["clients"]]
        return [process for client in clients for process in client["processes"]]

    def pids(self, group=None):
        """Return the ids of the processes that clients hold."""
        return [process["pid"] for process in self.infos(group)]

    def spares(self, group=None):
        """Return the ids of the processes that wait for clients."""
        return [pid for host in self.hosts(group) for pid in host["spares"]]

    def wait_until_busy(self, n_workers=2):
        """Wait until so many workers are inside an item."""
        wait_until(
            lambda: sum(info["busy"] for info in self.infos()) >= n_workers,
            what="busy workers",
        )

    def wait_until_idle(self):
        """Wait until no worker has anything to do."""
        wait_until(lambda: not any(info["busy"] for info in self.infos()), what="idle workers")

    def stop(self):
        """End everything that was started here."""
        for process in reversed(self._processes):
            end(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def read_line(process, seconds=PATIENCE):
    """Return the next line of a process's output."""
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    assert ready, "no output in time"
    return process.stdout.readline()


def end(process, number=signal.SIGTERM):
    """End a process that was started here, and reap it."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def is_alive(pid):
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False
