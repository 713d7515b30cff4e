"""Unix sockets: nobody else reaches them, and we reach nobody else's."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from processes import CREDENTIALS, wait_until

from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import ensure_key
from seppo.trust.listener import Listener
from seppo.trust.sockets import bind, check_folder, connect
from seppo.wire.address import Address, path_of

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder(tmp_path):
    path = Path(os.path.realpath(tmp_path)) / "s"
    path.mkdir(mode=0o700)
    return path


class Echo:
    """Echoes on a Unix socket what has proved the key."""

    def __init__(self, folder: Path, credentials: Credentials = CREDENTIALS) -> None:
        self._credentials = credentials
        self.listener = Listener(f"./u:{folder}", 0, self.serve)
        self.address = Address("role", self.listener.host, self.listener.port)
        self.listener.listen()
        self.listener.start()

    def serve(self, connection):
        deadline = time.monotonic() + 20
        self._credentials.accept(
            connection.sock, self.listener.host, "role", deadline, False, connection.adopt
        )
        while data := connection.sock.recv(9):
            connection.sock.sendall(data)

    def close(self):
        self.listener.close()


@pytest.fixture
def echo(folder):
    echo = Echo(folder)
    yield echo
    echo.close()


def talks(credentials, address):
    with credentials.connect(address, 20.0) as sock:
        sock.sendall(b"hello")
        return sock.recv(9) == b"hello"


def test_both_sides_prove_the_key(echo):
    assert echo.address == Address.parse(str(echo.address))
    assert stat.S_ISSOCK(os.lstat(echo.address.path).st_mode)
    assert talks(CREDENTIALS, echo.address)


def test_another_key_is_refused(echo, tmp_path):
    ensure_key(tmp_path / "other")
    with pytest.raises(SecurityError, match="does not prove"):
        talks(Credentials(Settings(key_file=str(tmp_path / "other"))), echo.address)


def test_the_proof_is_bound_to_the_role(echo):
    with pytest.raises(SecurityError):
        CREDENTIALS.connect(replace(echo.address, object="another role"), 20.0)


def test_there_is_no_tls_even_where_all_else_has_it(folder, tmp_path):
    ensure_key(tmp_path / "key")
    credentials = Credentials(Settings(key_file=str(tmp_path / "key"), tls_on_loopback=True))
    assert not credentials.is_encrypted(f"./u:{folder}")
    credentials.check_server(f"./u:{folder}")  # asks for no certificates
    echo = Echo(folder, credentials)
    try:
        assert talks(credentials, echo.address)
    finally:
        echo.close()


@as_root
def test_another_user_cannot_connect():
    # Not in pytest's folder, which other users cannot enter anyway; this one they can.
    with tempfile.TemporaryDirectory(prefix="seppo-", dir="/tmp") as outer:
        os.chmod(outer, 0o711)
        inner = Path(outer, "s")
        inner.mkdir(mode=0o700)
        echo = Echo(inner)
        try:
            os.chmod(echo.address.path, 0o777)  # the folder alone keeps them out
            assert connects_as_nobody(echo.address.path) == "refused"
            assert talks(CREDENTIALS, echo.address)
            inner.chmod(0o711)
            assert connects_as_nobody(echo.address.path) == "connected"
        finally:
            echo.close()


def connects_as_nobody(path):
    code = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except PermissionError: print('refused')\n"
        "else: print('connected')\n"
    )
    command = [sys.executable, "-c", code, path]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def refusal(folder):
    """Return why a folder is refused, which both sides do."""
    address = Address("role", f"./u:{folder}/seppo-0123456789ab")
    with pytest.raises(SecurityError) as on_connect:
        connect(address, 20.0)
    with pytest.raises(SecurityError) as on_bind:
        bind(f"./u:{folder}", 0)
    assert str(on_bind.value) == str(on_connect.value)
    return str(on_connect.value)


def test_a_folder_that_others_can_enter_is_refused(folder):
    for mode in (0o755, 0o710, 0o701, 0o770):
        folder.chmod(mode)
        assert "0700" in refusal(folder)


@as_root
def test_a_folder_of_somebody_else_is_refused(folder):
    os.chown(folder, NOBODY, NOBODY)
    assert "somebody else" in refusal(folder)


def test_a_folder_behind_a_symbolic_link_is_refused(folder, tmp_path):
    (folder / "inner").mkdir(mode=0o700)
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert "symbolic link" in refusal(link)
    assert "symbolic link" in refusal(link / "inner")


def test_a_file_is_no_folder(folder):
    (folder / "file").touch(mode=0o600)
    with pytest.raises(SecurityError, match="no folder"):
        check_folder(str(folder / "file"))


def test_a_path_that_is_too_long_or_odd_is_an_error(folder):
    for name in ("n" * (103 - len(str(folder)) - 19), "with space"):
        (folder / name).mkdir(mode=0o700)
        with pytest.raises(OSError, match="too long, or odd"):
            bind(f"./u:{folder / name}", 0)
    longest = folder / ("n" * (103 - len(str(folder)) - 20))
    longest.mkdir(mode=0o700)
    sock, host, _ = bind(f"./u:{longest}", 0)
    sock.close()
    assert len(path_of(host)) == 103


def test_the_file_goes_with_its_listener(echo, folder):
    echo.close()
    assert list(folder.iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        connect(echo.address, 20.0)


def test_a_file_on_which_nobody_listens_is_a_refusal(folder):
    sock, host, _ = bind(f"./u:{folder}", 0)
    sock.close()  # as a process that is killed does
    with pytest.raises(ConnectionRefusedError):
        connect(Address("role", host), 20.0)


def test_a_forked_child_leaves_the_file_to_its_parent(echo):
    pid = os.fork()
    if not pid:
        echo.listener.abandon()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert talks(CREDENTIALS, echo.address)


def test_closing_ends_connections_and_threads(folder):
    before = threading.active_count()
    echo = Echo(folder)
    with CREDENTIALS.connect(echo.address, 20.0) as sock:
        echo.close()
        assert sock.recv(1) == b""
    wait_until(lambda: threading.active_count() <= before)
    assert sock.family == socket.AF_UNIX
