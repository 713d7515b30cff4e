"""What is measured."""

from __future__ import annotations

from benchmarks.workloads.base import Workload
from benchmarks.workloads.bulk import Arrays, Bandwidth, Closure
from benchmarks.workloads.maps import HeavyTail, Millisecond, Tiny
from benchmarks.workloads.single import Latency, Lazy, Startup, Submits

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Tiny(), Millisecond(), HeavyTail(), Arrays(), Closure(),
        Lazy(), Startup(), Latency(), Submits(), Bandwidth(),
    )
}  # fmt: skip

__all__ = ["WORKLOADS", "Workload"]
