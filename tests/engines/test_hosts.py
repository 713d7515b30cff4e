"""What an engine learns of its workers' lives and ends, from real supervisors and real deaths."""

from __future__ import annotations

import itertools
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import deadly
import pytest
import userland
from engine_client import EngineClient
from processes import (
    KEEPING,
    NameServerProcess,
    SupervisorProcess,
    is_running,
    wait_until,
)

from seppo.core.events import (
    RestReturned,
    Verdict,
    WorkerDrains,
    WorkerJoined,
    WorkerLost,
    WorkersJoining,
)
from seppo.values.function import pack_function
from seppo.values.outcome import Failure
from seppo.values.setup import SetupFacts

NUMBERS = itertools.count()
SOON = f"""
import seppo.host.slot as slot, seppo.host.supervisor as supervisor
slot.OVERDUE = slot.ENDING = 0.5
supervisor.WATCH = 0.1
{KEEPING}
"""


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def shared(nameserver):
    """A supervisor of one place, for all tests that leave it as it was."""
    with SupervisorProcess(nameserver, 1, "shared", first=KEEPING) as supervisor:
        yield supervisor


@pytest.fixture
def client(nameserver, shared):
    wait_until(lambda: shared.spares() and not shared.leased(), what="a spare")
    with EngineClient(nameserver) as client:
        yield client


@pytest.fixture
def lab(nameserver):
    """A supervisor for one test, in a group of its own."""
    name = f"lab{next(NUMBERS)}"
    with SupervisorProcess(nameserver, 1, name, group=name, first=SOON) as supervisor:
        yield supervisor


@pytest.mark.parametrize("stage", deadly.STAGES)
@pytest.mark.parametrize("way", deadly.WAYS)
def test_an_item_that_runs_alone_is_blamed_exactly(client, way, stage):
    items = [deadly.item(x, 13, way, stage) for x in range(10, 16)]
    items = [(x, "") for x in range(10)] + items
    client.run(7, deadly.visit, items, first=10, alone=True)
    verdict = client.loss().verdict
    assert verdict == Verdict(deadly.WAYS[way], 7, 13, 14)
    assert client.outcomes(7) == [10, 11, 12]  # told at once, so nothing is lost


# Without garbage: when that is collected, and during which item, nobody knows.
@pytest.mark.parametrize("stage", [stage for stage in deadly.STAGES if stage != "garbage"])
def test_in_a_chunk_the_guilty_item_is_among_those_that_are_suspected(client, stage):
    items = [deadly.item(x, 30, "kill", stage) for x in range(100)]
    client.run(7, deadly.visit, items)
    verdict = client.loss().verdict
    assert (verdict.how, verdict.attempt) == ("SIGKILL", 7)
    assert verdict.first <= 30 < verdict.stop


def test_an_item_that_takes_long_is_blamed_exactly_also_in_a_burst(client, shared):
    client.run(7, lambda x: time.sleep(60) if x == 500 else x, range(1000))
    client.wait(lambda: client.wait_for(RestReturned))
    (pid,) = shared.leased()
    os.kill(pid, signal.SIGKILL)
    assert client.loss().verdict == Verdict("SIGKILL", 7, 500, 501)


def test_a_function_that_cannot_be_loaded_alive_blames_no_item(client):
    bomb = deadly.AtUnpickling("exit")
    client.run(7, lambda x, bomb=bomb: x, range(5))
    assert client.loss().verdict == Verdict("exit code 3", 7, 0, 5, setup="unpickling the function")


def test_an_end_is_no_news_to_others(nameserver, shared, client):
    with EngineClient(nameserver) as other:
        other.run(5, userland.pid_after, [0.01] * 3)
        other.wait(lambda: len(other.outcomes(5)) == 3)
        client.run(7, deadly.visit, [(0, ""), (1, "segfault running")], alone=True)
        assert client.loss().verdict == Verdict("SIGSEGV", 7, 1, 2)
        other.run(6, userland.pid_after, [0.01])
        other.wait(lambda: other.outcomes(6) == other.outcomes(5)[:1])
        assert other.workers != client.workers


def test_a_process_that_has_ended_is_replaced_unasked(client, shared):
    client.wait(lambda: client.last(WorkersJoining) == WorkersJoining(0))
    (pid,) = shared.leased()
    os.kill(pid, signal.SIGKILL)
    client.loss()
    first, second = client.wait_for(WorkerJoined, 2)
    assert first.worker != second.worker
    assert WorkersJoining(1) in client.events
    client.wait(lambda: client.last(WorkersJoining) == WorkersJoining(0))
    client.run(7, abs, [-1], worker=second.worker)
    client.wait(lambda: client.outcomes(7) == [1])


def test_each_world_has_processes_of_its_own(client, shared):
    first = pack_function(userland.pid_after)
    setup = replace(first, setup=SetupFacts(key=b"another"))
    world = client.open(8, setup)
    assert world != client.world
    client.want(1, world)
    client.wait_for(WorkerJoined, 2)
    assert len(shared.leased()) == 2


