"""Workers that leave politely, clients that leave rudely: nothing is lost, nobody waits."""

import collections
import os
import signal
import time

import pytest
import userland
from cluster import end, is_alive, wait_until
from processes import PATIENCE

import seppo

SLOW_CLIENT = """
import sys, seppo
{body}
list(seppo.map_parallel(work, range(4), fallback="error"))
"""


@pytest.fixture
def client(tmp_path):
    def write(body):
        path = tmp_path / "client.py"
        path.write_text(SLOW_CLIENT.format(body=body))
        return path

    return write


def busy(cluster, n):
    wait_until(lambda: sum(info["busy"] for info in cluster.infos()) == n, "busy workers")


def test_workers_that_drain_in_mid_map_lose_nothing(own_cluster, tmp_path):
    cluster = own_cluster(2)
    path = str(tmp_path / "runs")

    def work(x):
        with open(path, "a") as file:
            file.write(f"{x}\n")
        time.sleep(0.02)
        return x

    results = seppo.map_parallel(work, range(300), duplicate=False)
    found = [next(results) for _ in range(5)]
    leaving = cluster.workers
    cluster.start_workers(2)
    leaving.send_signal(signal.SIGTERM)
    found += results
    assert found == list(range(300))
    assert leaving.wait(PATIENCE) == 0
    with open(path) as file:
        runs = collections.Counter(map(int, file))
    assert runs == collections.Counter(range(300))  # each item ran exactly once


def test_a_draining_worker_finishes_its_item_and_unregisters_first(own_cluster, tmp_path):
    cluster = own_cluster(1)
    path = tmp_path / "go on"
    results = seppo.map_parallel(userland.pid_once, [path], fallback="error")
    busy(cluster, 1)
    (pid,) = cluster.pids()
    cluster.workers.send_signal(signal.SIGTERM)
    wait_until(lambda: not cluster.entries(), "its entry is gone")
    assert cluster.workers.poll() is None
    path.touch()
    assert list(results) == [pid]
    assert cluster.workers.wait(PATIENCE) == 0
    assert not is_alive(pid)


def test_idle_workers_drain_at_once_also_with_clients_attached(own_cluster):
    cluster = own_cluster(2)
    assert list(seppo.map_parallel(abs, range(100), fallback="error")) == list(range(100))
    cluster.workers.send_signal(signal.SIGTERM)
    assert cluster.workers.wait(PATIENCE) == 0


@pytest.mark.parametrize("numbers", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]])
def test_the_second_sigterm_and_ctrl_c_stop_at_once(own_cluster, client, numbers):
    cluster = own_cluster(2)
    cluster.spawn(client("import time\ndef work(x): time.sleep(600)"))
    busy(cluster, 2)
    pids = cluster.pids()
    for number in numbers:
        assert cluster.workers.poll() is None
        cluster.workers.send_signal(number)
        wait_until(lambda: not cluster.entries() or cluster.workers.poll() is not None, "gone")
    assert cluster.workers.wait(PATIENCE) == 0
    assert not any(map(is_alive, pids))


STUBBORN = """
def work(x):
    import ctypes
    with open({path!r}, "w") as file:
        file.write("begun")
    ctypes.PyDLL(None).sleep(600)  # and no other thread of the process runs
"""


def test_a_killed_client_whose_item_holds_the_interpreter_costs_only_that_process(
    own_cluster, client, tmp_path
):
    cluster = own_cluster(1)
    path = tmp_path / "begun"
    process = cluster.spawn(client(STUBBORN.format(path=str(path))))
    wait_until(path.exists, "the item in C")
    (pid,) = cluster.pids()
    end(process, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "its end")
    assert list(seppo.map_parallel(abs, [-1], fallback="error")) == [1]


def test_a_cancelled_map_that_holds_the_interpreter_costs_only_that_process(own_cluster, tmp_path):
    cluster = own_cluster(1)
    path = str(tmp_path / "begun")

    def work(x):
        import ctypes

        with open(path, "w") as file:
            file.write("begun")
        ctypes.PyDLL(None).sleep(600)

    results = seppo.map_parallel(work, range(3), fallback="error")
    wait_until(lambda: os.path.exists(path), "the item in C")
    (pid,) = cluster.pids()
    results.close()
    wait_until(lambda: not is_alive(pid), "its end")
    assert list(seppo.map_parallel(abs, [-1], fallback="error")) == [1]


def test_other_clients_go_on_when_one_is_killed(own_cluster, client):
    cluster = own_cluster(2)
    process = cluster.spawn(client("import time\ndef work(x): time.sleep(600)"))
    busy(cluster, 2)
    results = seppo.map_parallel(userland.pid_after, [0.01] * 100, fallback="error")
    end(process, signal.SIGKILL)
    assert len(set(results)) <= 2  # none of ours was ended
    cluster.wait_until_idle()


def test_a_stopped_client_finds_its_map_again(own_cluster, client, monkeypatch):
    cluster = own_cluster(2, SEPPO_SILENCE="1")
    body = "import time\ndef work(x):\n    time.sleep(1)\n    return x"
    process = cluster.spawn(client(body))
    busy(cluster, 2)
    pids = cluster.pids()
    process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)  # is the sleep
    assert cluster.pids() == pids
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) == 0, process.stdout.read()


def test_a_frozen_supervisor_is_noticed_and_its_workers_left(own_cluster, monkeypatch):
    monkeypatch.setenv("SEPPO_SILENCE", "1")
    cluster = own_cluster(1)
    frozen = cluster.workers
    results = seppo.map_parallel(userland.pid_after, [0.02] * 200, fallback="error")
    first = next(results)
    os.kill(first, signal.SIGSTOP)  # the machine hangs, as far as one can see from here
    frozen.send_signal(signal.SIGSTOP)
    cluster.start_workers(1, wait=False)
    rest = list(results)
    assert len(rest) == 199
    assert rest[-1] != first
    frozen.send_signal(signal.SIGCONT)
    os.kill(first, signal.SIGCONT)
