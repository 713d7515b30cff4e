"""The standard library: builtin map, multiprocessing.Pool, ProcessPoolExecutor."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.functions import square
from benchmarks.peers.base import Peer, PlainPicklePeer


class Serial(Peer):
    """Builtin ``map``, in one process."""

    name = "serial"
    title = "builtin map"
    is_lazy = True

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(map(func, items))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        return map(func, items)


class PoolMap(PlainPicklePeer):
    """``multiprocessing.Pool.map`` with its default chunks."""

    name = "pool"
    title = "Pool.map"
    note = "default chunks; submit is apply_async"
    startup = (
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.Pool({n}) as pool:\n"
        "        print(pool.map(abs, [1]), flush=True)\n"
    )

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        self.pool = multiprocessing.Pool(n_workers)
        self.pool.map(square, range(10 * n_workers))

    def close(self) -> None:
        """See ``Peer``."""
        self.pool.terminate()
        self.pool.join()

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return self.pool.map(func, items)

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self.pool.apply_async(func, (argument,))

    def gather(self, futures: list[Any]) -> list[Any]:
        """See ``Peer``."""
        return [future.get() for future in futures]


class PoolImap(PoolMap):
    """``multiprocessing.Pool.imap`` with the chunks of one who measured."""

    name = "imap"
    title = "Pool.imap"
    note = "chunksize as stated for the workload"
    is_lazy = True
    startup = ""

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.pool.imap(func, items, chunk))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        return self.pool.imap(func, items, chunk)

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """Leave this to ``PoolMap``: it is the same pool."""
        return Peer.submit(self, func, argument)


class Executor(PlainPicklePeer):
    """``concurrent.futures.ProcessPoolExecutor``."""

    name = "executor"
    title = "ProcessPoolExecutor"
    note = "map with the chunksize stated for the workload"
    startup = (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor({n}) as pool:\n"
        "        print(list(pool.map(abs, [1])), flush=True)\n"
    )

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        self.pool = ProcessPoolExecutor(n_workers)
        list(self.pool.map(square, range(10 * n_workers)))

    def close(self) -> None:
        """See ``Peer``."""
        self.pool.shutdown(cancel_futures=True)

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
