"""``seppo doctor`` finds what is wrong, says what to do, and ends with an exit code."""

import os
import signal

import pytest
from cluster import Cluster

from seppo.cli import doctor
from seppo.pyro.nameserver import Entry
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address


def test_all_is_well(shared_cluster):
    done = shared_cluster.run("-m", "seppo", "doctor")
    lines = done.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines), done.stdout
    assert len(lines) == 3 + 1 + len(doctor.HOST_CHECKS)
    assert "shared key" in lines[0]
    assert "name server" in lines[1]
    assert "a map of" in lines[-1]


def test_each_group_has_its_map():
    with Cluster(1, group="left") as cluster:
        cluster.start_workers(1, "right")
        done = cluster.run("-m", "seppo", "doctor")
        assert "over group 'left': done" in done.stdout
        assert "over group 'right': done" in done.stdout
        done = cluster.run("-m", "seppo", "doctor", "--group", "right")
        assert "'left'" not in done.stdout


def test_no_name_server():
    with Cluster(0) as cluster:
        cluster.nameserver.terminate()
        cluster.nameserver.wait()
        done = cluster.run("-m", "seppo", "doctor", check=False)
    assert done.returncode == 1
    assert "\nFAIL  name server" in done.stdout
    assert "\n      fix: start one with 'seppo nameserver'" in done.stdout


def test_another_key(shared_cluster, tmp_path):
    done = shared_cluster.run("-m", "seppo", "doctor", "--key-file", tmp_path / "key", check=False)
    assert done.returncode == 1
    assert "knows no hosts with your key, and 1 with other keys" in done.stdout
    assert "copy the folder of the key" in done.stdout


def test_a_key_that_others_can_read(shared_cluster, tmp_path):
    key = tmp_path / "key"
    shared_cluster.run("-m", "seppo", "doctor", "--key-file", key, check=False)
    key.chmod(0o644)
    done = shared_cluster.run("-m", "seppo", "doctor", "--key-file", key, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL  shared key")


def test_no_hosts():
    with Cluster(0) as cluster:
        done = cluster.run("-m", "seppo", "doctor", check=False)
    assert done.returncode == 1
    assert "knows no hosts" in done.stdout
    assert "fix: start workers" in done.stdout


def test_a_host_that_is_gone_and_one_that_hangs(monkeypatch, capsys):
    with Cluster(1) as cluster:
        for name, value in cluster.environ.items():
            monkeypatch.setenv(name, value)
        (hangs,) = cluster.entries()
        cluster.start_workers(1, "other")
        (well,) = cluster.entries("other")
        os.kill(int(hangs.facts["pid"]), signal.SIGSTOP)
        nobody = Entry("seppo.nobody", Address("seppo.supervisor", "127.0.0.1", 1))
        assert "reached from here" in str(
            doctor.check_host(Credentials(cluster.settings), nobody)[0]
        )
        try:
            with monkeypatch.context() as impatient:
                impatient.setattr(doctor, "PATIENCE", 1.0)
                (finding,) = doctor.check_host(Credentials(cluster.settings), hangs)
        finally:
            os.kill(int(hangs.facts["pid"]), signal.SIGCONT)
        assert not finding.is_well
        assert "did not answer" in finding.text
        assert finding.fix
        assert all(
            finding.is_well for finding in doctor.check_host(Credentials(cluster.settings), well)
        )


def patient(**facts):
    health = {
        "time": 100.0,
        "versions": doctor.environment_here(()),
        "memory": 8 << 30,
        "disk": 8 << 30,
        "folder": "/tmp",
        "nameserver": "",
    }
    entry = Entry("seppo.w", Address("seppo.supervisor", "127.0.0.1", 1))
    credentials = Credentials(Settings.load({}))
    return doctor.Patient(entry, credentials, {**health, **facts}, asked=99.0, answered=101.0)


@pytest.mark.parametrize(
    ("check", "facts", "word"),
    [
        (doctor.check_clock, {"time": 110.0}, "10.0 s ahead"),
        (doctor.check_clock, {"time": 90.0}, "10.0 s behind"),
        (doctor.check_versions, {"versions": {"python": "2.7.18"}}, "python 2.7.18"),
        (doctor.check_space, {"memory": 1 << 20}, "memory 0.0 GiB"),
        (doctor.check_space, {"disk": 1 << 20}, "disk 0.0 GiB"),
        (doctor.check_way_back, {"nameserver": "no answer"}, "no answer"),
    ],
)
def test_a_check_that_fails_says_what_to_do(check, facts, word):
    finding = check(patient(**facts))
    assert not finding.is_well
    assert word in finding.text
    assert "\n      fix: " in str(finding)
    assert check(patient()).is_well
