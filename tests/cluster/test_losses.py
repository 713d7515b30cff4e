"""Workers that die, name servers that come and go: real processes, really killed."""

import itertools
import os
import signal
import socket
import time

import pytest
import userland
from cluster import end, is_alive, wait_until
from processes import PATIENCE, free_port

import seppo
from seppo.pyro.nameserver import Entry, NameServer
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address


def test_chunks_of_a_killed_worker_go_elsewhere(own_cluster):
    cluster = own_cluster(2)
    results = seppo.map_parallel(userland.pid_after, [0.02] * 150)
    pids = [next(results) for _ in range(10)]
    os.kill(pids[0], signal.SIGKILL)
    pids.extend(results)
    assert len(pids) == 150
    wait_until(lambda: len(cluster.pids()) == 2, "the worker's successor")


@pytest.mark.parametrize("way", ["os._exit(3)", "os.kill(os.getpid(), 9)", "ctypes.string_at(0)"])
def test_item_that_kills_its_workers_is_the_only_one_that_fails(own_cluster, way, tmp_path):
    own_cluster(2)

    def deadly(x):
        userland.appends(tmp_path / "runs", x)
        if x == 13:
            exec(f"import os, ctypes; {way}")
        return x

    results = seppo.map_parallel(deadly, range(40))
    found = []
    for x in range(40):
        if x == 13:
            with pytest.raises(seppo.WorkerLostError, match="item 13") as caught:
                next(results)
            assert (caught.value.index, caught.value.tries) == (13, 3)
        else:
            found.append(next(results))
    assert found == [x for x in range(40) if x != 13]
    with pytest.raises(StopIteration):
        next(results)


def test_when_all_workers_are_gone_the_map_says_so(own_cluster, monkeypatch):
    monkeypatch.setenv("SEPPO_GRACE", "0.5")
    cluster = own_cluster(2)
    results = seppo.map_parallel(userland.pid_after, [0.02] * 500, fallback="error")
    first = [next(results) for _ in range(5)]
    end(cluster.workers)
    with pytest.raises(seppo.NoWorkersError) as caught:
        first.extend(results)
    assert caught.value.delivered == len(first)
    # A worker may have finished an item behind one that was given back.
    assert 498 <= caught.value.delivered + caught.value.undone <= 500
    assert len(caught.value.losses) == 2
    assert list(results) == []


def test_pending_futures_learn_that_all_workers_are_gone(own_cluster, monkeypatch):
    monkeypatch.setenv("SEPPO_GRACE", "0.5")
    cluster = own_cluster(1)
    with seppo.Executor() as executor:
        futures = [executor.submit(userland.pid_after, 30) for _ in range(3)]
        wait_until(futures[0].running, "the running call")
        end(cluster.workers, signal.SIGINT)
        for future in futures:
            assert isinstance(future.exception(20), seppo.NoWorkersError)
        with pytest.raises(seppo.NoWorkersError):
            executor.submit(userland.square, 1)


def test_map_goes_on_without_its_name_server(own_cluster):
    cluster = own_cluster(2)
    results = seppo.map_parallel(userland.pid_after, [0.01] * 100)
    next(results)
    end(cluster.nameserver)
    assert len(list(results)) == 99
    # The connections live on: the next map needs no name server either.
    assert list(seppo.map_parallel(userland.square, [1, 2, 3])) == [1, 4, 9]


def test_a_host_registers_again_when_the_name_server_restarts_empty(own_cluster):
    cluster = own_cluster(2)
    end(cluster.nameserver, signal.SIGKILL)
    cluster.start_nameserver()
    wait_until(lambda: len(cluster.entries()) == 1, "registration")


def test_worker_started_before_the_name_server_registers_later(own_cluster):
    cluster = own_cluster(0)
    end(cluster.nameserver)
    worker = cluster.spawn("-m", "seppo", "worker", "-n", "1")
    assert any("trying again" in line for line in iter(worker.stdout.readline, ""))
    cluster.start_nameserver()
    wait_until(lambda: len(cluster.entries()) == 1, "registration")
    assert list(seppo.map_parallel(abs, [-1], fallback="error")) == [1]


def test_worker_that_joins_gets_work(own_cluster):
    cluster = own_cluster(1)
    results = seppo.map_parallel(userland.pid_after, itertools.repeat(0.02))
    first = next(results)
    cluster.start_workers(1)
    deadline = time.monotonic() + PATIENCE
    for pid in results:
        if pid != first:
            break
        assert time.monotonic() < deadline, "the new worker got nothing"
    results.close()


def test_dead_entries_count_as_not_registered(own_cluster):
    cluster = own_cluster(1)
    nameserver = NameServer(cluster.settings)
    (entry,) = cluster.entries()
    end(cluster.workers)
    nameserver.register(Entry("seppo.stale", entry.address, dict(entry.facts)))
    with pytest.raises(seppo.NoWorkersError):
        seppo.map_parallel(abs, [1], fallback="error")


