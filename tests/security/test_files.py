"""The key's file, and that the key is in no other place."""

import logging
import os
import re
import stat
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from attack import family_of
from processes import ROOT, Process

from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import ensure_key, key_path, read_key

ENSURE = """
import sys
from pathlib import Path
from seppo.trust.keyfile import ensure_key
print("ready", flush=True)
sys.stdin.readline()
print(ensure_key(Path(sys.argv[1])).reveal().hex())
"""


def test_eight_first_users_at_once_end_with_one_key(tmp_path):
    path = tmp_path / "config" / "seppo" / "key"
    users = [
        subprocess.Popen(
            [sys.executable, "-c", ENSURE, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(8)
    ]  # fmt: skip
    assert [user.stdout.readline() for user in users] == ["ready\n"] * 8
    for user in users:
        user.stdin.write("\n")
        user.stdin.flush()
    keys = {user.communicate(timeout=30)[0] for user in users}
    assert len(keys) == 1
    assert re.fullmatch(r"[0-9a-f]{64}\n", keys.pop())
    assert os.listdir(path.parent) == ["key"]  # and no scratch files
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_mode_does_not_depend_on_the_umask(tmp_path):
    old = os.umask(0)
    try:
        path = tmp_path / "folder" / "key"
        ensure_key(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o644])
def test_a_key_that_others_can_touch_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    ensure_key(path)
    path.chmod(mode)
    for use in (read_key, ensure_key):
        with pytest.raises(SecurityError, match="chmod 600") as caught:
            use(path)
        assert str(path) in str(caught.value)


def test_a_key_that_becomes_readable_is_refused_from_then_on(tmp_path):
    path = tmp_path / "key"
    credentials = Credentials(Settings(key_file=str(path)))
    secret = credentials.key.reveal()
    path.chmod(0o644)
    with pytest.raises(SecurityError):
        _ = credentials.key
    path.chmod(0o600)
    assert credentials.key.reveal() == secret


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_somebody_elses_key_is_refused(tmp_path):
    path = tmp_path / "key"
    ensure_key(path)
    os.chown(path, 12345, -1)
    with pytest.raises(SecurityError, match="another user"):
        read_key(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"00" * 31,
        b"00" * 33,
        b"zz" * 32,
        bytes(32),
        b"\xff" * 64,
        b"0" * 5000,
    ],
)
def test_a_file_without_a_key_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SecurityError, match="holds no key"):
        read_key(path)
    with pytest.raises(SecurityError, match="holds no key"):
        ensure_key(path)
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("directory", "fifo"):
        with pytest.raises(SecurityError, match=name):
            ensure_key(tmp_path / name)
    (tmp_path / "file").touch(0o600)
    with pytest.raises(SecurityError, match="SEPPO_KEY_FILE"):
        ensure_key(tmp_path / "file" / "key")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "key")
    with pytest.raises(SecurityError, match="link"):
        ensure_key(tmp_path / "link")


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so():
    with pytest.raises(SecurityError, match="SEPPO_KEY_FILE"):
        ensure_key(Path("/proc/seppo/key"))


def test_no_home_is_an_error_that_says_so(monkeypatch):
    for home in ("relative", "~nobody-of-this-name"):
        monkeypatch.setenv("HOME", home)
        monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
        with pytest.raises(SecurityError, match="HOME"):
            key_path(Settings())
    monkeypatch.setenv("HOME", "/home/somebody")
    assert key_path(Settings()) == Path("/home/somebody/.config/seppo/key")


def test_a_server_without_a_home_ends_and_says_why():
    env = {"HOME": "/proc/nowhere", "XDG_CONFIG_HOME": "", "PYRO_NS_PORT": "1"}
    with Process("-m", "seppo", "worker", "-n", "1", env=env) as process:
        assert process.wait(30) == 1
        assert "seppo worker: the shared key cannot be made at /proc/nowhere" in process.output
        assert "Traceback" not in process.output


