"""What processes of one's own cost: ``python -m benchmarks.leases``.

Each figure is a median, in milliseconds where nothing else is said, taken on a host with two
places that has been up for a while. Every client is a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.soak.site import Site
from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import call
from seppo.trust.credentials import Credentials

ROUNDS = 9
N_MODULES = 300
N_OBJECTS = 20_000

FIRST = """
import json, sys, time
import seppo
seppo.map_parallel_serial  # imports are no part of the cost
times = []
for _ in range(3):
    began = time.perf_counter()
    assert list(seppo.map_parallel(abs, [-1, -2], fallback="error")) == [1, 2]
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""

KILLED = """
import json, os, signal, time
import seppo

def item(x):
    if not os.path.exists("killed_at"):
        open("killed_at", "w").write(repr(time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)
    return time.monotonic() - float(open("killed_at").read())

list(seppo.map_parallel(abs, [1, 2], fallback="error"))
if os.path.exists("killed_at"):
    os.unlink("killed_at")
print(json.dumps(list(seppo.map_parallel(item, [0], fallback="error"))))
"""

BUNDLE = """
import json, sys, time
import seppo
import bench_package.all as everything
times = []
for _ in range(4):
    began = time.perf_counter()
    list(seppo.map_parallel(everything.total, [1, 2, 3], fallback="error"))
    times.append(time.perf_counter() - began)
began = time.perf_counter()
list(seppo.map_parallel(abs, [1, 2, 3], fallback="error"))
print(json.dumps([*times, time.perf_counter() - began]))
"""

SET = """
import json, statistics, time
import seppo
import bench_setting as setting

def median(change):
    times = []
    for i in range(100):
        if change:
            setting.N = i
        began = time.perf_counter()
        found = list(seppo.map_parallel(setting.get, [1, 2], fallback="error"))
        times.append(time.perf_counter() - began)
        assert not change or found == [i, i]
    return statistics.median(times)

list(seppo.map_parallel(setting.get, [1, 2], fallback="error"))
print(json.dumps([median(True) - median(False)]))
"""

OBJECTS = """
import dataclasses, json, multiprocessing, sys, time
import seppo

@dataclasses.dataclass
class Point:
    x: int

def double(point):
    return Point(2 * point.x)

if __name__ == "__main__":
    points = [Point(x) for x in range(int(sys.argv[1]))]
    list(seppo.map_parallel(double, points[:10], fallback="error"))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        found = list(seppo.map_parallel(double, points, fallback="error"))
        times.append(time.perf_counter() - began)
    assert found[-1] == double(points[-1])
    with multiprocessing.Pool(2) as pool:
        pool.map(double, points[:10])
        pools = []
        for _ in range(3):
            began = time.perf_counter()
            pool.map(double, points)
            pools.append(time.perf_counter() - began)
    print(json.dumps([min(times), min(pools)]))
"""


def main() -> int:
    """Measure, print a table, and return the exit code."""
    with Site() as site, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site.start_supervisor("leases", 2)
        first = _rounds(site, folder, FIRST)
        killed = _rounds(site, folder, KILLED)
        (folder / "bench_setting.py").write_text("N = 0\ndef get(_):\n    return N\n")
        setting = _rounds(site, folder, SET)
        _write_modules(folder)
        bundle = _rounds(site, folder, BUNDLE, before=lambda: _edit(folder))
        objects = _rounds(site, folder, OBJECTS, str(N_OBJECTS), rounds=3)
        rows = [
            ("first map of a new client", 1000 * first[0]),
            ("its third map", 1000 * first[2]),
            ("from the end of a process to its successor's first item", 1000 * killed[0]),
            ("what setting a module's global costs the next map", 1000 * setting[0]),
            (f"first map with {N_MODULES} new modules", 1000 * bundle[0]),
            ("the same, unchanged", 1000 * bundle[3]),
            ("a map with none of them", 1000 * bundle[4]),
            (f"{N_OBJECTS} objects of the script", 1000 * objects[0]),
            ("the same by Pool.map, ratio", objects[0] / objects[1]),
            ("memory of a spare's own, MB", _spare_megabytes(site)),
        ]
    for what, value in rows:
        print(f"{value:10.1f}  {what}")
    return 0


def _rounds(
    site: Site, folder: Path, code: str, *arguments: str, rounds: int = ROUNDS, before: Any = None
) -> list[float]:
    """Return the medians of what a client prints, over several clients."""
    script = folder / "script.py"
    script.write_text(code)
    found = []
    for _ in range(rounds):
        if before is not None:
            before()
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            env={**site.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
            cwd=folder, stdout=subprocess.PIPE, text=True, check=True, timeout=120,
        )  # fmt: skip
        found.append(json.loads(done.stdout))
        time.sleep(0.5)  # until the host has its spares again: they are not part of this
    return [statistics.median(column) for column in zip(*found, strict=True)]


def _write_modules(folder: Path) -> None:
    package = folder / "bench_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    names = [f"part{number}" for number in range(N_MODULES)]
    for number, name in enumerate(names):
        body = "\n\n".join(f"def f{i}(x):\n    return x + {i + number}" for i in range(20))
        (package / f"{name}.py").write_text(f"{body}\n")
    imports = "\n".join(f"from bench_package import {name}" for name in names)
    total = " + ".join(f"{name}.f0(x)" for name in names)
    (package / "all.py").write_text(f"{imports}\n\n\ndef total(x):\n    return {total}\n")


def _edit(folder: Path) -> None:
    """Make the package one that the host has not seen."""
    for path in (folder / "bench_package").glob("part*.py"):
        with path.open("a") as file:
            file.write(f"# {time.monotonic_ns()}\n")


def _spare_megabytes(site: Site) -> float:
    """Return what one spare has for itself, by the kernel's books."""
    (entry,) = NameServer(site.settings).find()
    info = call(Credentials(site.settings), entry.address, "info", timeout=5.0)
    own = []
    for pid in info["spares"]:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")))
    return statistics.median(own) / 1024


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
