"""``python -m benchmarks.soak --minutes 10``: exit code 0 if nothing was wrong or grew."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import warnings

from benchmarks.soak.chaos import Chaos
from benchmarks.soak.site import Site
from benchmarks.soak.watch import Holdings, shared_memory
from benchmarks.soak.work import Work
from seppo.wire.buffers import POOL_BYTES

WARM = 0.2  # of the time, after which holdings are counted for the first time
TELL = 30.0  # seconds between two lines
# MB; the interpreter with numpy, and what is kept for receiving from three workers. How soon
# that fills up is chance: arrays that are dropped late make it grow.
USUAL = 60 + 3 * POOL_BYTES / 1e6


def main(arguments: list[str] | None = None) -> int:
    """Run maps among misfortunes, and tell what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="of the random choices")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else time.time_ns() % 1_000_000
    print(f"seed {seed}, {options.minutes:g} minutes", flush=True)
    warnings.simplefilter("ignore", RuntimeWarning)  # a map that finds nobody runs here: fine
    with Site() as site:
        site.start_supervisor("steady", 2)
        os.environ.update(site.environ)
        complaints = _soak(site, seed, 60 * options.minutes)
    for complaint in complaints:
        print(f"FAILED: {complaint}")
    print("all results right, nothing grew" if not complaints else f"{len(complaints)} failures")
    return 1 if complaints else 0


def _soak(site: Site, seed: int, seconds: float) -> list[str]:
    work, chaos = Work(seed), Chaos(site, seed)
    steady = site.supervisors["steady"].pid
    before: tuple[Holdings, Holdings, int] | None = None
    began = told = time.monotonic()
    with chaos:
        while (now := time.monotonic()) < began + seconds and not work.wrong and not chaos.error:
            work.one()
            if before is None and now > began + WARM * seconds:
                before = _count(steady)
            if now > told + TELL:
                told = now
                _tell(now - began, work, chaos, steady)
    if chaos.error:
        return [f"the misfortunes ended with {chaos.error!r}"]
    if work.wrong:
        return work.wrong
    _tell(time.monotonic() - began, work, chaos, steady)
    after = _count(steady)
    assert before is not None
    return [
        *(f"the client's {what}" for what in after[0].growth_since(before[0], USUAL)),
        *(f"the supervisor's {what}" for what in after[1].growth_since(before[1])),
        *(["files in shared memory were left"] if after[2] > before[2] else []),
    ]


def _count(supervisor: int) -> tuple[Holdings, Holdings, int]:
    gc.collect()
    return Holdings.of(os.getpid()), Holdings.of(supervisor), shared_memory()


def _tell(seconds: float, work: Work, chaos: Chaos, supervisor: int) -> None:
    client, host, _ = _count(supervisor)
    print(f"{seconds:6.0f} s  maps {dict(work.counts)}  misfortunes {dict(chaos.counts)}")
    print(f"          client {client}\n          supervisor {host}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
