"""The libraries that are compared."""

from __future__ import annotations

from benchmarks.peers.base import NotOffered, Peer
from benchmarks.peers.clusters import Dask, Ipyparallel, Ray
from benchmarks.peers.messages import Execnet, Mpi, Raw
from benchmarks.peers.ours import Seppo
from benchmarks.peers.pools import Joblib, Mpire
from benchmarks.peers.standard import Executor, PoolImap, PoolMap, Serial

PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        Seppo, Serial, PoolMap, PoolImap, Executor, Joblib, Mpire,
        Execnet, Dask, Ray, Ipyparallel, Mpi, Raw,
    )
}  # fmt: skip

__all__ = ["PEERS", "NotOffered", "Peer"]
