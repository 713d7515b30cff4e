"""``seppo join``: another machine takes in what ``seppo keys export`` has written."""

from __future__ import annotations

import io
import os
import stat
import sys

import pytest

from seppo.cli.main import main
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import ensure_key

NS = "192.168.1.10"


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """A file from the first machine; from here on this is the second one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "first"))
    monkeypatch.delenv("PYRO_NS_PORT", raising=False)
    assert main(["keys", "new"]) == 0
    file = tmp_path / "exported"
    assert main(["keys", "export", str(file), "--ns", f"{NS}:999", "--group", "lab"]) == 0
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "second"))
    return file


@pytest.fixture
def folder(tmp_path):
    """Where the second machine has its keys."""
    return tmp_path / "second" / "seppo"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_machine_that_joins_has_keys_name_server_and_group(exported, folder, tmp_path, capsys):
    capsys.readouterr()
    assert main(["join", str(exported)]) == 0
    there, here = contents(folder), contents(tmp_path / "first" / "seppo")
    assert {name: there[name] for name in here} == here
    settings = Settings.load()
    assert (settings.ns_host, settings.ns_port, settings.group) == (NS, 999, "lab")
    Credentials(settings).check_server("192.168.1.11")
    assert Credentials(settings).key.spoken in capsys.readouterr().out


def test_what_it_writes_is_for_its_user_alone(exported, folder):
    umask = os.umask(0)
    try:
        assert main(["join", str(exported)]) == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_standard_input_will_do(exported, folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.read_bytes())))
    assert main(["join", "-"]) == 0
    assert (folder / "key").exists()


def test_other_keys_are_not_replaced_unasked(exported, folder, capsys):
    ensure_key(folder / "key")
    (folder / "cert.pem").write_text("old")
    before = contents(folder)
    assert main(["join", str(exported)]) == 1
    assert "--replace" in capsys.readouterr().err
    assert contents(folder) == before
    assert main(["join", str(exported), "--replace"]) == 0
    assert contents(folder)["key"] != before["key"]
    assert contents(folder)["cert.pem"] != b"old"


def test_to_join_again_changes_nothing(exported, folder):
    assert main(["join", str(exported)]) == 0
    before = contents(folder)
    assert main(["join", str(exported)]) == 0
    assert contents(folder) == before


def test_other_settings_stay(exported, folder):
    folder.mkdir(parents=True)
    (folder / "settings").write_text("SEPPO_GRACE=7\nSEPPO_GROUP=old\n")
    assert main(["join", str(exported)]) == 0
    assert (Settings.load().grace, Settings.load().group) == (7.0, "lab")


def test_a_file_that_others_could_read_is_told(exported, capsys):
    exported.chmod(0o644)
    assert main(["join", str(exported)]) == 0
    assert "others could read" in capsys.readouterr().err


def test_a_key_file_that_is_named_elsewhere_is_told(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPPO_KEY_FILE", str(tmp_path / "other"))
    assert main(["join", str(exported)]) == 0
    assert "another key is in use" in capsys.readouterr().err


def test_what_is_no_join_file_is_refused_in_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "second"))
    (tmp_path / "file").write_bytes(b"\x00\xff")
    assert main(["join", str(tmp_path / "file")]) == 1
    assert "no join file" in capsys.readouterr().err
    assert not folder.exists()