def test_an_idle_worker_that_is_killed_blames_nobody(client, shared):
    client.run(7, abs, range(10))
    client.wait(lambda: len(client.outcomes(7)) == 10)
    (pid,) = shared.leased()
    os.kill(pid, signal.SIGKILL)
    verdict = client.loss().verdict
    assert (verdict.how, verdict.attempt) == ("SIGKILL", None)


def test_an_item_that_leaves_politely_costs_no_worker(client):
    def leave(x):
        import sys

        sys.exit(x)

    client.run(7, leave, range(3), alone=True)
    client.wait(lambda: len(client.outcomes(7)) == 3)
    assert [type(value) for value in client.outcomes(7)] == [Failure] * 3


def test_a_forked_child_that_holds_the_sockets_hides_nothing(client, tmp_path):
    path = tmp_path / "pid"

    def fork_in_c(path):
        import ctypes
        import os
        import signal
        import time

        pid = ctypes.CDLL(None).fork()  # nothing of Python hears of it
        if pid == 0:
            os.setsid()  # else it would end with the worker
            time.sleep(60)
            os._exit(0)
        while os.getsid(pid) != pid:
            time.sleep(0.01)
        with open(path, "w") as file:
            file.write(str(pid))
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    client.run(7, fork_in_c, [str(path)])
    try:
        assert client.loss().verdict == Verdict("SIGKILL", 7, 0, 1)
        assert is_running(int(path.read_text()))
    finally:
        os.kill(int(path.read_text()), signal.SIGKILL)


def test_a_supervisor_that_is_silent_is_lost_with_its_workers(nameserver, lab):
    with EngineClient(nameserver, group=lab.name, silence=1.0) as client:
        client.run(7, time.sleep, [60])
        lab.kill(signal.SIGSTOP)
        try:
            loss = client.loss()
        finally:
            lab.kill(signal.SIGCONT)
        assert loss.verdict is None
        assert "no sign of life" in loss.reason


def test_pings_keep_a_quiet_connection(nameserver, lab):
    with EngineClient(nameserver, group=lab.name, silence=2.0) as client:
        deadline = time.monotonic() + 4.0  # twice the silence
        client.wait(lambda: time.monotonic() > deadline)
        assert not [event for event in client.events if isinstance(event, WorkerLost)]


def test_a_client_that_was_asleep_reads_before_it_counts_silence(nameserver, lab):
    with EngineClient(nameserver, group=lab.name, silence=1.5) as client:
        time.sleep(3.0)  # is the sleep
        client.run(7, abs, range(3))
        client.wait(lambda: len(client.outcomes(7)) == 3)
        assert not [event for event in client.events if isinstance(event, WorkerLost)]


def test_without_a_supervisor_to_ask_nobody_can_tell(nameserver, lab):
    with EngineClient(nameserver, group=lab.name) as client:
        client.run(7, time.sleep, [60])
        lab.kill(signal.SIGKILL)
        loss = client.loss()
        assert loss.verdict is None


def test_only_the_attempt_that_runs_can_be_killed(nameserver, lab):
    with EngineClient(nameserver, group=lab.name) as client:
        (pid,) = lab.leased()
        client.run(7, time.sleep, [60])
        client.wait(lambda: busy(lab))
        client.end_by_force(6)
        client.end_by_force(7)
        verdict = client.loss().verdict
        assert verdict == Verdict("SIGKILL (its client asked for it)", 7, 0, 1)
        assert not is_running(pid)
    lab.stop()
    assert lab.output.count("is killed") == 1  # for one of the two requests


