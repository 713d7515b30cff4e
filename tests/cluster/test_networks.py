"""Two machines and a cable between them, which is cut, mended and disturbed."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from cluster import is_alive, read_line, wait_until
from netns import Net, available

pytestmark = pytest.mark.skipif(not available(), reason="network namespaces need Linux and root")

CLIENT = """
import sys, time
import seppo
def nap(x):
    time.sleep({nap})
    return x
results = seppo.map_parallel(nap, range({n}), fallback="error")
found = [next(results)]
print("begun", flush=True)
try:
    found.extend(results)
except seppo.NoWorkersError as error:
    print("nobody left:", error.losses, flush=True)
else:
    assert found == list(range({n})), found
    print("all there", flush=True)
"""


def said(process, deadline=20.0):
    """Return the next line of a client that is no warning."""
    while (line := read_line(process, deadline)).startswith("host "):
        pass
    return line


@pytest.fixture
def client(tmp_path):
    """Write a client's program."""

    def write(n, nap=0.05):
        path = tmp_path / "client.py"
        path.write_text(CLIENT.format(n=n, nap=nap))
        return path

    return write


def test_a_map_goes_from_machine_to_machine(client):
    with Net() as net:
        net.start_nameserver()
        net.start_workers("far")
        program = net.spawn("near", client(100, 0.01))
        assert said(program) == "begun\n"
        assert said(program) == "all there\n"


def test_a_cable_cut_for_five_seconds_costs_nothing_but_time(client):
    with Net() as net:
        net.start_nameserver()
        net.start_workers("far")
        program = net.spawn("near", client(200))
        assert said(program) == "begun\n"
        net.cut()
        time.sleep(5.0)  # is the disturbance
        net.mend()
        assert said(program, 60) == "all there\n"


def test_a_cable_cut_for_ever_has_the_map_end_elsewhere(client):
    with Net(SEPPO_SILENCE="2") as net:
        net.start_nameserver()
        net.start_workers("far")
        net.start_workers("near", 1)
        program = net.spawn("near", client(200))
        assert said(program) == "begun\n"
        net.cut()
        assert said(program, 60) == "all there\n"


def test_a_cable_cut_for_ever_is_told_within_silence_and_grace(client):
    with Net(SEPPO_SILENCE="2", SEPPO_GRACE="1") as net:
        net.start_nameserver()
        net.start_workers("far")
        program = net.spawn("near", client(10_000))
        assert said(program) == "begun\n"
        net.cut()
        line = said(program, 30)
        assert line.startswith("nobody left:")
        assert "its host is lost" in line


@pytest.fixture
def encrypted(tmp_path):
    """Variables for machines that have certificates, and do not insist on going without."""
    folder = str(tmp_path / "config")
    with Net(XDG_CONFIG_HOME=folder) as net:
        done = net.run("near", "-m", "seppo", "keys", "new")
        assert done.returncode == 0, done.stderr
    return {"XDG_CONFIG_HOME": folder, "SEPPO_INSECURE": "", "SEPPO_CONNECT_TIMEOUT": "5"}


# Two limits of the same length race: the kernel's, which over TLS looks as if the supervisor
# had left, and that of unanswered pings. When its pings were cut off decides who wins.
@pytest.mark.parametrize("head_start", [0.0, 0.2, 0.4])
def test_a_cable_cut_for_ever_is_told_over_tls_too(client, encrypted, head_start):
    with Net(SEPPO_SILENCE="2", SEPPO_GRACE="1", **encrypted) as net:
        net.start_nameserver()
        net.start_workers("far")
        program = net.spawn("near", client(10_000))
        assert said(program) == "begun\n"
        time.sleep(head_start)  # is the disturbance
        net.cut()
        line = said(program, 30)
        assert line.startswith("nobody left:")
        assert "its host is lost" in line


def descendants(pid):
    """Return the processes that a process has started, and those that these have."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid for child in map(int, children) for pid in (child, *descendants(child))]


@pytest.mark.parametrize("is_cut", [False, True], ids=["alone", "with its machine"])
def test_a_supervisor_that_is_gone_is_told_while_its_workers_stay_silent(client, is_cut):
    with Net(SEPPO_SILENCE="2", SEPPO_GRACE="1") as net, contextlib.ExitStack() as frozen:
        net.start_nameserver()
        supervisor = net.start_workers("far")
        program = net.spawn("near", client(10_000))
        assert said(program) == "begun\n"
        for pid in descendants(supervisor.pid):  # else they end with it, and their sockets
            frozen.callback(os.kill, pid, signal.SIGKILL)
            os.kill(pid, signal.SIGSTOP)
        supervisor.kill()
        if is_cut:
            net.cut()
        line = said(program, 30)
        assert line.startswith("nobody left:")
        assert "its host is lost" in line


def test_processes_of_a_client_out_of_reach_end(client):
    with Net(SEPPO_SILENCE="2") as net:
        net.start_nameserver()
        net.start_workers("far")
        net.spawn("near", client(2, nap=600))

        def pids():
            (host,) = net.status("near")
            processes = [one for held in host["clients"] for one in held["processes"]]
            return [one["pid"] for one in processes if one["busy"]]

        busy = wait_until(lambda: pids() if len(pids()) == 2 else None, "busy workers")
        net.cut()
        wait_until(lambda: not any(map(is_alive, busy)), "the end of its processes")


@pytest.mark.parametrize("how", [("delay", "50ms"), ("loss", "5%"), ("delay", "20ms", "10ms")])
def test_delay_and_loss_change_nothing(client, how):
    with Net() as net:
        net.start_nameserver()
        net.start_workers("far")
        net.disturb(*how)
        program = net.spawn("near", client(300, 0.01))
        assert said(program) == "begun\n"
        assert said(program, 60) == "all there\n"
