"""Where bytes count: arrays in and out, a big closure, bandwidth of frames."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from benchmarks import memory
from benchmarks.functions import plus_one
from benchmarks.peers.base import NotOffered, Peer
from benchmarks.results import Aim, Column, Measured, Results, fact_column
from benchmarks.workloads.base import Params, Workload, check

DOUBLES = 1_000_000 // 8  # in one MB


class Arrays(Workload):
    """Big items and big results, consumed one by one where the peer can.

    Of each result some elements are checked; comparing all would cost more than some
    peers need for the whole, so this is done with the few arrays of the warm-up only.
    """

    name = "arrays"
    measures = "{count} arrays of {megabytes} MB in and out, consumed one by one"
    full: ClassVar[Params] = {"count": 100, "megabytes": 4, "chunk": 1}
    quick: ClassVar[Params] = {"count": 30, "megabytes": 4, "chunk": 1}
    columns = (fact_column("peak MB above", "peak_mb", 0),)

    def small(self, params: Params) -> Params:
        """See ``Workload``."""
        return {"count": 8}

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        import numpy as np

        count, size = params["count"], params["megabytes"] * DOUBLES
        arrays = [np.full(size, float(i)) for i in range(count)]
        is_warm_up = round_number < 0
        base = memory.baseline()
        right = 0
        start = time.perf_counter()
        for i, got in enumerate(peer.stream(plus_one, arrays, count, params["chunk"])):
            right += got.shape == (size,) and got[0] == got[size // 2] == got[-1] == i + 1
            if is_warm_up:
                check(np.array_equal(got, arrays[i] + 1), f"array {i}")
        seconds = time.perf_counter() - start
        del got
        peak = memory.peak_above(base)
        check(right == count, "arrays")
        return Measured(seconds, {} if peak is None else {"peak_mb": peak})

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        ratio = results.ratio("seppo", "pool")
        return [
            Aim("time by that of pool", ratio, 0.3),
            Aim("time by that of pool, aiming high", ratio, 0.12),
            Aim("peak of client's memory, MB", results.fact("seppo", "peak_mb"), 150),
        ]


class Closure(Workload):
    """A function that brings much along; other content in each round, so never cached."""

    name = "closure"
    measures = (
        "{count} items, function over {megabytes} MB (chunks of {chunk} where stated by us); "
        "raw socket: one copy to each worker at once"
    )
    full: ClassVar[Params] = {"count": 64, "megabytes": 200, "chunk": 8}
    quick: ClassVar[Params] = {"count": 16, "megabytes": 50, "chunk": 4}
    columns = (
        Column("of raw/worker", lambda r, p: r.ratio(p, "raw")),
        Column("of raw/host", lambda r, p: r.ratio_to_fact(p, "raw", "per_host")),
    )

    def small(self, params: Params) -> Params:
        """See ``Workload``."""
        return {"megabytes": 8}

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        import numpy as np

        size = params["megabytes"] * DOUBLES
        data = np.arange(size, dtype=float)
        data += round_number
        if peer.name == "raw":
            return self._run_raw(peer, memoryview(data).cast("B"))
        items = list(range(0, size, size // params["count"]))[: params["count"]]
        start = time.perf_counter()
        got = peer.map_over(data, items, params["chunk"])
        seconds = time.perf_counter() - start
        check(got == [float(i + round_number) for i in items], "elements")
        return Measured(seconds)

    def _run_raw(self, peer: Any, data: memoryview) -> Measured:
        from benchmarks.loopback import send_copies

        per_host = send_copies(peer.receivers.sockets[:1], data)
        return Measured(send_copies(peer.receivers.sockets, data), {"per_host": per_host})

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        return [
            Aim("time by raw transfer to each worker", results.ratio("seppo", "raw"), 1.5),
            Aim(
                "time by one raw transfer to the host (with shared memory)",
                results.ratio_to_fact("seppo", "raw", "per_host"),
                1.5,
            ),
        ]


def _of_raw(results: Results, peer: str) -> float | None:
    ratio = results.ratio(peer, "raw")
    return 1 / ratio if ratio else None


class Bandwidth(Workload):
    """Frames of the data channel against a plain socket."""

    name = "bandwidth"
    measures = "{count} frames of {block} bytes over loopback to another process"
    full: ClassVar[Params] = {"count": 2000, "block": 1_000_000}
    quick: ClassVar[Params] = {"count": 500, "block": 1_000_000}
    reference = "raw"
    columns = (fact_column("MB/s", "mb_per_s", 0), Column("of raw", _of_raw))

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        from benchmarks import loopback

        block, count = bytes(params["block"]), params["count"]
        if peer.name == "raw":
            # attr-defined: the raw peer alone has receivers.
            connection = peer.receivers.sockets[0]  # type: ignore[attr-defined]
            seconds = loopback.send_blocks(connection, block, count)
        elif peer.name == "seppo":
            seconds = self._run_stream(block, count)
        else:
            raise NotOffered("no frames")
        return Measured(seconds, {"mb_per_s": len(block) * count / seconds / 1e6})

    def _run_stream(self, block: bytes, count: int) -> float:
        from benchmarks.loopback import Receivers, send_frames
        from seppo.wire.stream import Stream

        receivers = Receivers("stream", 1)
        try:
            return send_frames(Stream(receivers.sockets[0]), block, count)
        finally:
            receivers.close()

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        return [Aim("throughput by that of a raw socket", _of_raw(results, "seppo"), 0.7, False)]
