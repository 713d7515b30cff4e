"""The command ``seppo``, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cluster import Cluster, end, is_alive, read_line, wait_until

import seppo
from seppo.cli.worker import workers_wanted
from seppo.worker.process import cpus

SEPPO = [sys.executable, "-m", "seppo"]


def run(*arguments, **keywords):
    return subprocess.run(
        [*SEPPO, *map(str, arguments)], capture_output=True, text=True, timeout=60, **keywords
    )


@pytest.fixture
def script(tmp_path):
    def write(text, name="script.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


PIDS = (
    "import os, seppo, time\n"
    "def pid(x):\n    time.sleep(0.1)\n    return os.getpid()\n"
    "if __name__ == '__main__':\n"
    "    pids = set(seppo.map_parallel(pid, range(6), fallback='error'))\n"
    "    print(len(pids), *pids, flush=True)\n"
)


def test_run_gives_a_script_workers_of_its_own_and_ends_them(script):
    done = run("run", "-n", 3, script(PIDS))
    n, *pids = map(int, done.stdout.split())
    assert (n, done.returncode) == (3, 0)
    wait_until(lambda: not any(map(is_alive, pids)), "the end of the workers")


def test_run_passes_arguments_input_and_exit_code(script):
    path = script("import sys\nprint(sys.argv[1:], input())\nsys.exit(7)\n")
    done = run("run", "-n", "1", path, "-n", "5", "--x", input="hello\n")
    assert done.stdout == "['-n', '5', '--x'] hello\n"
    assert done.returncode == 7


def test_run_takes_a_module(script, tmp_path):
    script("import sys\nprint('module', sys.argv[1:])\n", "some_module.py")
    done = run("run", "-n", 1, "-m", "some_module", "a", cwd=tmp_path)
    assert done.stdout == "module ['a']\n"


def test_run_of_a_script_that_crashes_ends_the_workers(script):
    done = run("run", "-n", 2, script(PIDS + "    raise SystemError('crash')\n"))
    _, *pids = map(int, done.stdout.split())
    assert done.returncode == 1
    assert "SystemError: crash" in done.stderr
    wait_until(lambda: not any(map(is_alive, pids)), "the end of the workers")


def test_run_whose_workers_die_before_they_are_ready_says_so_alone(script, tmp_path):
    program = script(
        "import seppo.worker.process as process, sys\n"
        "def die(*arguments): raise SystemExit(3)\n"
        "process.run_worker = die\n"
        "from seppo.cli.main import main\n"
        "if __name__ == '__main__': sys.exit(main())\n",
        "program.py",
    )
    done = subprocess.run(
        [sys.executable, program, "run", "-n", "1", script("print('ran')")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ran" not in done.stdout
    assert "died before they were ready" in done.stderr
    assert "within 30 s" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_everything_on_a_signal(script, number):
    text = PIDS + "    time.sleep(60)\n"
    process = subprocess.Popen(
        [*SEPPO, "run", "-n", "2", script(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _, *pids = map(int, read_line(process).split())
    end(process, number)
    assert process.returncode in (1, 130, 143)
    wait_until(lambda: not any(map(is_alive, pids)), "the end of the workers")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of it on Linux only")
def test_run_that_is_killed_takes_its_script_and_workers_along(script):
    text = PIDS.replace("len(pids), *pids", "os.getpid(), *pids") + "    time.sleep(60)\n"
    process = subprocess.Popen(
        [*SEPPO, "run", "-n", "2", script(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    pids = list(map(int, read_line(process).split()))
    assert all(map(is_alive, pids))
    end(process, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), "the end of script and workers")


def test_run_without_such_a_script_says_so():
    done = run("run", "nosuch.py")
    assert done.returncode == 1
    assert "nosuch.py" in done.stderr


def test_status_lists_hosts_and_for_each_client_what_runs(own_cluster):
    cluster = own_cluster(2)
    header, host = cluster.run("-m", "seppo", "status").stdout.splitlines()
    assert header.split() == [
        "name", "host", "pid", "group", "python", "address", "encrypted", "places", "state"
    ]  # fmt: skip
    assert host.split()[2] == str(cluster.workers.pid)
    assert host.split()[6:] == ["no", "2", "free"]
    with seppo.map_parallel(time.sleep, [600, 600], chunksize=1, fallback="error"):
        cluster.wait_until_busy()
        status = cluster.run("-m", "seppo", "status").stdout
        hosts, held = (part.splitlines() for part in status.split("\n\n"))
        assert hosts[1].endswith("in use")
        assert held[0].split() == ["client", "process", "pid", "world", "runs"]
        assert all(f":{os.getpid()} " in row for row in held[1:])
        assert sorted(row.rpartition("  ")[2] for row in held[1:]) == ["item 0", "item 1"]
        pids = [int(row.split()[-4]) for row in held[1:]]
        assert sorted(pids) == sorted(cluster.pids())


def test_status_tells_an_initializer(own_cluster, tmp_path):
    cluster = own_cluster(1)
    path = tmp_path / "go on"

    def initializer():
        while not path.exists():
            time.sleep(0.01)

    with seppo.map_parallel(abs, [1], initializer=initializer, fallback="error") as results:
        cluster.wait_until_busy(1)
        assert "the initializer" in cluster.run("-m", "seppo", "status").stdout
        path.touch()
        assert list(results) == [1]


def test_status_as_json_tells_busy_and_idle(own_cluster):
    cluster = own_cluster(2)

    def host():
        (row,) = json.loads(cluster.run("-m", "seppo", "status", "--json").stdout)
        return row

    before = host()
    assert (before["state"], before["places"], before["spares"]) == ("free", 2, 2)
    assert before["clients"] == []
    with seppo.map_parallel(time.sleep, [600, 600], chunksize=1, fallback="error"):
        cluster.wait_until_busy()
        busy = host()
        assert busy["state"] == "in use"
        (client,) = busy["clients"]
        assert [process["busy"] for process in client["processes"]] == [True, True]
    cluster.wait_until_idle()
    assert not any(p["busy"] for client in host()["clients"] for p in client["processes"])


def test_status_without_a_name_server_says_what_to_do():
    done = run("status")
    assert done.returncode == 1
    assert "seppo nameserver" in done.stderr


def test_status_without_workers_says_what_to_do():
    with Cluster(0) as cluster:
        assert "seppo worker" in cluster.run("-m", "seppo", "status").stdout


def test_status_shows_a_dead_entry_as_gone():
    with Cluster(1) as cluster:
        spares = cluster.spares()
        end(cluster.workers, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, spares)), "the end of the spares")
        rows = json.loads(cluster.run("-m", "seppo", "status", "--json").stdout)
        assert [row["state"] for row in rows] == ["gone"]


def test_worker_unregisters_on_sigterm():
    with Cluster(2) as cluster:
        end(cluster.workers)
        assert cluster.entries() == []
        assert cluster.workers.returncode == 0


def test_worker_says_where_it_listens():
    with Cluster(0) as cluster:
        process = cluster.spawn("-m", "seppo", "worker", "-n", "1")
        line = read_line(process)
        assert "127.0.0.1" in line
        assert "not encrypted" in line


def test_worker_limits_the_threads_of_numerical_libraries(shared_cluster, monkeypatch):
    monkeypatch.setenv("PYRO_NS_PORT", str(shared_cluster.port))
    found = set(seppo.map_parallel(os.getenv, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]))
    assert found == {str(max(1, cpus() // 2))}


def test_number_of_workers():
    assert workers_wanted(None) == cpus()
    assert workers_wanted(5) == 5
    assert workers_wanted(-1) == max(1, cpus() - 1)
    assert workers_wanted(-1000) == 1
    with pytest.raises(ValueError, match="-n"):
        workers_wanted(0)


def test_without_a_verb_help_is_printed():
    done = run()
    assert done.returncode == 2
    assert "verbs" in done.stdout


def test_version():
    assert run("--version").stdout == f"seppo {seppo.__version__}\n"


def test_nothing_listens_beyond_loopback(shared_cluster):
    """Local addresses of all listening sockets, from the kernel's own table."""
    pids = {shared_cluster.nameserver.pid, shared_cluster.workers.pid, *shared_cluster.spares()}
    inodes = set()
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as lines:
            rows = [line.split() for line in list(lines)[1:]]
        listening += [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
    assert len(listening) == 2  # name server and supervisor; spares listen nowhere
    assert all(address.startswith("0100007F:") for address in listening)
