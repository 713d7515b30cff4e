"""A supervisor and its processes for real: leases, ends, and what its clients are told."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import deadly
import pytest
from lessee import LeasedWorker, Lessee
from processes import (
    CREDENTIALS,
    NameServerProcess,
    SupervisorProcess,
    is_running,
    parent_of,
    wait_until,
)

from seppo.errors import SecurityError
from seppo.host.helper import QUICK_ENDS
from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import call
from seppo.settings import Settings
from seppo.wire.address import Address
from seppo.wire.codec import to_parts
from seppo.wire.messages import (
    Attach,
    Chunk,
    Draining,
    Hello,
    Kill,
    Leased,
    Ping,
    Pong,
    Returned,
    Waiting,
    Want,
    Welcome,
    WorkerEnded,
)
from seppo.wire.stream import Stream

SOON = "import seppo.host.slot as s, seppo.host.tenants as t\n"
SOON += "s.OVERDUE = s.ENDING = t.TELL_WAITING = 0.5\n"
SOON += "import seppo.host.supervisor as v; v.WATCH = 0.1\n"


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def shared():
    """A supervisor of one place, for all tests that leave it as it was."""
    with SupervisorProcess(None, 1, "shared", first=SOON) as supervisor:
        yield supervisor


@pytest.fixture
def client(shared):
    with Lessee(shared) as client:
        yield client
    wait_until(lambda: not shared.leased(), what="the client's processes end")


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # a worker of a supervisor that the test has started


# --- its life


def test_a_host_has_one_entry_with_its_facts(nameserver):
    with SupervisorProcess(nameserver, 2, "facts", group="lab") as supervisor:
        (entry,) = NameServer(Settings(ns_port=nameserver.port)).find("lab")
        assert {entry.name} == supervisor.registered()
        assert entry.speaks_our_protocol
        assert entry.address == supervisor.address
        assert entry.facts["places"] == "2"
        assert entry.facts["key"] == CREDENTIALS.key.fingerprint
        info = supervisor.info()
        assert info["pid"] == supervisor.pid == int(entry.facts["pid"])
        assert (info["supervisor"], info["group"]) == (entry.name, "lab")
        assert call(CREDENTIALS, supervisor.address, "ping", timeout=5.0) == "pong"
        assert call(CREDENTIALS, supervisor.address, "health", timeout=5.0)["nameserver"] == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_and_leaves_the_name_server_clean(nameserver, number):
    with SupervisorProcess(nameserver, 1, "signal") as supervisor, Lessee(supervisor) as client:
        (worker,) = client.lease()
        wait_until(supervisor.spares)
        pids = [worker.pid, *supervisor.spares()]
        supervisor.kill(number)
        client.wait_for(WorkerEnded)
        worker.close()
        assert supervisor.wait() == 0
        assert not any(map(is_running, pids))
        assert supervisor.registered() == set()


def test_a_spare_that_was_killed_is_replaced(shared):
    (pid,) = shared.spares()
    killed(pid)
    wait_until(lambda: shared.spares() not in ([], [pid]), seconds=5)


def test_killing_the_supervisor_leaves_no_orphan():
    with SupervisorProcess(None, 1, "orphan") as supervisor, Lessee(supervisor) as client:
        (worker,) = client.lease()
        worker.run(1, time.sleep, [60])
        wait_until(supervisor.spares)
        pids = [worker.pid, *supervisor.spares()]
        if sys.platform == "linux":
            pids += [parent_of(pid) for pid in pids]  # guardians
            pids.append(parent_of(pids[-1]))  # the helper
            pids.append(parent_of(pids[-1]))  # its keeper
            assert parent_of(pids[-1]) == supervisor.pid
        supervisor.kill(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, pids)), seconds=5)


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_helper_that_is_killed_or_stopped_is_replaced(number):
    soon = "import seppo.host.silence as s; s.SILENCE = s.DOUBT = 0.5\n"
    with (
        SupervisorProcess(None, 1, "helper", first=soon, preload=["decimal"]) as supervisor,
        Lessee(supervisor) as client,
    ):
        (worker,) = client.lease()
        worker.run(1, time.sleep, [60])
        wait_until(supervisor.spares)
        (spare,) = supervisor.spares()
        helper = parent_of(parent_of(spare))
        keeper = parent_of(helper)
        os.kill(helper, number)
        if number == signal.SIGSTOP:
            killed(spare)  # so that another one is wanted
        ended = client.ended(worker)
        assert "helper process" in ended.how
        assert ended.attempt == 0  # no item is to be blamed
        wait_until(lambda: not any(map(is_running, (helper, worker.pid))))
        (successor,) = client.attach()
        successor.run(2, lambda _: "_decimal" in sys.modules, [0])
        assert successor.outcomes(2, 1) == [True]
        assert parent_of(parent_of(parent_of(successor.pid))) == keeper
        assert "the helper process that forks workers is replaced: SIGKILL" in supervisor.output


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_helpers_that_end_again_and_again_end_the_supervisor_with_a_reason(nameserver):
    with SupervisorProcess(nameserver, 1, "helper") as supervisor:
        for _ in range(QUICK_ENDS):
            wait_until(supervisor.spares)
            (pid,) = supervisor.spares()
            killed(parent_of(parent_of(pid)))
            wait_until(lambda pid=pid: not is_running(pid))
        assert supervisor.wait(10) != 0
        assert "helper process" in supervisor.output
        assert not is_running(pid)
        assert supervisor.registered() == set()


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_a_keeper_that_is_stopped_with_its_helper_ends_the_supervisor_with_a_reason():
    soon = "import seppo.host.silence as s, seppo.host.launcher as l\n"
    soon += "s.SILENCE = s.DOUBT = l.CLOSING = 0.5\n"
    with SupervisorProcess(None, 1, "stopped", first=soon) as supervisor:
        (pid,) = supervisor.spares()
        helper = parent_of(parent_of(pid))
        os.kill(parent_of(helper), signal.SIGSTOP)
        os.kill(helper, signal.SIGSTOP)
        killed(pid)
        assert supervisor.wait(10) != 0
        assert "does not answer" in supervisor.output
        wait_until(lambda: not is_running(helper))


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")
def test_a_helper_that_is_stopped_does_not_outlive_a_supervisor_that_is_killed():
    soon = "import seppo.host.helper as h\nh.LAST_WORDS = 1\n"
    with SupervisorProcess(None, 1, "killed", first=soon) as supervisor:
        (pid,) = supervisor.spares()
        helper = parent_of(parent_of(pid))
        family = [pid, parent_of(pid), helper, parent_of(helper)]
        os.kill(helper, signal.SIGSTOP)
        supervisor.kill()
        wait_until(lambda: not any(map(is_running, family)), "the end of all")


CRASHING = """
import seppo.worker.process, sys
def crash(*_):
    sys.exit(7)
