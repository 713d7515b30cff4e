"""TLS between real processes: always mutual, one authority, and no way around it.

``PYRO_SSL=1`` asks for it on loopback, too.
"""

import os
import socket
import ssl
from dataclasses import replace

import pytest
from attack import (
    Authority,
    Relay,
    Toll,
    connect,
    greeting,
    receive_all,
    register,
    request,
    rogue,
    send_all,
    trusting_anybody,
)
from cluster import Cluster
from processes import CREDENTIALS, wait_until

import seppo
from seppo.errors import SecurityError
from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import attach, call
from seppo.settings import Settings
from seppo.trust import tls
from seppo.trust.credentials import Credentials
from seppo.trust.listener import STRANGERS
from seppo.trust.proof import MAGIC, ClientProof

pytestmark = pytest.mark.filterwarnings("ignore:seppo runs this map:RuntimeWarning")


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """The environment of a process with good certificates."""
    return {"PYRO_SSL": "1", **authority.write(tmp_path_factory.mktemp("good"))}


@pytest.fixture(scope="module")
def cluster(files):
    with Cluster(1, **files) as cluster:
        yield cluster


@pytest.fixture
def worker(cluster):
    return cluster.entries()[0].address


@pytest.fixture
def use(monkeypatch):
    """Have this process use an environment, and no other name server or certificate."""

    def use(environ):
        for name in list(os.environ):
            if name.startswith("PYRO_"):
                monkeypatch.delenv(name)
        for name, value in environ.items():
            if name.startswith(("PYRO_", "SEPPO_")):
                monkeypatch.setenv(name, value)

    return use


def where_it_runs():
    return set(seppo.map_parallel(lambda _: os.getpid(), range(5)))


def test_a_map_over_tls_runs_and_says_so(cluster, use):
    use(cluster.environ)
    assert where_it_runs() == set(cluster.pids())
    assert cluster.hosts()[0]["encrypted"] is True


@pytest.mark.parametrize("flaw", ["no certificate", "another authority", "expired"])
def test_who_has_no_good_certificate_is_refused(cluster, worker, authority, tmp_path, canary, flaw):
    context = trusting_anybody()
    if flaw != "no certificate":
        source = Authority() if flaw == "another authority" else authority
        its = source.write(tmp_path, days=-1 if flaw == "expired" else 10)
        context.load_cert_chain(its["PYRO_SSL_CLIENTCERT"], its["PYRO_SSL_CLIENTKEY"])
    check_refused(context, worker.port, canary.frames())
    check_refused(context, cluster.port, greeting() + request("list"))


def check_refused(context, port, talk):
    """Nothing comes back but TLS's own words, if even that."""
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        try:
            with context.wrap_socket(sock) as encrypted:
                encrypted.settimeout(20)
                encrypted.sendall(talk)
                assert encrypted.recv(1) == b""
        except TimeoutError:
            raise
        except OSError:
            pass  # in TLS 1.3 the refusal comes with the first read


def test_old_versions_of_tls_are_refused(worker, files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(files["PYRO_SSL_CLIENTCERT"], files["PYRO_SSL_CLIENTKEY"])
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with connect(worker) as sock, pytest.raises(OSError, match=r"SSL|TLS|reset"):
        context.wrap_socket(sock)


def test_plain_text_to_a_tls_port_is_refused(cluster, worker, canary):
    hello = ClientProof(CREDENTIALS.key, None).hello()
    for port, talk in (
        (worker.port, hello + canary.frames()),
        (worker.port, canary.messages()),
        (cluster.port, greeting() + request("list")),
    ):
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            send_all(sock, talk)
            answer = receive_all(sock)
            assert MAGIC not in answer
            assert b"PYRO" not in answer


def test_a_client_that_speaks_plain_is_told_why(cluster, worker):
    with pytest.raises(SecurityError, match="--insecure"):
        attach(CREDENTIALS, worker, 5.0)


def test_tls_to_a_plain_port_is_refused_and_told_why(target, files, canary):
    credentials = Credentials(Settings.load(files))
    plain = target.entries()[0].address
    with pytest.raises(SecurityError, match="--insecure"):
        attach(credentials, plain, 5.0)
    assert NameServer(target.settings).find()


def test_a_disagreement_about_tls_is_no_silent_serial_map(cluster, own_cluster):
    plain = own_cluster(0)
    register(NameServer(plain.settings), rogue("seppo.tls", cluster.entries()[0].address.port))
    with pytest.raises(SecurityError, match="--insecure"):
        where_it_runs()


def test_certificates_without_the_key_are_refused(cluster, worker, files, tmp_path):
    settings = replace(Settings.load(files), key_file=str(tmp_path / "other"))
    with pytest.raises(SecurityError, match="other"):
        call(Credentials(settings), worker, "info", timeout=5.0)


@pytest.mark.parametrize("flaw", ["another authority", "expired", "missing"])
def test_a_client_refuses_a_server_and_itself(cluster, worker, files, tmp_path, authority, flaw):
    if flaw == "missing":
        theirs = {"PYRO_SSL": "1"}
    elif flaw == "expired":
        theirs = {**files, **authority.write(tmp_path, days=-1)}
    else:
        theirs = {**files, **Authority().write(tmp_path)}
    credentials = Credentials(Settings.load(theirs))
    for _ in range(30):  # the refusal must not be lost on its way
        with pytest.raises(SecurityError, match=r"seppo keys new|certificates"):
            attach(credentials, worker, 5.0)
    with pytest.raises(SecurityError):
        NameServer(Settings.load({**theirs, "PYRO_NS_PORT": str(cluster.port)})).find()


@pytest.mark.parametrize("kind", ["of another authority", "of ours, but another", "of ours"])
def test_a_relay_with_a_certificate_is_refused(cluster, worker, files, tmp_path, authority, kind):
    # The attacker has a certificate and its private key, from a machine that has no shared key.
    inner = trusting_anybody(files["PYRO_SSL_CLIENTCERT"], files["PYRO_SSL_CLIENTKEY"])
    its = files if kind == "of ours" else authority.write(tmp_path)
    if kind == "of another authority":
        its = Authority().write(tmp_path)
    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.load_cert_chain(its["PYRO_SSL_SERVERCERT"], its["PYRO_SSL_SERVERKEY"])
    with Relay(worker, inner, outer) as relay:
        with pytest.raises(SecurityError, match="does not prove" if "ours" in kind else "refused"):
            attach(Credentials(Settings.load(files)), replace(worker, port=relay.port), 5.0)
        if "ours" in kind:
            wait_until(lambda: relay.answered, what="the worker's true proof")
        assert all(len(data) <= 42 for data in relay.heard)  # a hello, or nothing


def test_silent_peers_of_a_tls_port_make_room(cluster, worker, files):
    # Each costs a thread, but only until another stranger needs its place.
    toll = Toll([cluster.workers.pid, cluster.nameserver.pid])
    credentials = Credentials(Settings.load(files))
    silent = []
    try:
        for port in (worker.port, cluster.port):
            silent += [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
        assert call(credentials, worker, "ping", timeout=20.0) == "pong"
        assert cluster.entries()
        for sock in silent[: 150 - STRANGERS - 10]:  # the oldest were told to leave
            receive_all(sock, seconds=4.0)
        toll.check_memory()
    finally:
        for sock in silent:
            sock.close()
    toll.check()


def test_a_server_needs_certificates_of_its_own(tmp_path):
    settings = Settings(key_file=str(tmp_path / "key"), tls_on_loopback=True)
    with pytest.raises(SecurityError, match=r"ca\.pem"):
        tls.server_files(settings)
