"""A machine whose certificate is revoked, between real processes: it is refused, and told why."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import Cluster

from seppo.errors import SecurityError
from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import call
from seppo.settings import Settings
from seppo.trust.certificates import issue_for, make_bundle, open_authority, revoke
from seppo.trust.credentials import Credentials
from seppo.trust.joinfile import collect, install
from seppo.trust.proof import REVOKED, ClientProof, ProofContext

PASSPHRASE = b"open sesame"


@pytest.fixture
def first(tmp_path):
    """The folder of the first machine, which has the authority."""
    make_bundle(tmp_path / "first" / "key", passphrase=PASSPHRASE)
    return tmp_path / "first"


@pytest.fixture
def cluster(first):
    with Cluster(1, PYRO_SSL="1", SEPPO_KEY_FILE=str(first / "key")) as cluster:
        yield cluster


def joined(cluster, first: Path, name: str) -> Settings:
    """Return the settings of another machine that has joined."""
    own = issue_for(open_authority(first, PASSPHRASE), first, name)
    install(collect(Settings(), first / "key", own), first.parent / name)
    return replace(cluster.settings, key_file=str(first.parent / name / "key"))


def test_it_is_refused_by_processes_that_run_and_others_are_not(cluster, first):
    lost, kept = joined(cluster, first, "lost"), joined(cluster, first, "kept")
    (entry,) = cluster.entries()
    for settings in (lost, kept):
        assert call(Credentials(settings), entry.address, "ping", timeout=20.0) == "pong"
        assert NameServer(settings).find()
    revoke(first, "lost")
    with pytest.raises(SecurityError, match="certificate of this machine is revoked"):
        call(Credentials(lost), entry.address, "ping", timeout=20.0)
    with pytest.raises(SecurityError, match="certificate of this machine is revoked"):
        NameServer(lost).find()
    assert call(Credentials(kept), entry.address, "ping", timeout=20.0) == "pong"
    assert NameServer(kept).find()


def test_a_session_that_is_resumed_is_refused_as_well(cluster, first):
    # The certificate of a resumed session is that of the first handshake.
    lost = joined(cluster, first, "lost")
    folder = first.parent / "lost"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "cert.pem", folder / "cert-key.pem")
    (entry,) = cluster.entries()

    def connect(session=None):
        sock = socket.create_connection((entry.address.host, entry.address.port), 20)
        return context.wrap_socket(sock, session=session)

    hello = ClientProof(Credentials(lost).key, ProofContext("x", b"")).hello()
    with connect() as sock:
        sock.sendall(hello)
        assert len(sock.recv(8)) == 8
        session = sock.session
    revoke(first, "lost")
    with connect(session) as sock:
        sock.sendall(hello)
        assert sock.recv(len(REVOKED)) == REVOKED


def test_a_client_does_not_follow_a_revoked_machine(cluster, first):
    settings = joined(cluster, first, "client")
    (entry,) = cluster.entries()
    serial = (first / "issued").read_text().split()[0]  # of the machine that the cluster runs on
    (first.parent / "client" / "revoked").write_text(f"{serial} first\n")
    with pytest.raises(SecurityError, match="the certificate of first"):
        call(Credentials(settings), entry.address, "ping", timeout=20.0)
    with pytest.raises(SecurityError, match="the certificate of first"):
        NameServer(settings).find()