seppo.worker.process.run_worker = crash
"""


def test_processes_that_die_at_birth_end_the_supervisor_with_a_reason():
    with SupervisorProcess(None, 1, "stillborn", first=CRASHING, wait=False) as supervisor:
        assert supervisor.wait(20) != 0
    assert "died before they were ready" in supervisor.output
    assert "exit code 7" in supervisor.output


def test_what_cannot_be_preloaded_ends_the_supervisor_with_a_reason():
    with SupervisorProcess(None, 1, wait=False, preload=("no_such_module",)) as supervisor:
        assert supervisor.wait(20) != 0
    assert "'no_such_module' cannot be preloaded" in supervisor.output


THREADS = """
import threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""


@pytest.mark.parametrize("stage", ["unpickling", "running"])
def test_a_supervisor_with_threads_at_its_start_works_too(stage):
    with (
        SupervisorProcess(None, 1, "threads", first=THREADS) as supervisor,
        Lessee(supervisor) as client,
    ):
        (worker,) = client.lease()
        items = [deadly.item(x, 2, "segfault", stage) for x in range(5)]
        worker.run(7, deadly.visit, items, alone=True)
        ended = WorkerEnded(worker.name, "SIGSEGV", 7, 2, 3, False)
        assert client.ended(worker) == ended
        (successor,) = client.attach()
        successor.run(8, abs, [-1])
        assert successor.outcomes(8, 1) == [1]