# --- secrecy


def test_a_key_shows_itself_to_nobody(tmp_path):
    path = tmp_path / "key"
    credentials = Credentials(Settings(key_file=str(path)))
    key = credentials.key
    secret = key.reveal()
    shown = [repr(key), str(key), f"{key}", repr(vars(credentials))]
    shown.append(traceback_with_locals(key))
    path.chmod(0o644)
    with pytest.raises(SecurityError) as caught:
        _ = credentials.key
    shown.append("".join(traceback.format_exception(caught.value)))
    for text in shown:
        assert_without(text.encode(), secret)
    import copy
    import pickle

    for take_along in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not travel"):
            take_along(key)


def traceback_with_locals(key):
    try:
        raise ValueError(key)
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(
            error, capture_locals=True).format())  # fmt: skip


def assert_without(text, secret):
    for form in (secret, secret.hex().encode(), repr(secret)[2:-1].encode()):
        assert form not in text


def test_passwords_of_keys_are_not_shown(monkeypatch):
    settings = Settings.load({"PYRO_SSL_SERVERKEYPASSWD": "open sesame"})
    assert settings.server_tls.password == "open sesame"
    assert "sesame" not in repr(settings)


SCRIPT = """
import os, pathlib, sys, time, seppo

def look(_):
    time.sleep(0.05)
    key_file = os.environ["SEPPO_KEY_FILE"]
    return os.getpid(), dict(os.environ), key_file

if __name__ == "__main__":
    found = list(seppo.map_parallel(look, range(20)))
    assert os.getpid() not in {pid for pid, _, _ in found}
    key_file = pathlib.Path(found[0][2])
    print("FILE", key_file, oct(key_file.stat().st_mode), oct(key_file.parent.stat().st_mode))
    print("KEY", key_file.read_text().strip())
    print("PIDS", *{pid for pid, _, _ in found}, os.getpid(), flush=True)
    assert not any(key_file.read_text().strip() in str(env) for _, env, _ in found)
    sys.stdin.readline()
"""


def test_seppo_run_leaves_no_key_and_shows_none(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
    config, temp = tmp_path / "config", tmp_path / "temp"
    temp.mkdir()
    env |= {"XDG_CONFIG_HOME": str(config), "TMPDIR": str(temp), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "seppo", "-v", "run", "-n", "2", str(script)],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        told = [process.stdout.readline().split() for _ in range(3)]
        (_, path, *modes), (_, key), _ = told
        assert modes == ["0o100600", "0o40700"]
        family = family_of(process.pid)
        assert {int(pid) for pid in told[2][1:]} < family
        for pid in family:
            for name in ("environ", "cmdline"):
                assert_without(Path(f"/proc/{pid}/{name}").read_bytes(), bytes.fromhex(key))
    finally:
        output, errors = process.communicate("\n", timeout=30)
    assert process.returncode == 0, errors
    assert "has 2 place(s)" in errors  # it was verbose
    assert key not in output + errors
    assert not Path(path).exists()
    assert list(temp.iterdir()) == []
    assert not config.exists()


def test_a_worker_shows_no_key(own_cluster):
    cluster = own_cluster(1, verbose=True)
    secret = Credentials(cluster.settings).key.reveal()
    cluster.run("-c", "import seppo; list(seppo.map_parallel(abs, range(9)))")
    for pid in (*cluster.pids(), cluster.workers.pid):
        for name in ("environ", "cmdline"):
            assert_without(Path(f"/proc/{pid}/{name}").read_bytes(), secret)
    assert_without(repr(cluster.infos()).encode(), secret)
    cluster.workers.terminate()
    assert_without(cluster.workers.stdout.read().encode(), secret)


def test_the_driver_logs_no_key(target, caplog):
    import seppo

    with caplog.at_level(logging.DEBUG):
        list(seppo.map_parallel(abs, range(9)))
    assert_without(caplog.text.encode(), Credentials(target.settings).key.reveal())