def freeze(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def busy(supervisor):
    return any(one["busy"] for c in supervisor.info()["clients"] for one in c["processes"])


def test_an_attempt_that_does_not_run_costs_nothing(nameserver, lab):
    with EngineClient(nameserver, group=lab.name) as client:
        (pid,) = lab.leased()
        client.run(7, time.sleep, [0.5])
        client.end_by_force(6)
        client.wait(lambda: client.outcomes(7))
        client.end_by_force(7)
        client.run(8, abs, [-1])
        client.wait(lambda: client.outcomes(8) == [1])
        assert lab.leased() == [pid]
    lab.stop()
    assert "is killed" not in lab.output


def test_a_worker_can_be_killed_once_it_is_frozen(nameserver, lab):
    with EngineClient(nameserver, group=lab.name) as client:
        (pid,) = lab.leased()
        client.run(7, spin, [0])
        client.wait(lambda: busy(lab))
        client.kill(7)
        client.run(8, abs, [-1])
        client.wait_for(RestReturned, 2)  # five seconds later at the latest
        freeze(pid)
        client.kill(7)
        assert client.loss().verdict.attempt == 7
    lab.stop()
    assert lab.output.count("is killed") == 1  # not as long as it used the processor


def spin(_):
    while True:
        pass


def hold_interpreter(path):
    """Sleep in C without letting any other thread run."""
    import ctypes

    with open(path, "a") as file:
        file.write("begun\n")
    ctypes.PyDLL(None).sleep(60)


def begun(path):
    return path.exists() and "begun" in path.read_text()


def test_c_code_over_its_time_limit_is_killed(nameserver, lab, tmp_path):
    with EngineClient(nameserver, group=lab.name) as client:
        path = tmp_path / "begun"
        client.run(7, hold_interpreter, [str(path)], task_timeout=0.5)
        verdict = client.loss().verdict
        assert verdict == Verdict(
            "SIGKILL (an item exceeded its task_timeout)", 7, 0, 1, timed_out=True
        )


def test_c_code_that_nobody_wants_any_more_is_killed(nameserver, lab, tmp_path, monkeypatch):
    monkeypatch.setattr("seppo.engines.hosts.STUCK", 0.5)
    with EngineClient(nameserver, group=lab.name) as client:
        path = tmp_path / "begun"
        client.run(7, hold_interpreter, [str(path)])
        client.wait(lambda: begun(path))
        client.cancel(7)
        assert client.loss().verdict.how == "SIGKILL (its client asked for it)"


def test_c_code_of_a_client_that_is_gone_is_killed(nameserver, lab, tmp_path):
    path = tmp_path / "begun"
    with EngineClient(nameserver, group=lab.name) as client:
        (pid,) = lab.leased()
        client.run(7, hold_interpreter, [str(path)])
        client.wait(lambda: begun(path))
    wait_until(lambda: not is_running(pid), "its end")


def test_a_client_that_leaves_costs_others_nothing(nameserver, lab):
    with EngineClient(nameserver, group=lab.name) as other:
        (pid,) = lab.leased()
        with EngineClient(nameserver, group=lab.name) as client:
            client.run(7, time.sleep, [60] * 3)
            client.wait(lambda: busy(lab))
            assert len(lab.leased()) == 2
        wait_until(lambda: lab.leased() == [pid], what="the end of the client's process")
        other.run(5, abs, [-1, -2])
        other.wait(lambda: other.outcomes(5) == [1, 2])


def test_draining_workers_say_so_and_lose_nothing(nameserver, lab, tmp_path):
    path = tmp_path / "go on"
    with EngineClient(nameserver, group=lab.name) as client:
        client.run(7, userland.pid_once, [str(path)] * 5)
        (pid,) = lab.leased()
        client.wait(lambda: busy(lab))
        client.run(8, abs, range(3))
        lab.kill(signal.SIGTERM)
        assert client.wait_for(WorkerDrains)[0].worker == client.workers[0]
        client.wait_for(RestReturned, 2)
        path.touch()
        loss = client.loss()
        assert loss.verdict == Verdict("exit code 0", None)
        assert client.outcomes(7) == [pid]
        returned = [event for event in client.events if isinstance(event, RestReturned)]
        assert returned == [RestReturned(7, 1), RestReturned(8, 0)]
    assert lab.wait() == 0


def test_the_second_signal_stops_at_once(nameserver, lab):
    with EngineClient(nameserver, group=lab.name) as client:
        client.run(7, time.sleep, [60])
        client.wait(lambda: busy(lab))
        lab.kill(signal.SIGTERM)
        client.wait_for(WorkerDrains)
        assert not lab.has_ended
        lab.kill(signal.SIGTERM)
        assert client.loss().verdict == Verdict("its supervisor was stopped", None)
        assert lab.wait() == 0


THREADS = "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True)"


@pytest.mark.parametrize("stage", ["unpickling", "running"])
def test_workers_that_are_new_interpreters_are_judged_as_exactly(nameserver, stage):
    first = f"{THREADS}.start()"  # a process with threads does not fork
    name = f"spawned-{stage}"
    with (
        SupervisorProcess(nameserver, 1, name, group=name, first=first),
        EngineClient(nameserver, group=name) as client,
    ):
        items = [deadly.item(x, 2, "segfault", stage) for x in range(5)]
        client.run(7, deadly.visit, items, alone=True)
        assert client.loss().verdict == Verdict("SIGSEGV", 7, 2, 3)


def test_workers_that_are_new_interpreters_drain(nameserver, tmp_path):
    path = tmp_path / "go on"
    first = f"{THREADS}.start()"
    with (
        SupervisorProcess(nameserver, 1, "drains", group="drains", first=first) as supervisor,
        EngineClient(nameserver, group="drains") as client,
    ):
        client.run(7, userland.pid_once, [str(path)] * 3)
        (pid,) = supervisor.leased()
        client.wait(lambda: busy(supervisor))
        supervisor.kill(signal.SIGTERM)
        client.wait_for(WorkerDrains)
        client.wait_for(RestReturned)  # it has heard of that, too
        path.touch()
        assert client.loss().verdict == Verdict("exit code 0", None)
        assert client.outcomes(7) == [pid]
        assert supervisor.wait() == 0
