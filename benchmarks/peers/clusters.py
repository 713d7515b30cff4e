"""Systems that reach other machines, here with local workers: dask, Ray, ipyparallel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.functions import pick, square
from benchmarks.peers.base import NotOffered, Peer, PlainPicklePeer


class Dask(Peer):
    """dask.distributed: one task an item, as ``Client.map`` does it."""

    name = "dask"
    title = "dask.distributed"
    package = module = "distributed"
    note = "Client.map, one task an item, processes with 1 thread; big data by scatter"

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        import distributed

        self.client = distributed.Client(
            distributed.LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
                local_directory=tempfile.gettempdir(),
            )
        )
        self.client.wait_for_workers(n_workers)
        self.map(square, range(10 * n_workers), 1)

    def close(self) -> None:
        """See ``Peer``."""
        cluster = self.client.cluster
        self.client.close()
        cluster.close()

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.client.gather(self.client.map(func, items, pure=False)))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        futures = self.client.map(func, list(items), pure=False)[::-1]
        while futures:
            yield futures.pop().result()

    def map_over(self, data: Any, items: Sequence[int], chunk: int) -> list[float]:
        """See ``Peer``; a closure of this size makes dask recommend ``scatter``."""
        future = self.client.scatter(data, broadcast=True, hash=False)
        return list(self.client.gather(self.client.map(pick, items, data=future, pure=False)))

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self.client.submit(func, argument, pure=False)

    def gather(self, futures: list[Any]) -> list[Any]:
        """See ``Peer``."""
        return list(self.client.gather(futures))


class Ray(Peer):
    """Ray: one task an item."""

    name = "ray"
    title = "Ray"
    package = module = "ray"
    note = "one task an item; big data by ray.put"

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.ray = ray
        self.remotes: dict[Any, Any] = {}
        ray.init(
            "local",  # never one that happens to run here
            num_cpus=n_workers,
            include_dashboard=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=2 << 30,
            _temp_dir=tempfile.gettempdir(),
        )
        self.map(square, range(10 * n_workers), 1)

    def close(self) -> None:
        """See ``Peer``."""
        self.ray.shutdown()

    def _remote(self, func: Callable[..., Any]) -> Any:
        if func not in self.remotes:
            self.remotes[func] = self.ray.remote(func)
        return self.remotes[func].remote

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        call = self._remote(func)
        return list(self.ray.get([call(item) for item in items]))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``."""
        call = self._remote(func)
        references = [call(item) for item in items][::-1]
        while references:
            yield self.ray.get(references.pop())

    def map_over(self, data: Any, items: Sequence[int], chunk: int) -> list[float]:
        """See ``Peer``; Ray refuses functions of this size, ``put`` is its way."""
        call, reference = self._remote(pick), self.ray.put(data)
        return list(self.ray.get([call(item, reference) for item in items]))

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self._remote(func)(argument)

    def gather(self, futures: list[Any]) -> list[Any]:
        """See ``Peer``."""
        return list(self.ray.get(futures))


class Ipyparallel(PlainPicklePeer):
    """ipyparallel: a controller and engines, load-balanced.

    Its canning takes closures over arrays apart and then fails to pickle them
    ("cannot pickle memoryview objects", 9.2), so that data come with ``partial``.
    """

    name = "ipyparallel"
    title = "ipyparallel"
    package = module = "ipyparallel"
    note = "load-balanced view, chunksize as stated for the workload"
    is_lazy = True

    def start(self, n_workers: int) -> None:
        """See ``Peer``."""
        os.environ["IPYTHONDIR"] = tempfile.mkdtemp(prefix="ipython")
        import ipyparallel

        self.cluster = ipyparallel.Cluster(
            n=n_workers, controller_ip="127.0.0.1", location="127.0.0.1", log_level=40
        )
        self.client = self.cluster.start_and_connect_sync()
        self.client.wait_for_engines(n_workers, timeout=60)
        self.view = self.client.load_balanced_view()
        self.map(square, range(10 * n_workers), 1)

    def close(self) -> None:
        """See ``Peer``."""
        self.client.close()
        self.cluster.stop_cluster_sync()

    def map(self, func: Callable[[Any], Any], items: Sequence[Any], chunk: int) -> list[Any]:
        """See ``Peer``."""
        return list(self.view.map_sync(func, items, chunksize=chunk))

    def stream(
        self, func: Callable[[Any], Any], items: Iterable[Any], count: int, chunk: int
    ) -> Iterable[Any]:
        """See ``Peer``; ``imap`` has no chunks, so only few big items go that way."""
        if chunk > 1:
            raise NotOffered("imap without chunks takes minutes")
        return self.view.imap(func, items, ordered=True)

    def submit(self, func: Callable[..., Any], argument: Any) -> Any:
        """See ``Peer``."""
        return self.view.apply_async(func, argument)

    def gather(self, futures: list[Any]) -> list[Any]:
        """See ``Peer``."""
        return [future.get() for future in futures]