def test_worker_of_another_protocol_is_an_error_not_a_serial_run(own_cluster):
    cluster = own_cluster(0)
    with socket.create_server(("127.0.0.1", 0)) as alive:
        address = Address("seppo.supervisor", "127.0.0.1", alive.getsockname()[1])
        ours = Credentials(cluster.settings).key.fingerprint
        facts = {"group": "default", "protocol": "0", "key": ours}
        NameServer(cluster.settings).register(Entry("seppo.old", address, facts))
        with pytest.raises(seppo.ProtocolError, match="protocol 0"):
            seppo.map_parallel(abs, [1])


def test_killed_supervisor_leaves_no_orphans(own_cluster):
    cluster = own_cluster(2)
    results = seppo.map_parallel(userland.pid_after, [60] * 2, fallback="error")
    cluster.wait_until_busy()
    pids = cluster.pids() + cluster.spares()
    end(cluster.workers, signal.SIGKILL)
    results.close()
    wait_until(lambda: not any(map(is_alive, pids)), "the end of the workers")


def test_processes_of_a_killed_client_end_and_their_places_are_free(own_cluster, tmp_path):
    cluster = own_cluster(2)
    script = tmp_path / "client.py"
    script.write_text(
        "import seppo, time\nlist(seppo.map_parallel(time.sleep, [60] * 4, fallback='error'))\n"
    )
    client = cluster.spawn(script)
    cluster.wait_until_busy()
    pids = cluster.pids()
    end(client, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), "the end of its processes")
    wait_until(lambda: cluster.pids() == [], "free places")  # its host may hear of it later
    wait_until(lambda: len(cluster.spares()) == 2, "spares")
    assert list(seppo.map_parallel(abs, [-1], fallback="error")) == [1]


def test_a_supervisor_tells_what_runs_while_it_runs(cluster):
    results = seppo.map_parallel(userland.pid_after, [1.0, 1.0])
    (busy, *_) = wait_until(
        lambda: [info for info in cluster.infos() if info["busy"]], "a worker that says it is busy"
    )
    assert busy["stop"] > busy["first"] >= 0
    assert {busy["pid"]} <= set(results)


def test_several_clients_use_a_host_at_once(cluster, tmp_path):
    script = tmp_path / "client.py"
    script.write_text(
        "import seppo, time\n"
        "def nap(x):\n    time.sleep(0.01)\n    return x\n"
        "assert list(seppo.map_parallel(nap, range(100), fallback='error')) == list(range(100))\n"
        "print('done')\n"
    )
    clients = [cluster.spawn(script) for _ in range(3)]
    assert [client.communicate(timeout=60)[0] for client in clients] == ["done\n"] * 3


def test_a_server_obeys_its_arguments_and_unregisters_on_ctrl_c(own_cluster, tmp_path):
    cluster = own_cluster(0)
    script = tmp_path / "serve.py"
    script.write_text(
        "import seppo\n"
        f"seppo.start_seppo_enslaved_server('127.0.0.1', {(port := free_port())}, 'lab', 'bench')\n"
    )
    server = cluster.spawn(script)
    (entry,) = wait_until(lambda: cluster.entries("lab"), "the server's registration")
    assert entry.name.startswith("seppo.bench.")
    assert (entry.address.host, entry.address.port) == ("127.0.0.1", port)
    assert list(seppo.map_parallel(abs, [-1], group="lab", fallback="error")) == [1]
    end(server, signal.SIGINT)
    assert server.returncode == 0
    assert cluster.entries("lab") == []


LEAVES = """
import concurrent.futures, multiprocessing, os, seppo, sys, time

def work(x):
    global pool, child
    pool = concurrent.futures.ProcessPoolExecutor(2)
    child = multiprocessing.Process(target=time.sleep, args=(600,))
    child.start()
    pids = {pool.submit(os.getpid).result(), child.pid}
    if sys.argv[1] == "kill":
        print(*pids, flush=True, file=open(sys.argv[2], "a"))
        os.kill(os.getpid(), 9)
    return pids

for pids in seppo.map_parallel(work, range(2), fallback="error"):
    print(*pids, flush=True, file=open(sys.argv[2], "a"))
"""


@pytest.mark.parametrize("way", ["leave", "kill"])
def test_processes_that_items_have_started_end_with_the_worker(own_cluster, tmp_path, way):
    cluster = own_cluster(2)
    script, told = tmp_path / "leaves.py", tmp_path / "pids"
    script.write_text(LEAVES)
    cluster.run(script, way, told, check=way == "leave")
    pids = [int(pid) for pid in told.read_text().split()]
    assert len(pids) >= 2
    wait_until(lambda: not any(map(is_alive, pids)), "the end of what the items have started")
