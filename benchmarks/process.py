"""A peer's child process, seen from the parent: asked with a timeout, ended with all it
started.

Every process that comes from a child inherits a variable of its environment with a
token of this run. So leftovers are found (on Linux) even where they have a session of
their own and another parent, and nothing else is ever touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.base import Peer

TOKEN = "BENCHMARKS_TOKEN"
ROOT = Path(__file__).resolve().parent.parent
CLOSE = 15.0  # seconds that a peer may take to end its workers
LINGER = 3.0  # seconds after its child that a peer's processes may take to end


class ChildError(Exception):
    """The child failed, ended or did not answer in time; it is not usable any more."""


class Child:
    """The child process of one peer.

    Args:
        peer: What it runs.
        n_workers: How many workers it starts.
        directory: For its output and for temporary files.
        token: Marks its processes; must be unique.

    Raises:
        NotOffered: If something is missing on this machine.
    """

    def __init__(self, peer: type[Peer], n_workers: int, directory: Path, token: str) -> None:
        self.peer = peer
        self.token = token
        self.log = directory / f"{peer.name}.log"
        self._lines: queue.Queue[str | None] = queue.Queue()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                peer.command(n_workers),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(directory, token),
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C is for the parent, which ends us in order
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def answer(self, timeout: float) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            ChildError: If none comes in time, or if it tells of an error at the start.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=min(0.5, max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                # Workers may hold the pipe open after the child is gone.
                if self.process.poll() is None and time.monotonic() < deadline:
                    continue
                line = None
            if line is not None:
                answer: dict[str, Any] = json.loads(line)
                return answer
            if self.process.poll() is None and time.monotonic() >= deadline:
                raise ChildError(f"no answer within {timeout:g} s")
            self._wait_for_end()
            raise ChildError(f"its process ended ({self.process.returncode}){self._last_line()}")

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            ChildError: See ``answer``.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # answer() tells why
        return self.answer(timeout)

    def say_goodbye(self) -> None:
        """Ask the child to end, without waiting."""
        assert self.process.stdin is not None
        if self.process.stdin.closed:
            return
        with contextlib.suppress(OSError):  # it may be gone
            self.process.stdin.write('{"quit": true}\n')
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def close(self, is_orderly: bool = True) -> list[str]:
        """End the child with all it started.

        Returns:
            What was left behind and had to be killed, for an orderly end; else nothing.
        """
        left: list[str] = []
        if is_orderly:
            self.say_goodbye()
            try:
                self.process.wait(CLOSE)
            except subprocess.TimeoutExpired:
                left.append("its child process, which did not end in time")
        else:
            self.process.terminate()
            self._wait_for_end()
        deadline = time.monotonic() + (LINGER if is_orderly else 1.0)
        while (marked := marked_processes(self.token)) and time.monotonic() < deadline:
            time.sleep(0.05)
        left += [name for pid, name in marked.items() if pid != self.process.pid]
        while marked:
            for pid in marked:
                _kill(pid)
            time.sleep(0.05)
            marked = marked_processes(self.token)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._close_pipes()
        return left if is_orderly else []

    def _close_pipes(self) -> None:
        self.say_goodbye()
        self._reader.join(1.0)  # at once, unless somebody without our mark holds the pipe
        if not self._reader.is_alive():
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _wait_for_end(self) -> None:
        try:
            self.process.wait(3.0)
        except subprocess.TimeoutExpired:
            pass

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""


def _environment(directory: Path, token: str) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        TOKEN: token,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TMPDIR": str(directory),
        # One thread a worker in numerical libraries, for all peers alike.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Open MPI: more ranks than cores, and root, as in containers.
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


def marked_processes(token: str) -> dict[int, str]:
    """Return the processes that carry the token, as pid to command line (Linux)."""
    mark = f"{TOKEN}={token}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # Zombies have no environment any more: they are not found.
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                found[int(entry.name)] = " ".join(words).strip()[:100]
        except OSError:
            continue  # gone, or not ours
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
