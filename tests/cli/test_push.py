"""``seppo keys push``: what it puts on other machines; ssh is a program that runs it here."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from seppo.cli.main import main
from seppo.settings import Settings
from seppo.trust import tls
from seppo.trust.credentials import Credentials
from seppo.trust.joinfile import collect
from seppo.trust.joinscript import JoinScript
from seppo.trust.keyfile import ensure_key
from seppo.trust.revoked import read_list

NS = "192.168.1.10"
FAKE_SSH = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
host=$1
shift
HOME=$FAKE_HOMES/$host
if [ ! -d "$HOME" ]; then
    echo "ssh: Could not resolve hostname $host" >&2
    exit 255
fi
export HOME
unset XDG_CONFIG_HOME
umask 022
echo "Welcome to $host"
exec "${FAKE_SHELL:-sh}" -c "$*"
"""


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """The homes of two other machines; this one has keys and knows a name server."""
    homes = tmp_path / "homes"
    for name in ("a", "b"):
        (homes / name).mkdir(parents=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(FAKE_SSH)
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_HOMES", str(homes))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "here"))
    monkeypatch.delenv("PYRO_NS_PORT")
    assert main(["keys", "new", "--ns", NS, "--group", "lab"]) == 0
    return homes


def folder_of(home):
    return home / ".config" / "seppo"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def spoken(folder):
    return Credentials(Settings(key_file=str(folder / "key"))).key.spoken


def test_two_machines_have_joined_after_two_commands(machines, tmp_path, capsys):
    capsys.readouterr()
    assert main(["keys", "push", "a", "b"]) == 0
    here = tmp_path / "here" / "seppo"
    ours = spoken(here)
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: it has the key with the fingerprint {ours}" for name in ("a", "b")
    ]
    for name in ("a", "b"):
        there = folder_of(machines / name)
        names = ["ca.pem", "cert-key.pem", "cert.pem", "key"]
        assert {n: contents(there)[n] for n in names} == {n: contents(here)[n] for n in names}
        settings = Settings.load({"HOME": str(machines / name)})
        assert (settings.ns_host, settings.ns_port, settings.group) == (NS, 9090, "lab")


def test_what_it_writes_is_for_its_user_alone(machines):
    assert main(["keys", "push", "a"]) == 0
    there = folder_of(machines / "a")
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in there.iterdir()} == {0o600}


