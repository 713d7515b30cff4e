"""What is listened on: loopback, unless there are certificates or somebody insists."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from attack import family_of, listeners
from lessee import Lessee
from processes import ROOT, Process, wait_until

from seppo.wire.messages import Leased, Want

REFUSED = "TLS is needed"
LOOPBACK = {"127.0.0.1"}


def test_workers_and_name_servers_listen_on_loopback_alone(target):
    with Lessee(target.entries()[0]) as client:
        client.send(Want(1, 1))
        client.wait_for(Leased)  # now it listens, until its client is there
        for process, count in ((target.workers, 2), (target.nameserver, 1)):
            found = listeners(family_of(process.pid))
            assert len(found) == count
            assert {host for host, _ in found} == LOOPBACK
        client.attach()
        assert len(listeners(family_of(target.workers.pid))) == 1


@contextlib.contextmanager
def seppo_run(tmp_path, **env):
    """A script under ``seppo run`` that has mapped something in parallel, and waits."""
    script = tmp_path / "script.py"
    script.write_text(
        "import seppo, sys\n"
        "list(seppo.map_parallel(abs, range(9), fallback='error'))\n"
        "print('ran', flush=True); sys.stdin.readline()"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "seppo", "run", "-n", "2", str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ran\n"
        yield process
    finally:
        process.communicate("\n", timeout=30)


@pytest.fixture
def runtime_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


def test_seppo_run_listens_on_no_port_at_all(tmp_path, runtime_folder):
    sockets = runtime_folder / "seppo"
    with seppo_run(tmp_path, XDG_RUNTIME_DIR=str(runtime_folder)) as process:
        assert listeners(family_of(process.pid)) == set()
        # Name server and supervisor; that of a worker is gone once its client is there.
        wait_until(lambda: len(list(sockets.iterdir())) == 2)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert list(sockets.iterdir()) == []


def test_seppo_run_does_so_with_tls_on_loopback_too(tmp_path, runtime_folder):
    env = {"XDG_RUNTIME_DIR": str(runtime_folder), "PYRO_SSL": "1"}  # there are no certificates
    with seppo_run(tmp_path, **env) as process:
        assert listeners(family_of(process.pid)) == set()


def test_without_a_runtime_folder_the_cache_folder_has_the_sockets(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as cache:
        env = {"XDG_RUNTIME_DIR": "", "XDG_CACHE_HOME": cache}
        with seppo_run(tmp_path, **env) as process:
            assert listeners(family_of(process.pid)) == set()
            assert len(list(Path(cache).glob("seppo/*/sockets/seppo-*"))) >= 2


def test_where_no_unix_socket_can_be_made_seppo_run_listens_on_loopback_alone(tmp_path):
    long = tmp_path / ("long" * 25)
    with seppo_run(tmp_path, XDG_RUNTIME_DIR="", XDG_CACHE_HOME=str(long)) as process:
        found = listeners(family_of(process.pid))
        assert len(found) >= 2  # name server, supervisor, and workers whose client is on its way
        assert {host for host, _ in found} == LOOPBACK


def test_sockets_that_a_killed_process_has_left_go_at_the_next_start(tmp_path, runtime_folder):
    sockets = runtime_folder / "seppo"
    with seppo_run(tmp_path, XDG_RUNTIME_DIR=str(runtime_folder)) as process:
        process.kill()
        process.wait()
    left = set(sockets.iterdir())
    assert len(left) >= 2
    for path in left:
        os.utime(path, (0, 0))  # as after a while
    with seppo_run(tmp_path, XDG_RUNTIME_DIR=str(runtime_folder)):
        assert not left & set(sockets.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "seppo", "worker", "-n", "1", "--host", "0.0.0.0"),
        ("-m", "seppo", "worker", "-n", "1", "--host", "::"),
        ("-m", "seppo", "nameserver", "--host", "0.0.0.0", "--port", "0"),
        ("-m", "seppo", "nameserver", "--host", "::", "--port", "0"),
        ("-c", "import seppo; seppo.start_seppo_enslaved_server('0.0.0.0')"),
    ],
)
def test_off_loopback_without_tls_is_refused_before_anybody_can_connect(command, tmp_path):
    # The trace shows that it never came to listen(2), not even for a moment.
    code = (
        "import runpy, sys, socket\n"
        "old = socket.socket.listen\n"
        "def listen(self, *args):\n"
        "    assert self.getsockname()[0] in ('127.0.0.1', '::1'), 'it listened'\n"
        "    old(self, *args)\n"
        "socket.socket.listen = listen\n"
    )
    if command[0] == "-m":
        code += f"sys.argv = {list(command[1:])}\nrunpy.run_module('seppo', run_name='__main__')"
    else:
        code += command[1]
    env = {"PYRO_NS_PORT": "1", "XDG_CONFIG_HOME": str(tmp_path)}
    with Process("-c", code, env=env) as process:
        assert process.wait(30) == 1
    assert REFUSED in process.output
    assert "--insecure" in process.output
    assert "it listened" not in process.output


def test_the_first_line_says_what_it_listens_on(target):
    with Process("-m", "seppo", "nameserver", "--port", "0") as process:
        wait_until(lambda: listeners({process.pid}), what="it listens")
        process.stop()
        assert process.output.startswith("name server at 127.0.0.1:")
        assert "not encrypted" in process.output
