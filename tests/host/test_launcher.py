"""Starting worker processes and learning how each one ended, both ways of doing it.

Forking needs a process without threads, so the launcher runs in one of its own.
"""

from __future__ import annotations

import sys
import threading

import pytest
from processes import Process, is_running, wait_until

from seppo.host.launcher import ForkLauncher, SpawnLauncher, launcher
from seppo.worker.process import run_worker

SCRIPT = """
import json, os, select, signal, sys, threading, time
import seppo.host.launcher as module
from seppo.host.launcher import Ended, Started
from seppo.wire.config import WorkerConfig
from seppo.worker.process import run_worker

{before}
if {kind!r} == "ForkLauncher":
    launcher = module.ForkLauncher(run_worker, {preload!r}, 1)
else:
    launcher = module.SpawnLauncher()
pids = {{}}
ended = {{}}

def config(number):
    return WorkerConfig(name=f"w{{number}}", group="g", host="127.0.0.1",
        supervisor="seppo.h", threads=1, ns_host="127.0.0.1", ns_port=1)

def hear(until, seconds=20):
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, (pids, ended)
        select.select([launcher], [], [], 0.1)
        for item in launcher.news():
            if isinstance(item, Started):
                pids[item.number] = item.pid
            elif isinstance(item, Ended):
                ended[item.number] = item.status

def start(number, mark=None):
    line = launcher.start(number, config(number), mark)
    line.settimeout(20)
    assert json.loads(line.recv(100)) == {{"ready": True}}
    hear(lambda: number in pids)
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


forks = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


def run(kind: str, body: str, preload: tuple[str, ...] = (), before: str = "") -> str:
    process = Process("-c", script(kind, body, preload, before))
    try:
        status = process.wait(60)
    finally:
        process.stop()
    assert status == 0, process.output
    assert "done" in process.output
    return process.output


def script(kind: str, body: str, preload: tuple[str, ...] = (), before: str = "") -> str:
    return SCRIPT.format(kind=kind, body=body, preload=preload, before=before)


@kinds
def test_it_tells_of_every_start_and_end(kind):
    run(
        kind,
        """
lines = [start(number) for number in range(3)]
assert len(set(pids.values())) == 3
launcher.kill(0)
os.kill(pids[1], signal.SIGTERM)
lines[2].close()  # a worker ends with its line
hear(lambda: len(ended) == 3)
assert ended == {0: -9, 1: -15, 2: 0}, ended
line = start(3)
assert 3 not in ended
launcher.close()
""",
    )


@kinds
def test_a_worker_that_is_leased_and_told_to_end_at_once_ends(kind):
    """As when a client leaves in the moment in which a lost process is replaced."""
    run(
        kind,
        """
line = start(0)
os.kill(pids[0], signal.SIGSTOP)
line.send(b'{"lease": {"token": "abc", "host": "127.0.0.1"}}\\n')
line.send(b'{"end": true}\\n')
os.kill(pids[0], signal.SIGCONT)
hear(lambda: ended)
assert ended == {0: 0}, ended
launcher.close()
""",
    )


@kinds
def test_a_worker_gets_the_memory_of_its_mark(kind):
    run(
        kind,
        """
from seppo.wire.lastgasp import LastGasp
memory = LastGasp()
line = start(0, memory.fd)
memory.close()
with open(f"/proc/{pids[0]}/maps") as maps:
    assert "seppo-mark" in maps.read()
assert not memory.has_begun
launcher.close()
""",
    )


@kinds
def test_each_worker_leads_a_session_of_its_own(kind):
    """So that what user code does to its process group reaches nobody else."""
    run(
        kind,
        """
lines = [start(number) for number in range(2)]
sessions = {os.getsid(pid) for pid in pids.values()}
assert len(sessions | {os.getsid(0)}) == 3
assert {os.getpgid(pid) for pid in pids.values()} == sessions
launcher.close()
""",
    )


@forks
def test_what_is_preloaded_is_there_in_every_worker():
    run(
        "ForkLauncher",
        """
for number in range(2):
    line = start(number)
    with open(f"/proc/{pids[number]}/maps") as maps:
        assert "_decimal" in maps.read()  # the library that the module consists of
launcher.close()
""",
        preload=("decimal",),
        before="assert 'decimal' not in sys.modules",
    )


@forks
def test_libraries_are_limited_to_their_threads_before_they_are_preloaded(tmp_path):
    (tmp_path / "looks_at_threads.py").write_text(
        "import os\nassert os.environ['OMP_NUM_THREADS'] == '1', os.environ\n"
    )
    run(
        "ForkLauncher",
        "line = start(0)\nlauncher.close()",
        preload=("looks_at_threads",),
        before=f"sys.path.insert(0, {str(tmp_path)!r})",
    )


@forks
def test_threads_of_what_is_preloaded_are_told(tmp_path):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), name='beats', daemon=True).start()\n"
    )
    output = run(
        "ForkLauncher",
        "line = start(0)\nlauncher.close()",
        preload=("starts_a_thread",),
        before=f"sys.path.insert(0, {str(tmp_path)!r})",
    )
    assert "have started threads (beats)" in output


@forks
def test_what_cannot_be_preloaded_is_told_and_nothing_starts():
    run(
        "ForkLauncher",
        """
