"""Items that come one by one: an endless iterator, submits, the first result of a script."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import starmap, zip_longest
from operator import mul, ne
from statistics import median
from typing import ClassVar

from benchmarks import memory
from benchmarks.functions import square
from benchmarks.peers.base import NotOffered, Peer
from benchmarks.results import Aim, Column, Measured, Results, fact_column
from benchmarks.workloads.base import Params, Workload, check


class Lazy(Workload):
    """An iterator too long to keep: results come while it is read, memory stays flat."""

    name = "lazy"
    measures = "{count:,} items of x*x from a generator (chunks of {chunk} where stated by us)"
    full: ClassVar[Params] = {"count": 1_000_000, "chunk": 1000}
    quick: ClassVar[Params] = {"count": 100_000, "chunk": 1000}
    reference = "imap"
    columns = (
        fact_column("first, ms", "first_ms", 2),
        fact_column("peak MB above", "peak_mb", 1),
        fact_column("us/item", "us_per_item", 2),
    )

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        if not peer.is_lazy:
            raise NotOffered("reads the whole input before it returns")
        count = params["count"]
        base = memory.baseline()
        start = time.perf_counter()
        results = iter(peer.stream(square, _generator(count), count, params["chunk"]))
        first = next(results)
        first_ms = (time.perf_counter() - start) * 1e3
        expected = map(mul, range(1, count), range(1, count))
        n_wrong = sum(starmap(ne, zip_longest(results, expected)))
        seconds = time.perf_counter() - start
        peak = memory.peak_above(base)
        check(first == 0 and n_wrong == 0, f"{n_wrong} squares")
        facts = {"first_ms": first_ms, "us_per_item": seconds / count * 1e6}
        return Measured(seconds, facts if peak is None else {**facts, "peak_mb": peak})

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        return [
            Aim("growth of client's memory, MB", results.fact("seppo", "peak_mb"), 50),
            Aim("first result, ms", results.fact("seppo", "first_ms"), 10),
        ]


def _generator(count: int) -> Iterator[int]:
    yield from range(count)


class Latency(Workload):
    """One call there and back, on warm workers, nothing else under way."""

    name = "latency"
    measures = "one submit of x*x and its result; median of {count}, one after the other"
    full: ClassVar[Params] = {"count": 300}
    quick: ClassVar[Params] = {"count": 100}
    reference = "executor"
    columns = (fact_column("us", "median_us", 0), fact_column("p95 us", "p95_us", 0))

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        times = []
        for i in range(params["count"]):
            start = time.perf_counter()
            (got,) = peer.gather([peer.submit(square, i)])
            times.append(time.perf_counter() - start)
            check(got == i * i, f"square of {i}")
        middle, late = median(times), sorted(times)[int(len(times) * 0.95)]
        return Measured(middle, {"median_us": middle * 1e6, "p95_us": late * 1e6})

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        return [
            Aim("time by that of executor", results.ratio("seppo", "executor"), 1.0),
            Aim("time by that of execnet, aiming high", results.ratio("seppo", "execnet"), 1.0),
        ]


class Submits(Workload):
    """Many small calls at once through the executor's door."""

    name = "submits"
    measures = "{count:,} submits of x*x, then all results"
    full: ClassVar[Params] = {"count": 10_000}
    quick: ClassVar[Params] = {"count": 1000}
    reference = "executor"
    columns = (fact_column("us each", "us_each", 1),)

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        count = params["count"]
        start = time.perf_counter()
        got = peer.gather([peer.submit(square, i) for i in range(count)])
        seconds = time.perf_counter() - start
        check(got == list(map(square, range(count))), "squares")
        return Measured(seconds, {"us_each": seconds / count * 1e6})

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        return [Aim("time by that of executor", results.ratio("seppo", "executor"), 0.5)]


class Startup(Workload):
    """From ``python`` to the first result: seppo on running workers, pools with new ones."""

    name = "startup"
    measures = "python -c script, until it prints its first result; of {count}, the quickest"
    full: ClassVar[Params] = {"count": 3}
    quick: ClassVar[Params] = {"count": 1}
    columns = (
        fact_column("imports s", "imports", 3),
        Column("of imports", lambda r, p: r.ratio_to_fact(p, p, "imports")),
    )
    IMPORTS = "import Pyro5.api, cloudpickle\nprint(flush=True)\n"

    def small(self, params: Params) -> Params:
        """See ``Workload``."""
        return {"count": 1}

    def run(self, peer: Peer, params: Params, round_number: int) -> Measured:
        """See ``Workload``."""
        if not peer.startup:
            raise NotOffered("no script to compare")
        script = peer.startup.replace("{n}", str(params["n_workers"]))
        count = params["count"]
        seconds = min(_until_printed(script) for _ in range(count))
        if peer.name != "seppo":
            return Measured(seconds)
        return Measured(
            seconds, {"imports": min(_until_printed(self.IMPORTS) for _ in range(count))}
        )

    def aims(self, results: Results) -> list[Aim]:
        """See ``Workload``."""
        ratio = results.ratio_to_fact("seppo", "seppo", "imports")
        return [Aim("time by importing Pyro5 and cloudpickle ('close to')", ratio, 1.5)]


def _until_printed(script: str) -> float:
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    check(bool(line) and process.returncode == 0, f"a script ended with {process.returncode}")
    return seconds