def test_it_works_before_the_name_server_does():
    with NameServerProcess() as late:
        port = late.port
    late.stop()
    with SupervisorProcess(late, 1, "early", wait=False) as supervisor:
        wait_until(lambda: is_up(supervisor))
        with NameServerProcess(port) as nameserver:
            wait_until(lambda: nameserver.names(), seconds=10)


def is_up(supervisor: SupervisorProcess) -> bool:
    with suppress(ConnectionError, TimeoutError):
        return bool(supervisor.spares())
    return False


# --- the control channel


def test_it_greets_with_who_it_is_and_answers_pings(shared, client):
    info = client.welcome.info
    assert info["supervisor"].startswith("seppo.shared.")
    assert (info["places"], info["draining"], info["pid"]) == (1, False, shared.pid)
    client.send(Ping(), Ping())
    assert client.wait_for(Pong, 2) == [Pong(), Pong()]


def test_a_client_that_sends_nonsense_is_cut_off_and_others_are_served(shared, client):
    for rubbish in (b"\xff" * 100, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"):
        with Lessee(shared) as liar:
            liar.stream.sock.send(rubbish)
            assert_cut_off(liar.stream.sock)
    for message in (Chunk(1, 1, 0, 0, bytes(32), ()), Hello("again"), Welcome({})):
        with Lessee(shared) as liar:
            liar.send(message)
            assert_cut_off(liar.stream.sock)
    client.send(Ping())
    client.wait_for(Pong)


@pytest.mark.parametrize("message", [Ping(), Want(1, 1), Kill("w", 1)], ids=repr)
def test_who_does_not_say_hello_first_is_cut_off(shared, message):
    with Lessee(shared, hello=False) as liar:
        liar.send(message)
        assert_cut_off(liar.stream.sock)


def assert_cut_off(sock: socket.socket) -> None:
    sock.settimeout(10)
    try:
        assert sock.recv(100) == b""
    except ConnectionResetError:
        pass


# --- leases


def test_a_leased_process_runs_items_and_a_spare_takes_its_place(shared, client):
    spares = shared.spares()
    (worker,) = client.lease()
    assert [worker.pid] == spares
    assert worker.welcome.info["name"] == worker.name
    assert worker.name.startswith(client.welcome.info["supervisor"] + ".")
    worker.run(1, lambda x: x + 1, range(100))
    assert worker.outcomes(1, 100) == list(range(1, 101))
    wait_until(lambda: shared.spares() not in ([], spares))


def test_what_a_client_holds_can_be_seen(shared, client, tmp_path):
    (worker,) = client.lease(world=3)
    worker.run(5, waits(tmp_path), [0], index=40)
    wait_until((tmp_path / "begun").exists)
    (seen,) = shared.info()["clients"]
    assert seen["name"] == "tester@here:1 test.py"
    (process,) = seen["processes"]
    assert process == {
        "world": 3, "name": worker.name, "pid": worker.pid, "busy": True, "setup": "", "attempt": 5,
        "first": 40, "stop": 41,
    }  # fmt: skip


def waits(folder: Path):
    def wait(_: object) -> None:
        (folder / "begun").touch()
        time.sleep(60)

    return wait


def test_a_process_that_dies_is_replaced_and_its_item_told(client):
    (worker,) = client.lease()
    worker.run(7, deadly.visit, [deadly.item(x, 12, "exit", "running") for x in (10, 11, 12)],
               index=10, alone=True)  # fmt: skip
    assert client.ended(worker) == WorkerEnded(worker.name, "exit code 3", 7, 12, 13, False)
    assert worker.outcomes(7, 2) == [10, 11]
    (successor,) = client.attach()
    successor.run(8, abs, [-1])
    assert successor.outcomes(8, 1) == [1]


def test_processes_that_die_of_items_are_replaced_at_once(client):
    (worker,) = client.lease()
    for attempt in range(1, 8):
        worker.run(attempt, os._exit, [3])
        client.ended(worker)
        (worker,) = client.attach()
    assert client.of_kind(Waiting) == []


def test_nobody_else_gets_in(client):
    client.send(Want(1, 1))
    (leased,) = client.wait_for(Leased)
    address = Address.parse(leased.address)
    thief = Stream(CREDENTIALS.connect(address, 10.0))  # it has the key, but not the token
    thief.send(*to_parts(Attach("0" * 32, {})))
    assert_cut_off(thief.sock)
    thief.close()
    with pytest.raises(SecurityError):
        CREDENTIALS.connect(Address("seppo.supervisor", address.host, address.port), 10.0)
    with LeasedWorker(leased) as worker:
        worker.run(1, abs, [-1])
        assert worker.outcomes(1, 1) == [1]
        with pytest.raises(ConnectionRefusedError):
            CREDENTIALS.connect(address, 10.0)


def test_the_caller_can_set_variables(client):
    client.send(Want(1, 1))
    (leased,) = client.wait_for(Leased)
    caller = {"domain": "here", "cwd": "/", "env": {"MY_VARIABLE": "mine", "odd": 7}}
    with LeasedWorker(leased, caller) as worker:
        worker.run(1, lambda name: os.environ.get(name), ["MY_VARIABLE", "odd"])
        assert worker.outcomes(1, 2) == ["mine", None]


def test_two_clients_have_processes_of_their_own(shared, client, tmp_path):
    (one,) = client.lease()
    one.run(1, waits(tmp_path), [0])
    with Lessee(shared, "other") as other:
        (two,) = other.lease()
        assert two.pid != one.pid
        two.run(1, abs, [-7])
        assert two.outcomes(1, 1) == [7]  # however long the other's item takes
    wait_until(lambda: not is_running(two.pid))
    assert is_running(one.pid)


def test_a_process_that_its_client_gives_back_ends_and_is_not_replaced(shared, client):
    (worker,) = client.lease()
    client.send(Want(1, 0))
    wait_until(lambda: shared.info()["clients"][0]["wanted"] == {"1": 0})
    worker.close()
    assert client.ended(worker).how == "exit code 0"
    assert shared.leased() == []


def hold_interpreter(path: str) -> None:
    """Sleep in C without letting any other thread run."""
    import ctypes

    Path(path).touch()
    ctypes.PyDLL(None).sleep(60)


def swallow(path: str) -> None:
    """Refuse to end."""
    Path(path).touch()
    while True:
        with suppress(BaseException):
            time.sleep(60)


@pytest.mark.parametrize("item", [None, time.sleep, swallow, hold_interpreter])
def test_when_a_client_leaves_its_processes_end_whatever_runs(shared, tmp_path, item):
    path = tmp_path / "begun"
    with Lessee(shared) as client:
        (worker,) = client.lease()
        if item is not None:
            worker.run(1, item, [60 if item is time.sleep else str(path)])
            wait_until(lambda: item is time.sleep or path.exists())
        client.stream.close()  # and only this: the supervisor does the rest
        wait_until(lambda: not is_running(worker.pid), seconds=10)


def test_the_folder_that_a_process_leaves_is_removed(client):
    (worker,) = client.lease()
    worker.run(1, lambda _: os.getcwd(), [0])
    (folder,) = worker.outcomes(1, 1)
    assert worker.name in folder
    killed(worker.pid)
    client.ended(worker)
    wait_until(lambda: not list(Path(folder).parent.glob(f"*{worker.name}*")))


# --- what items do to their process costs nobody else


def close_all_descriptors(_: object) -> None:
    os.closerange(3, 65536)
    time.sleep(60)


def write_rubbish(_: object) -> None:
    """Write into every socket pair that this process has."""
    for fd in range(3, 100):
        with suppress(OSError):
            sock = socket.socket(fileno=os.dup(fd))
            if sock.family == socket.AF_UNIX:
                sock.send(b"\xff rubbish \n{}\n")
    time.sleep(60)


def kill_group(_: object) -> None:
    os.killpg(0, signal.SIGKILL)


def kill_parent(_: object) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def stop_parent_and_exit(_: object) -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    os._exit(3)


# Where nothing forks, the parent is the supervisor.
forked_only = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


@pytest.mark.parametrize(
    ("item", "how"),
    [
        pytest.param(kill_parent, "SIGKILL", marks=forked_only),
        pytest.param(stop_parent_and_exit, "SIGKILL", marks=forked_only),
        (close_all_descriptors, "exit code"),
        (write_rubbish, "(it wrote invalid data to its control line)"),
        (kill_group, "SIGKILL"),
        (lambda _: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM"),
    ],
)
def test_it_costs_its_own_process_only(shared, item, how):
    with Lessee(shared) as other, Lessee(shared) as client:
        (bystander,) = other.lease()
        (worker,) = client.lease()
        worker.run(1, item, [0])
        assert how in client.ended(worker).how  # by the signal, or as the line ends
        (successor,) = client.attach()
        for one in (successor, bystander):
            one.run(2, abs, [-1])
            assert one.outcomes(2, 1) == [1]


def test_killing_a_process_kills_what_it_has_started(client, tmp_path):
    path = tmp_path / "pid"

    def start_another(path: str) -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        Path(path + ".part").write_text(str(child.pid))
        Path(path + ".part").rename(path)
        hold_interpreter(path)

    (worker,) = client.lease()
    worker.run(1, start_another, [str(path)])
    wait_until(path.exists)
    client.send(Kill(worker.name, 1))
    client.ended(worker)
    wait_until(lambda: not is_running(int(path.read_text())))


# --- kills


def test_a_client_kills_only_what_is_its_own_and_runs(shared, client, tmp_path):
    (worker,) = client.lease()
    worker.run(7, waits(tmp_path), [0])
    wait_until((tmp_path / "begun").exists)
    with Lessee(shared) as other:
        other.send(Kill(worker.name, 7), Kill("seppo.nobody", 7), Ping())
        other.wait_for(Pong)
    client.send(Kill(worker.name, 6), Kill(worker.name, 7, True), Ping())
    client.wait_for(Pong)
    assert is_running(worker.pid)
    client.send(Kill(worker.name, 7))
    how = "SIGKILL (its client asked for it)"
    assert client.ended(worker) == WorkerEnded(worker.name, how, 7, 0, 1, False)


def test_a_frozen_process_can_be_killed(client):
    (worker,) = client.lease()
    os.kill(worker.pid, signal.SIGSTOP)
    state = Path(f"/proc/{worker.pid}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    client.send(Kill(worker.name, 1, only_frozen=True))
    assert client.ended(worker).attempt == 0


def test_c_code_over_its_time_limit_is_killed(client, tmp_path):
    (worker,) = client.lease()
    worker.run(7, hold_interpreter, [str(tmp_path / "begun")], task_timeout=0.5)
    how = "SIGKILL (an item exceeded its task_timeout)"
    assert client.ended(worker) == WorkerEnded(worker.name, how, 7, 0, 1, True)


def test_an_end_for_want_of_memory_is_told_as_such():
    first = "import itertools, seppo.host.processes as s; n = itertools.count(); "
    first += "s.oom_kills = lambda: next(n)"  # the kernel's counter has grown meanwhile
    with SupervisorProcess(None, 1, "oom", first=first) as host, Lessee(host) as client:
        (worker,) = client.lease()
        killed(worker.pid)
        assert client.ended(worker).how == "out of memory (SIGKILL)"


# --- bounds


def test_who_gets_less_than_wanted_is_told_who_holds_what():
    with (
        SupervisorProcess(None, 2, "full", first=SOON, max_clients=1) as host,
        Lessee(host, "ann") as ann,
        Lessee(host, "bob") as bob,
    ):
        ann.lease(2)
        bob.send(Want(1, 2))
        wait_until(lambda: any("ann holds 2" in told.reason for told in bob.wait_for(Waiting)))
        assert len(bob.of_kind(Leased)) == 1
        ann.send(Want(1, 0))  # a notebook that is left open
        bob.send(Want(2, 1))
        bob.wait_for(Leased, 2)
        ended = ann.wait_for(WorkerEnded)[0]
        assert ended.how == "idle, its place was needed"


def test_while_memory_is_short_a_client_gets_one():
    first = SOON + "v.free_memory = lambda: 1 << 20"
    with (
        SupervisorProcess(None, 1, "short", first=first) as host,
        Lessee(host) as client,
    ):
        client.lease(1, world=1)
        client.send(Want(2, 1))
        wait_until(lambda: any("memory" in told.reason for told in client.wait_for(Waiting)))


def test_memory_of_a_process_can_be_limited():
    with SupervisorProcess(None, 1, "memory", memory=512 << 20) as host, Lessee(host) as client:
        (worker,) = client.lease()
        worker.run(1, lambda n: len(bytearray(n)), [1 << 20, 1 << 30, 2 << 20])
        one, two, three = worker.outcomes(1, 3)
        assert (one, two.type_name, three) == (1 << 20, "builtins.MemoryError", 2 << 20)


def test_a_process_is_replaced_after_so_many_items():
    with SupervisorProcess(None, 1, "items", max_items=4) as host, Lessee(host) as client:
        (worker,) = client.lease()
        func = lambda x: [x]  # noqa: E731
        worker.run(7, func, [0])  # to have it loaded
        worker.outcomes(7, 1)
        worker.run(1, func, range(100), alone=True)
        (returned,) = worker.wait_for(Returned)
        assert returned.kept == 3
        assert worker.outcomes(1, 3, again=False) == [[0], [1], [2]]
        wait_until(worker.has_ended)
        worker.close()
        assert client.ended(worker) == WorkerEnded(worker.name, "exit code 0", 0, 0, 0, False)
        client.attach()


def test_processes_stand_back_for_others():
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    with SupervisorProcess(None, 1, "nice", nice=3) as host, Lessee(host) as client:
        (worker,) = client.lease()
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(19, ours + 3)
        assert os.getpriority(os.PRIO_PROCESS, host.pid) == ours


@pytest.mark.parametrize("first", ["", THREADS])
def test_what_is_preloaded_is_there_before_the_first_item(first):
    with (
        SupervisorProcess(None, 1, "preload", first=first, preload=("colorsys", "email.mime.text"))
        as host,
        Lessee(host) as client,
    ):  # fmt: skip
        (worker,) = client.lease()
        worker.run(1, lambda name: name in sys.modules, ["colorsys", "email.mime.text", "wave"])
        assert worker.outcomes(1, 3) == [True, True, False]


# --- draining


def test_draining_lets_the_item_finish_and_gives_back_the_rest():
    with SupervisorProcess(None, 1, "drain") as supervisor, Lessee(supervisor) as client:
        (worker,) = client.lease()
        worker.run(7, lambda x: (time.sleep(0.7), x)[1], range(5))
        worker.run(8, abs, range(3))
        wait_until(lambda: any(p["busy"] for c in supervisor.info()["clients"]
                               for p in c["processes"]))  # fmt: skip
        supervisor.kill(signal.SIGTERM)
        client.wait_for(Draining)
        returned = {one.attempt: one.kept for one in worker.wait_for(Returned, 2)}
        assert worker.outcomes(7, returned[7], again=False) == list(range(returned[7]))
        assert returned[7] < 5
        assert returned[8] == 0
        wait_until(worker.has_ended)
        worker.close()
        assert client.ended(worker) == WorkerEnded(worker.name, "exit code 0", 0, 0, 0, False)
        assert supervisor.wait() == 0


def test_the_second_signal_stops_at_once(tmp_path):
    with SupervisorProcess(None, 1, "second") as supervisor, Lessee(supervisor) as client:
        (worker,) = client.lease()
        worker.run(7, waits(tmp_path), [0])
        wait_until((tmp_path / "begun").exists)
        supervisor.kill(signal.SIGTERM)
        client.wait_for(Draining)
        with Lessee(supervisor) as late:
            assert late.welcome.info["draining"]
            late.wait_for(Draining)
        supervisor.kill(signal.SIGTERM)
        how = "its supervisor was stopped"
        assert client.ended(worker) == WorkerEnded(worker.name, how, 0, 0, 0, False)
        assert supervisor.wait(10) == 0
        assert not is_running(worker.pid)
