"""Message passing: execnet with a loop of our own, mpi4py with its executor."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from queue import Queue
from typing import Any

from benchmarks.functions import square
from benchmarks.peers.base import CHILD, NotOffered, Peer, PlainPicklePeer

IN_FLIGHT = 2  # chunks at each execnet worker, so that it never waits
PATIENCE = 60.0  # seconds without any answer from execnet

# What an execnet worker runs. execnet itself sends only builtin types, hence the pickles.
SERVE = """
import pickle
func = None
for kind, number, body in channel:
    if kind == "function":
        func = pickle.loads(body)
    else:
        channel.send((number, pickle.dumps([func(item) for item in pickle.loads(body)], 5)))
"""


class Execnet(PlainPicklePeer):
    """execnet has channels but no map: this is the loop a user would write."""

    name = "execnet"
    title = "execnet"
    package = module = "execnet"
    note = "hand-written loop, 2 chunks in flight a worker, chunks as stated for the workload"
    is_lazy = True

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        import execnet

        self.group = execnet.Group()
        self.answers: Queue[tuple[Any, tuple[int, bytes]]] = Queue()
        self.channels = []
        for _ in range(n_workers):
            gateway = self.group.makegateway(f"popen//python={sys.executable}")
            channel = gateway.remote_exec(SERVE)
            channel.setcallback(partial(self._answered, channel))
            self.channels.append(channel)
        self.func: Any = None
        self.submitted = 0
        self.map(square, range(10 * n_workers), 1)

    def _answered(self, channel: Any, answer: tuple[int, bytes]) -> None:
        self.answers.put((channel, answer))

    def close(self) -> None:
        """See ``Peer``."""
        self.group.terminate(timeout=5)

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.stream(func, items, len(items), chunk))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterator[Any]:
        """See ``Peer``."""
        self._send_function(func)
        rest = iter(items)
        chunks = enumerate(iter(lambda: list(islice(rest, chunk)), []))
        waiting: dict[int, list[Any]] = {}
        head = open_chunks = 0

        def send_next(channel: Any) -> int:
            for number, part in islice(chunks, 1):
                channel.send(("chunk", number, pickle.dumps(part, 5)))
                return 1
            return 0

        for channel in self.channels * IN_FLIGHT:
            open_chunks += send_next(channel)
        while open_chunks:
            channel, (number, body) = self.answers.get(timeout=PATIENCE)
            open_chunks += send_next(channel) - 1
            waiting[number] = pickle.loads(body)
            while head in waiting:
                yield from waiting.pop(head)
                head += 1

    def _send_function(self, func: Callable[..., Any]) -> None:
        if func is self.func:
            return
        body = pickle.dumps(func, 5)
        for channel in self.channels:
            channel.send(("function", 0, body))
        self.func = func

    def submit(self, func: Callable[..., Any], argument: Any) -> int:
        """Return the number under which the answer comes."""
        self._send_function(func)
        number = self.submitted
        self.submitted += 1
        channel = self.channels[number % len(self.channels)]
        channel.send(("chunk", number, pickle.dumps([argument], 5)))
        return number

    def gather(self, futures: list[int]) -> list[Any]:
        """See ``Peer``."""
        got = {}
        for _ in futures:
            _, (number, body) = self.answers.get(timeout=PATIENCE)
            got[number] = pickle.loads(body)[0]
        return [got[number] for number in futures]


class Mpi(PlainPicklePeer):
    """mpi4py's executor, on processes that mpiexec starts."""

    name = "mpi4py"
    title = "mpi4py"
    package = module = "mpi4py"
    note = "MPIPoolExecutor, chunksize as stated for the workload"

    @classmethod
    def command(cls, n_workers: int) -> list[str]:
        """See ``Peer``: the child is rank 0, the workers are the other ranks."""
        # pip installs it beside Python, also where that is not on the path.
        beside = os.path.dirname(sys.executable)
        mpiexec = shutil.which("mpiexec") or shutil.which("mpiexec", path=beside)
        if mpiexec is None:
            raise NotOffered("mpiexec is not installed")
        ranks = ["-n", str(n_workers + 1)]
        return [
            mpiexec, *ranks, sys.executable, "-m", "mpi4py.futures",
            "-m", CHILD, cls.name, str(n_workers),
        ]  # fmt: skip

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        from mpi4py.futures import MPIPoolExecutor

        self.pool = MPIPoolExecutor(n_workers)
        self.map(square, range(10 * n_workers), 1)

    def close(self) -> None:
        """See ``Peer``."""
        self.pool.shutdown()

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.stream(func, items, len(items), chunk))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        return self.pool.map(func, items, chunksize=chunk)

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self.pool.submit(func, argument)


class Raw(Peer):
    """Plain sockets: not a way to run anything, the measure for what moves data."""

    name = "raw"
    title = "raw socket"
    note = "sendall and recv_into over loopback; no pickling, no work"

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        from benchmarks.loopback import Receivers

        self.receivers = Receivers("raw", n_workers)

    def close(self) -> None:
        """See ``Peer``."""
        self.receivers.close()

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        raise NotOffered("a measure, not a map")