def test_one_that_fails_is_told_and_the_others_go_on(machines, capsys):
    capsys.readouterr()
    assert main(["keys", "push", "nowhere", "b"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first == "nowhere: FAILED: ssh: Could not resolve hostname nowhere"
    assert second.startswith("b: it has the key")


def test_other_keys_there_are_not_replaced_unasked(machines, capsys):
    there = folder_of(machines / "a")
    ensure_key(there / "key")
    (there / "cert.pem").write_text("old")
    before = contents(there)
    assert main(["keys", "push", "a"]) == 1
    assert "--replace" in capsys.readouterr().out
    assert contents(there) == before
    assert main(["keys", "push", "a", "--replace"]) == 0
    assert contents(there)["key"] != before["key"]


def test_to_push_again_keeps_other_settings(machines):
    there = folder_of(machines / "a")
    there.mkdir(parents=True)
    (there / "settings").write_text("SEPPO_GRACE=7\nSEPPO_GROUP=old\n")
    assert main(["keys", "push", "a"]) == 0
    before = contents(there)
    assert main(["keys", "push", "a"]) == 0
    assert contents(there) == before
    settings = Settings.load({"HOME": str(machines / "a")})
    assert (settings.grace, settings.group) == (7.0, "lab")


@pytest.fixture
def with_authority(machines, monkeypatch):
    """The homes of the other machines; here the authority's key was kept."""
    monkeypatch.setenv("SEPPO_CA_PASSPHRASE", "open sesame")
    assert main(["keys", "new", "--replace"]) == 0
    return machines


def test_each_machine_has_a_certificate_of_its_own(with_authority, tmp_path):
    assert main(["keys", "push", "a", "b"]) == 0
    here = tmp_path / "here" / "seppo"
    folders = [here, *(folder_of(with_authority / name) for name in ("a", "b"))]
    assert len({(each / "cert.pem").read_text() for each in folders}) == 3
    assert len({(each / "cert-key.pem").read_text() for each in folders}) == 3
    for each in folders[1:]:
        assert not (each / "ca-key.pem").exists()
        files = tls.client_files(Settings(key_file=str(each / "key")))
        tls.try_handshake(tls.server_files(Settings(key_file=str(here / "key"))), files)


def test_a_wrong_passphrase_sends_nothing(with_authority, monkeypatch, capsys):
    monkeypatch.setenv("SEPPO_CA_PASSPHRASE", "another")
    assert main(["keys", "push", "a"]) == 1
    monkeypatch.delenv("SEPPO_CA_PASSPHRASE")
    assert main(["keys", "push", "a"]) == 1
    told = capsys.readouterr().err
    assert "wrong passphrase?" in told
    assert "SEPPO_CA_PASSPHRASE" in told
    assert not folder_of(with_authority / "a").exists()


def test_the_list_of_revoked_ones_goes_alone_and_is_added_to_what_is_there(
    with_authority, tmp_path, monkeypatch
):
    assert main(["keys", "push", "a", "b"]) == 0
    there = folder_of(with_authority / "a")
    (there / "revoked").write_text("AB1 older\n")
    before = contents(there)
    assert main(["keys", "revoke", "b"]) == 0
    monkeypatch.delenv("SEPPO_CA_PASSPHRASE")
    assert main(["keys", "push", "--revoked", "a"]) == 0
    revoked = read_list(there / "revoked")
    assert sorted(revoked.values()) == ["b", "older"]
    assert {**contents(there), "revoked": b""} == {**before, "revoked": b""}
    assert main(["keys", "push", "--revoked", "a"]) == 0
    assert (there / "revoked").read_text().count("\n") == 2


def test_a_host_that_says_what_is_not_so_is_found_out(machines, monkeypatch, tmp_path, capsys):
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\ncat >/dev/null\necho all is well\n")
    liar.chmod(0o755)
    monkeypatch.setenv("FAKE_SHELL", str(liar))
    assert main(["keys", "push", "a"]) == 1
    assert "not what was sent" in capsys.readouterr().out


def test_a_disk_that_is_full_leaves_what_was_there(machines, tmp_path, monkeypatch, capsys):
    # As far as a shell can tell: cat fails for the last file.
    there = folder_of(machines / "a")
    assert main(["keys", "push", "a"]) == 0
    before = contents(there)
    cat = tmp_path / "programs" / "cat"
    cat.write_text('#!/bin/sh\n[ ! -e "$HOME"/.config/seppo/.join-*/cert.pem ] || exit 1\n'
                   'exec /bin/cat "$@"\n')  # fmt: skip
    cat.chmod(0o755)
    assert main(["keys", "new", "--replace"]) == 0
    assert main(["keys", "push", "a", "--replace"]) == 1
    assert contents(there) == before


def test_a_script_that_arrives_in_part_does_nothing(machines, tmp_path):
    text = JoinScript(collect(Settings(), tmp_path / "here" / "seppo" / "key")).text
    environ = {"HOME": str(machines / "a"), "PATH": os.environ["PATH"]}
    for length in range(0, len(text) - len("join_seppo\n"), 97):
        subprocess.run(["sh"], input=text[:length].encode(), env=environ, capture_output=True)
    assert not (machines / "a" / ".config").exists()


def test_the_secrets_are_in_no_command_line(machines, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    ssh = tmp_path / "programs" / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >{seen}\nenv >>{seen}\n')
    main(["keys", "push", "a"])
    assert (tmp_path / "here" / "seppo" / "key").read_text().strip() not in seen.read_text()


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/x", "a\nb"])
def test_a_host_that_is_none_is_refused(machines, host, capsys):
    assert main(["keys", "push", "--", host]) == 1
    assert "name of a machine" in capsys.readouterr().err


def test_without_ssh_it_says_so(machines, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["keys", "push", "a"]) == 1
    assert "ssh cannot be run" in capsys.readouterr().out