try:
    hear(lambda: False)
except EOFError as error:
    assert "'no_such_module' cannot be preloaded" in str(error), error
else:
    raise AssertionError("nothing was told")
launcher.start(0, config(0)).close()  # no harm
launcher.close()
""",
        preload=("no_such_module",),
    )


@kinds
def test_closing_kills_what_still_runs(kind):
    output = run(
        kind,
        """
lines = [start(number) for number in range(2)]
print("pids", *pids.values())
launcher.close()
""",
    )
    pids = next(line.split()[1:] for line in output.splitlines() if line.startswith("pids"))
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids))


@forks
def test_closing_with_unheard_news_is_quiet():
    output = run(
        "ForkLauncher",
        """
lines = [start(number) for number in range(2)]
launcher.kill(0)
assert lines[0].recv(100) == b""
select.select([launcher], [], [], 20)
launcher.close()
""",
    )
    assert "Traceback" not in output


@kinds
def test_killing_the_process_that_launches_leaves_no_orphan(kind):
    body = """
lines = [start(number) for number in range(2)]
print("pids", *pids.values(), flush=True)
signal.pause()
"""
    with Process("-c", script(kind, body)) as process:
        wait_until(lambda: process.output.endswith("\n"))
        pids = [int(pid) for pid in process.output.split()[1:]]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        process.kill()
        wait_until(lambda: not any(map(is_running, pids)))


@forks
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
launcher.kill(0)  # no harm
launcher.close()
""",
    )


PARENT = """
def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
"""


@forks
def test_the_parent_of_a_worker_is_nobody_elses():
    run(
        "ForkLauncher",
        PARENT
        + """
lines = [start(number) for number in range(3)]
assert len({parent(pid) for pid in pids.values()}) == 3
os.kill(parent(pids[0]), signal.SIGKILL)
os.kill(parent(pids[1]), signal.SIGSTOP)
os.kill(pids[1], signal.SIGTERM)
hear(lambda: 0 in ended)
assert lines[0].recv(100) == b""  # the worker is gone with it
launcher.kill(1)
hear(lambda: len(ended) == 2)
assert ended == {0: -9, 1: -9}, ended
start(3)
launcher.close()
""",
    )


@forks
def test_what_a_worker_sends_to_its_group_is_told_as_its_own_end():
    run(
        "ForkLauncher",
        """
line = start(0)
os.killpg(os.getpgid(pids[0]), signal.SIGTERM)
hear(lambda: ended)
assert ended == {0: -15}, ended
launcher.close()
""",
    )


@forks
def test_closing_does_not_wait_for_a_helper_that_is_stopped():
    output = run(
        "ForkLauncher",
        """
module.CLOSING = 0.2
lines = [start(number) for number in range(2)]
print("pids", *pids.values())
os.kill(launcher._helper, signal.SIGSTOP)
launcher.close()
""",
    )
    pids = next(line.split()[1:] for line in output.splitlines() if line.startswith("pids"))
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids))


@forks
def test_asking_a_helper_that_is_stopped_never_waits():
    run(
        "ForkLauncher",
        """
module.CLOSING = 0.2
line = start(0)
os.kill(launcher._helper, signal.SIGSTOP)
faulthandler.dump_traceback_later(20, exit=True)
for _ in range(1000):
    launcher.kill(0)
started = []
try:
    while True:
        number = 1 + len(started)
        started.append(launcher.start(number, config(number)))
except OSError:
    assert len(started) > 10, started
launcher.kill(1)
faulthandler.cancel_dump_traceback_later()
launcher.close()
""",
        before="import faulthandler",
    )


@forks
def test_a_worker_that_has_ended_is_not_killed_again():
    run(
        "ForkLauncher",
        """
line = start(0)
launcher.kill(7)
launcher.kill(0)
hear(lambda: ended)
launcher.kill(0)
line = start(1)  # the helper is well
launcher.close()
""",
    )


def test_a_process_with_threads_does_not_fork_and_says_so(caplog):
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="of-the-script")
    thread.start()
    try:
        made = launcher(run_worker)
        assert isinstance(made, SpawnLauncher)
        made.close()
        if sys.platform == "linux":
            assert "of-the-script" in caplog.text
    finally:
        release.set()
        thread.join(10)


@forks
def test_a_process_without_threads_forks():
    code = (
        "from seppo.host.launcher import *; x = launcher(print); print(type(x).__name__); x.close()"
    )
    with Process("-c", code) as process:
        assert process.wait() == 0
        assert process.output.strip() == ForkLauncher.__name__
