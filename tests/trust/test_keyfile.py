"""The file of the key: made once, for one user alone, and refused otherwise."""

from __future__ import annotations

import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust import keyfile
from seppo.trust.keyfile import Key, ensure_key, key_path, read_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config" / "seppo" / "key"


def test_first_use_makes_a_key_for_its_user_alone(path):
    key = ensure_key(path)
    assert len(key.reveal()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["key"]


def test_second_use_finds_it(path):
    assert ensure_key(path).reveal() == ensure_key(path).reveal() == read_key(path).reveal()


def test_many_first_users_at_once_end_with_one_key(path):
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda _: ensure_key(path).reveal(), range(64)))
    assert len(set(keys)) == 1


def test_a_file_system_without_links_will_do(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda _: ensure_key(path).reveal(), range(64)))
    assert len(set(keys)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_read_is_refused(path, mode):
    ensure_key(path)
    path.chmod(mode)
    with pytest.raises(SecurityError, match=rf"mode {mode:04o}.*chmod 600"):
        ensure_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user_is_refused(path):
    ensure_key(path)
    os.chown(path, 12345, -1)
    with pytest.raises(SecurityError, match="another user"):
        read_key(path)


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"00" * 31, b"zz" * 32, b"\xff" * 64, b"00" * 600]
)
def test_a_file_without_a_key_is_refused(path, content, monkeypatch):
    monkeypatch.setattr(keyfile, "PATIENCE", 0.0)
    ensure_key(path)
    path.write_bytes(content)
    with pytest.raises(SecurityError, match="holds no key"):
        ensure_key(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(SecurityError, match="is not a file"):
        read_key(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SecurityError, match="is not a file"):  # and is not waited for
        read_key(tmp_path / "pipe")


def test_a_place_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SecurityError, match=r"Not a directory; .*SEPPO_KEY_FILE"):
        ensure_key(tmp_path / "file" / "seppo" / "key")


def test_a_named_file_beats_the_configuration_directory(monkeypatch, tmp_path):
    assert key_path(Settings(key_file="/some/key")) == Path("/some/key")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_path(Settings()) == tmp_path / "seppo" / "key"
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert key_path(Settings()) == Path("/home/somebody/.config/seppo/key")


def test_without_any_home_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no home, no such user
    with pytest.raises(SecurityError, match="SEPPO_KEY_FILE"):
        key_path(Settings())


def test_a_key_keeps_its_bytes_to_itself():
    key = Key(bytes(range(32)), "/path")
    assert repr(key) == str(key) == "Key(/path)"
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(key)
