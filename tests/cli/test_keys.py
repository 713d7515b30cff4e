"""``seppo keys``: what it makes, what it tells, and what it never tells."""

from __future__ import annotations

import os
import re

import pytest

from seppo.cli.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "seppo"


def test_new_makes_a_folder_to_copy(folder, capsys):
    assert main(["keys", "new"]) == 0
    assert sorted(os.listdir(folder)) == ["ca.pem", "cert-key.pem", "cert.pem", "key"]
    told = capsys.readouterr().out
    assert f"scp -pr {folder}" in told
    assert (folder / "key").read_text().strip() not in told


def test_show_tells_where_fingerprint_and_expiry(folder, capsys):
    main(["keys", "new", "--days", "10"])
    capsys.readouterr()
    assert main(["keys", "show"]) == 0
    told = capsys.readouterr().out
    assert told.count("SHA256:") == 3
    assert "in 9 days: make new ones in time" in told
    assert (folder / "key").read_text().strip() not in told


def test_show_tells_the_start_of_the_fingerprint_in_groups(folder, capsys):
    main(["keys", "new"])
    capsys.readouterr()
    main(["keys", "show"])
    told = capsys.readouterr().out
    (spoken,) = re.findall("read aloud: (.*)", told)
    assert re.fullmatch("([0-9a-f]{4} ){3}[0-9a-f]{4}", spoken)
    assert f"SHA256:{spoken.replace(' ', '')}" in told


def test_show_makes_nothing(folder, capsys):
    assert main(["keys", "show"]) == 0
    assert "made at first use" in capsys.readouterr().out
    assert not folder.exists()


def test_show_fails_where_something_cannot_be_used(folder, capsys):
    main(["keys", "new"])
    (folder / "key").chmod(0o644)
    assert main(["keys", "show"]) == 1
    (folder / "key").chmod(0o600)
    (folder / "cert.pem").write_text("garbage")
    assert main(["keys", "show"]) == 1
    assert "cannot be used" in capsys.readouterr().out


def test_old_keys_are_not_replaced_unasked(folder, capsys):
    main(["keys", "new"])
    before = (folder / "key").read_text()
    assert main(["keys", "new"]) == 1
    assert "--replace" in capsys.readouterr().err
    assert (folder / "key").read_text() == before
    assert main(["keys", "new", "--replace"]) == 0
    assert (folder / "key").read_text() != before


def test_a_named_key_file_has_its_certificates_beside_it(tmp_path, capsys):
    assert main(["keys", "new", "--key-file", str(tmp_path / "lab" / "our-key")]) == 0
    assert sorted(os.listdir(tmp_path / "lab")) == ["ca.pem", "cert-key.pem", "cert.pem", "our-key"]
