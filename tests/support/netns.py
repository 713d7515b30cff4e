"""Two machines in one: network namespaces joined by a virtual cable that can be cut.

Needs root and Linux. All names are unique to this process, and only they are removed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import end, wait_until

ROOT = Path(__file__).parents[2]
PORT = 9090  # of the name server; nobody else is in there
# Beyond loopback nothing is served unencrypted unless one insists. One place to change.
INSIST = {"SEPPO_INSECURE": "1"}
_numbers = itertools.count(1)


def _ip(*arguments):
    done = subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(map(str, arguments))}: {done.stderr.strip()}")


class Net:
    """Namespaces "near" (the client's) and "far"; a context manager.

    Args:
        environ: Variables for all programs in both.
    """

    def __init__(self, **environ):
        number = next(_numbers)
        stem = f"seppo-{os.getpid()}-{number}"
        self._names = {"near": f"{stem}-near", "far": f"{stem}-far"}
        self.hosts = {"near": "10.213.57.1", "far": "10.213.57.2"}
        self._cable = {"near": "cable0", "far": "cable1"}
        self._environ = environ
        self._processes = []

    def __enter__(self):
        try:
            for name in self._names.values():
                _ip("netns", "add", name)
            near, far = self._names["near"], self._names["far"]
            _ip("-n", near, "link", "add", "cable0", "type", "veth", "peer", "cable1", "netns", far)
            for side, name in self._names.items():
                _ip("-n", name, "addr", "add", f"{self.hosts[side]}/24", "dev", self._cable[side])
                _ip("-n", name, "link", "set", self._cable[side], "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except OSError as error:
            self.__exit__()
            pytest.skip(f"no network namespaces here: {error}")
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.terminate()  # a second one would do if the first one drains
            end(process)
        for name in self._names.values():
            with contextlib.suppress(OSError):  # it was never made
                _ip("netns", "delete", name)

    def environ(self, side, **more):
        """Return the environment of a program on one side."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
        return {
            **clean, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
            "PYRO_NS_HOST": self.hosts["near"], "PYRO_NS_PORT": str(PORT),
            "PYRO_HOST": self.hosts[side], **INSIST, **self._environ, **more,
        }  # fmt: skip

    def spawn(self, side, *arguments, **environ):
        """Start a Python program on one side, which ends with this."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self._names[side], sys.executable, *map(str, arguments)],
            env=self.environ(side, **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        return process

    def run(self, side, *arguments, timeout=60):
        """Run a Python program on one side and return its output."""
        return subprocess.run(
            ["ip", "netns", "exec", self._names[side], sys.executable, *map(str, arguments)],
            env=self.environ(side),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start_nameserver(self):
        """Start the name server, on the near side."""
        host = self.hosts["near"]
        process = self.spawn("near", "-m", "seppo", "nameserver", "--host", host, "--port", PORT)
        lines = iter(process.stdout.readline, "")  # a warning that it is not encrypted is one
        assert any("name server at" in line for line in lines)

    def start_workers(self, side, n=2):
        """Start a host with so many places on one side, and wait until it is registered."""
        before = len(self.status("near"))
        process = self.spawn(side, "-m", "seppo", "worker", "-n", n, "--host", self.hosts[side])
        wait_until(
            lambda: len(self.status("near")) > before or process.poll() is not None,
            "registration",
        )
        assert process.poll() is None, process.stdout.read()
        return process

    def status(self, side):
        """Return what ``seppo status`` says on one side."""
        done = self.run(side, "-m", "seppo", "status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else []

    def cut(self):
        """Cut the cable."""
        _ip("-n", self._names["far"], "link", "set", self._cable["far"], "down")

    def mend(self):
        """Mend the cable."""
        _ip("-n", self._names["far"], "link", "set", self._cable["far"], "up")

    def disturb(self, *how):
        """Delay or lose packets, as ``tc netem`` says it; skips where that is not to be had."""
        for side, name in self._names.items():
            done = subprocess.run(
                ["tc", "-n", name, "qdisc", "replace", "dev", self._cable[side], "root", "netem",
                 *how],
                capture_output=True,
                text=True,
            )  # fmt: skip
            if done.returncode != 0:
                pytest.skip(f"no netem here: {done.stderr.strip()}")


def available():
    """Whether namespaces can be made at all; without trying."""
    return sys.platform == "linux" and os.geteuid() == 0
