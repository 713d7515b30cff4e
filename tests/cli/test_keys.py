"""``seppo keys``: what it makes, what it tells, and what it never tells."""

from __future__ import annotations

import os
import re
import stat

import pytest

from seppo.cli import passphrase
from seppo.cli.main import main
from seppo.settings import Settings
from seppo.trust.joinfile import install, parse_join_file
from seppo.trust.revoked import read_list

NS = "192.168.1.10"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "seppo"


def test_new_makes_keys_and_says_how_to_pass_them_on(folder, capsys):
    assert main(["keys", "new"]) == 0
    assert sorted(os.listdir(folder)) == ["ca.pem", "cert-key.pem", "cert.pem", "key"]
    told = capsys.readouterr().out
    assert "seppo keys push" in told
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


def test_new_notes_where_the_name_server_is(folder):
    assert main(["keys", "new", "--ns", f"{NS}:9999", "--group", "lab"]) == 0
    settings = Settings.load({"XDG_CONFIG_HOME": str(folder.parent)})
    assert (settings.ns_host, settings.ns_port, settings.group) == (NS, 9999, "lab")
    assert stat.S_IMODE((folder / "settings").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("ns", "host", "port"),
    [
        ("lab.ns", "lab.ns", 9090), ("lab.ns:1", "lab.ns", 1), ("fe80::1", "fe80::1", 9090),
        ("[fe80::1]:2", "fe80::1", 2), ("[fe80::1]", "fe80::1", 9090),
    ],
)  # fmt: skip
def test_a_name_server_is_named_with_or_without_port(folder, ns, host, port):
    assert main(["keys", "new", "--ns", ns]) == 0
    settings = Settings.load({"XDG_CONFIG_HOME": str(folder.parent)})
    assert (settings.ns_host, settings.ns_port) == (host, port)


@pytest.mark.parametrize("ns", ["lab:http", "lab\nSEPPO_GRACE=1", "a b'"])
def test_a_name_server_that_makes_no_sense_is_refused(folder, ns):
    assert main(["keys", "new", "--ns", ns]) == 1
    assert not folder.exists()


def test_an_export_is_for_its_user_alone_and_replaces_nothing(folder, tmp_path, capsys):
    main(["keys", "new"])
    file = tmp_path / "bundle"
    assert main(["keys", "export", str(file), "--ns", NS]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    assert main(["keys", "export", str(file), "--ns", NS]) == 1
    assert "exists" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_an_export_without_keys_says_what_to_do(folder, tmp_path, capsys):
    assert main(["keys", "export", str(tmp_path / "file")]) == 1
    assert "seppo keys new" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


def test_a_name_server_on_loopback_does_not_go_along(folder, tmp_path, capsys):
    main(["keys", "new"])
    assert main(["keys", "export", str(tmp_path / "file")]) == 0
    assert "--ns" in capsys.readouterr().err
    assert b"PYRO_NS_HOST" not in (tmp_path / "file").read_bytes()


@pytest.fixture
def authority(folder, monkeypatch):
    """The folder of keys whose authority was kept."""
    monkeypatch.setenv("SEPPO_CA_PASSPHRASE", "open sesame")
    assert main(["keys", "new"]) == 0
    return folder


def test_the_authority_is_kept_under_a_passphrase(authority, capsys):
    text = (authority / "ca-key.pem").read_text()
    assert "ENCRYPTED" in text
    assert stat.S_IMODE((authority / "ca-key.pem").stat().st_mode) == 0o600
    assert "thrown away" not in capsys.readouterr().out


def test_the_authority_is_discarded_if_asked_or_without_a_passphrase(folder, monkeypatch, capsys):
    assert main(["keys", "new"]) == 0
    assert "thrown away" in capsys.readouterr().out
    monkeypatch.setenv("SEPPO_CA_PASSPHRASE", "open sesame")
    assert main(["keys", "new", "--replace", "--discard-authority"]) == 0
    assert not (folder / "ca-key.pem").exists()


@pytest.mark.parametrize(
    ("typed", "code", "is_kept"), [(["x", "x"], 0, True), (["x", "y"], 1, False), ([""], 0, False)]
)
def test_at_a_terminal_the_passphrase_is_asked_for_twice(folder, monkeypatch, typed, code, is_kept):
    monkeypatch.setattr(passphrase, "_at_terminal", lambda: True)
    monkeypatch.setattr(passphrase, "getpass", lambda _: typed.pop(0))
    assert main(["keys", "new"]) == code
    assert (folder / "ca-key.pem").exists() == is_kept
    assert not typed


def test_an_export_for_a_machine_has_a_certificate_of_its_own(authority, tmp_path, capsys):
    file = tmp_path / "file"
    assert main(["keys", "export", str(file), "--ns", NS, "--machine", "lab-3"]) == 0
    joined = parse_join_file(file.read_bytes())
    assert joined.files["cert.pem"] != (authority / "cert.pem").read_text()
    install(joined, tmp_path / "there")
    main(["keys", "show"])
    told = capsys.readouterr().out
    (serial,) = re.findall("([0-9A-F]+) lab-3", told)
    assert main(["keys", "revoke", serial]) == 0
    main(["keys", "show"])
    assert f"{serial} lab-3, revoked" in capsys.readouterr().out


def test_without_the_authority_no_machine_has_its_own(folder, tmp_path, monkeypatch, capsys):
    main(["keys", "new"])
    monkeypatch.setenv("SEPPO_CA_PASSPHRASE", "open sesame")
    assert main(["keys", "export", str(tmp_path / "file"), "--machine", "lab-3"]) == 1
    assert "no " in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


def test_all_certificates_of_a_machine_are_revoked_by_its_name(authority, tmp_path, capsys):
    for n in range(2):
        assert main(["keys", "export", str(tmp_path / str(n)), "--machine", "lab-3"]) == 0
    assert main(["keys", "revoke", "lab-3"]) == 0
    assert len(read_list(authority / "revoked")) == 2
    assert main(["keys", "revoke", "lab-4"]) == 1
    assert "known machines: " in capsys.readouterr().err
    assert len(read_list(authority / "revoked")) == 2


def test_new_keys_forget_what_was_revoked(authority, monkeypatch):
    assert main(["keys", "revoke", "ABCDEF0123"]) == 0
    assert main(["keys", "new", "--replace", "--discard-authority"]) == 0
    assert sorted(os.listdir(authority)) == ["ca.pem", "cert-key.pem", "cert.pem", "key"]
