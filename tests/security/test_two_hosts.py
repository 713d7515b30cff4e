"""From one machine to another: over mutual TLS, or not at all."""

import os
import select
import shutil
import subprocess

import pytest
from processes import ROOT, wait_until
from veth import NotPermitted, TwoHosts

PORT = "9090"
MAP = (
    "import os, seppo; here = os.getpid();"
    "pids = set(seppo.map_parallel(lambda _: os.getpid(), range(9)));"
    "assert here not in pids; print('RAN')"
)
ENTRIES = (
    "from seppo.settings import Settings; from seppo.pyro.nameserver import NameServer;"
    "print(len(NameServer(Settings.load()).find()))"
)


@pytest.fixture(scope="module")
def hosts():
    try:
        hosts = TwoHosts()
    except NotPermitted as why:
        pytest.skip(f"no network namespaces here: {why}")
    with hosts:
        yield hosts


class Site:
    """The two machines, with what runs on them."""

    def __init__(self, hosts, folder):
        self.hosts = hosts
        self.folders = (folder / "server", folder / "client")
        for each in self.folders:
            each.mkdir()
        self.processes = []

    def environ(self, host):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYRO_", "SEPPO_"))}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(self.folders[host]),
            "PYRO_NS_HOST": self.hosts.addresses[0],
            "PYRO_NS_PORT": PORT,
            "SEPPO_CONNECT_TIMEOUT": "5",
        }

    def start(self, *words):
        """Start something on the server; return its first line, or all if it ends."""
        process = subprocess.Popen(
            self.hosts.command(0, *words),
            env=self.environ(0), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.processes.append(process)
        assert select.select([process.stdout], [], [], 30)[0]
        return process.stdout.readline()

    def run(self, host, *words, **environ):
        return subprocess.run(
            self.hosts.command(host, *words),
            env={**self.environ(host), **environ}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def start_all(self, *options):
        """Start a name server and a worker; return the first lines of both."""
        address = self.hosts.addresses[0]
        lines = [
            self.start("-m", "seppo", *verb, "--host", address, *options)
            for verb in (("nameserver",), ("worker", "-n", "1"))
        ]
        insecure = {"SEPPO_INSECURE": "1"} if options else {}
        wait_until(lambda: self.run(0, "-c", ENTRIES, **insecure).stdout == "1\n", what="a worker")
        return lines

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.communicate(timeout=20)


@pytest.fixture
def site(hosts, tmp_path):
    site = Site(hosts, tmp_path)
    yield site
    site.stop()


def test_a_map_over_mutual_tls_and_refusals_without(site, tmp_path):
    assert site.run(0, "-m", "seppo", "keys", "new").returncode == 0
    key_folder, copy = (folder / "seppo" for folder in site.folders)
    lines = site.start_all()
    assert all("encrypted" in line and "not encrypted" not in line for line in lines)

    without = site.run(1, "-c", MAP)
    assert "RAN" not in without.stdout
    assert "SecurityError" in without.stderr
    assert "seppo keys new" in without.stderr

    insecure = site.run(1, "-c", MAP, SEPPO_INSECURE="1")
    assert "RAN" not in insecure.stdout

    shutil.copytree(key_folder, copy)
    assert site.run(1, "-c", MAP).stdout == "RAN\n"
    status = site.run(1, "-m", "seppo", "status").stdout
    assert "yes" in status
    assert "free" in status or "in use" in status

    (copy / "key").write_text("00" * 32)  # certificates alone are not enough
    wrong = site.run(1, "-c", MAP)
    assert "RAN" not in wrong.stdout
    assert "no worker of group" in wrong.stderr  # that host is somebody else's


def test_a_name_server_on_every_interface_takes_nothing_plain_on_loopback(site):
    assert site.run(0, "-m", "seppo", "keys", "new").returncode == 0
    route = ["ip", "route", "replace", "default", "via", site.hosts.addresses[1]]
    site.run(0, "-c", f"import subprocess; subprocess.run({route}, check=True)").check_returncode()
    line = site.start("-m", "seppo", "nameserver", "--host", "0.0.0.0")
    assert "encrypted" in line
    assert "not encrypted" not in line
    plain = site.run(0, "-c", ENTRIES, PYRO_NS_HOST="127.0.0.1")
    assert "SecurityError" in plain.stderr
    assert "address in the network" in plain.stderr
    for environ in ({}, {"PYRO_NS_HOST": "127.0.0.1", "PYRO_SSL": "1"}):
        assert site.run(0, "-c", ENTRIES, **environ).stdout == "0\n"


def test_without_encryption_only_if_all_insist_and_with_warnings(site):
    lines = site.start_all("--insecure")
    assert all("warning" in line and "--insecure" in line for line in lines)
    shutil.copytree(site.folders[0] / "seppo", site.folders[1] / "seppo")

    refused = site.run(1, "-c", MAP)
    assert "RAN" not in refused.stdout
    assert "SecurityError" in refused.stderr

    ran = site.run(1, "-c", MAP, SEPPO_INSECURE="1")
    assert ran.stdout == "RAN\n", ran.stderr
    assert "--insecure" not in ran.stdout


def test_without_certificates_nobody_listens(site):
    for verb in ("nameserver", "worker"):
        line = site.start("-m", "seppo", verb, "--host", site.hosts.addresses[0])
        assert "TLS is needed" in line
        assert site.processes[-1].wait(20) == 1
