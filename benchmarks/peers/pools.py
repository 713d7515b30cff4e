"""Pools on one machine from outside the standard library: joblib and mpire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.functions import square
from benchmarks.peers.base import Peer, PlainPicklePeer


class Joblib(Peer):
    """joblib with loky's processes."""

    name = "joblib"
    title = "joblib"
    package = module = "joblib"
    note = "loky, automatic batches; maps big arrays of arguments into files"
    is_lazy = True

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        self.n_workers = n_workers
        self.map(square, range(10 * n_workers), 1)

    def close(self) -> None:
        """See ``Peer``."""
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        from joblib import Parallel, delayed

        call = delayed(func)
        return list(Parallel(n_jobs=self.n_workers)(call(item) for item in items))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        from joblib import Parallel, delayed

        call = delayed(func)
        parallel = Parallel(n_jobs=self.n_workers, return_as="generator")
        return parallel(call(item) for item in items)


class Mpire(PlainPicklePeer):
    """mpire's pool, kept alive between maps."""

    name = "mpire"
    title = "mpire"
    package = module = "mpire"
    note = "keep_alive, default chunks"
    is_lazy = True

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        from mpire import WorkerPool

        self.pool = WorkerPool(n_jobs=n_workers, keep_alive=True)
        self.pool.map(square, range(10 * n_workers))

    def close(self) -> None:
        """See ``Peer``."""
        self.pool.terminate()

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.pool.map(func, items))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``; mpire wants to know the length."""
        return self.pool.imap(func, items, iterable_len=count)

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self.pool.apply_async(func, (argument,))

    def gather(self, futures: list[Any]) -> list[Any]:
        """See ``Peer``."""
        return [future.get() for future in futures]
