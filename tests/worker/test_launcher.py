"""Starting worker processes and learning how each one ended, both ways of doing it.

Forking needs a process without threads, so the launcher runs in one of its own.
"""

from __future__ import annotations

import sys
import threading

import pytest
from processes import Process, is_running, wait_until

from seppo.worker.launcher import ForkLauncher, SpawnLauncher, launcher

SCRIPT = """
import json, os, select, signal, sys, threading, time
import seppo.worker.launcher as module
from seppo.worker.launcher import Ended, ForkLauncher, SpawnLauncher, Started
from seppo.worker.process import WorkerConfig

launcher = module.{kind}()
pids = {{}}
ended = {{}}

def config(slot):
    return WorkerConfig(name=f"w{{slot}}", group="g", host="127.0.0.1",
        supervisor="PYRO:x@127.0.0.1:1", threads=1, ns_host="127.0.0.1", ns_port=1)

def hear(until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, (pids, ended)
        select.select([launcher], [], [], 0.1)
        for item in launcher.news():
            if isinstance(item, Started):
                pids[item.slot] = item.pid
            else:
                ended[item.pid] = item.status

def start(slot):
    line = launcher.start(slot, config(slot))
    line.settimeout(20)
    with line.makefile() as lines:
        facts = json.loads(lines.readline())["facts"]
    hear(lambda: slot in pids)
    assert int(facts["pid"]) == pids[slot], (facts, pids)
    return line

{body}
print("done", flush=True)
"""

kinds = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            "ForkLauncher",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only"),
        ),
        "SpawnLauncher",
    ],
)


def run(kind: str, body: str) -> str:
    process = Process("-c", SCRIPT.format(kind=kind, body=body))
    try:
        status = process.wait(60)
    finally:
        process.stop()
    assert status == 0, process.output
    assert "done" in process.output
    return process.output


@kinds
def test_it_tells_of_every_start_and_end(kind):
    run(
        kind,
        """
lines = [start(slot) for slot in range(3)]
assert len(set(pids.values())) == 3
launcher.kill(pids[0], signal.SIGKILL)
launcher.kill(pids[1], signal.SIGTERM)
lines[2].close()  # a worker ends with its line
hear(lambda: len(ended) == 3)
assert ended == {pids[0]: -9, pids[1]: -15, pids[2]: 0}, ended
line = start(3)
assert pids[3] not in ended
launcher.close()
""",
    )


@kinds
def test_a_worker_gets_the_memory_of_its_mark(kind):
    run(
        kind,
        """
from seppo.worker.lastgasp import LastGasp
memories = []
for slot in range(2):
    memories.append(LastGasp())
    line = launcher.start(slot, config(slot), memories[slot].fd)
    memories[slot].close()
    line.settimeout(20)
    with line.makefile() as lines:
        facts = json.loads(lines.readline())["facts"]
    hear(lambda: slot in pids)
    fds = f"/proc/{pids[slot]}/fd"
    held = [os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)]
    assert sum("seppo-mark" in name for name in held) == 1, held
assert not any(memory.has_begun for memory in memories)
launcher.close()
""",
    )


@kinds
def test_closing_kills_what_still_runs(kind):
    output = run(
        kind,
        """
lines = [start(slot) for slot in range(2)]
print("pids", *pids.values())
launcher.close()
""",
    )
    pids = next(line.split()[1:] for line in output.splitlines() if line.startswith("pids"))
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids))


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_closing_with_unheard_news_is_quiet():
    output = run(
        "ForkLauncher",
        """
lines = [start(slot) for slot in range(2)]
launcher.kill(pids[0], signal.SIGKILL)
assert lines[0].recv(100) == b""
select.select([launcher], [], [], 20)
launcher.close()
""",
    )
    assert "Traceback" not in output


@kinds
def test_killing_the_process_that_launches_leaves_no_orphan(kind):
    body = """
lines = [start(slot) for slot in range(2)]
print("pids", *pids.values(), flush=True)
signal.pause()
"""
    with Process("-c", SCRIPT.format(kind=kind, body=body)) as process:
        line = process._process.stdout.readline()
        pids = [int(pid) for pid in line.split()[1:]]
        assert len(pids) == 2, line
        assert all(map(is_running, pids))
        process.kill()
        wait_until(lambda: not any(map(is_running, pids)))


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_the_end_of_the_helper_is_told_and_its_workers_end():
    run(
        "ForkLauncher",
        """
line = start(0)
os.kill(launcher._pid, signal.SIGKILL)
try:
    hear(lambda: False)
except EOFError as error:
    assert "helper" in str(error)
else:
    raise AssertionError("nothing was told")
assert line.recv(100) == b""  # the worker is gone, and its end of the line
launcher.kill(pids[0], signal.SIGTERM)  # no harm
launcher.close()
""",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_a_pid_that_is_no_worker_is_not_killed():
    run(
        "ForkLauncher",
        """
line = start(0)
launcher.kill(os.getpid(), signal.SIGKILL)
launcher.kill(pids[0], signal.SIGKILL)
hear(lambda: ended)
launcher.kill(pids[0], signal.SIGKILL)
line = start(1)  # the helper is well
launcher.close()
""",
    )


def test_a_process_with_threads_does_not_fork():
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        made = launcher()
        assert isinstance(made, SpawnLauncher)
        made.close()
    finally:
        release.set()
        thread.join(10)


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_a_process_without_threads_forks():
    code = "from seppo.worker.launcher import *; x = launcher(); print(type(x).__name__); x.close()"
    with Process("-c", code) as process:
        assert process.wait() == 0
        assert process.output.strip() == ForkLauncher.__name__
