"""When TLS is used, which files it needs, and connections secured at both ends."""

from __future__ import annotations

import datetime
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from seppo.errors import ConfigurationError, SecurityError
from seppo.settings import Settings, TlsFiles
from seppo.trust import tls
from seppo.trust.certificates import issue_for, make_bundle, open_authority, revoke
from seppo.trust.credentials import Credentials
from seppo.trust.joinfile import collect, install
from seppo.trust.keyfile import ensure_key
from seppo.trust.revoked import REVOKED_FILE
from seppo.wire.address import Address, address_to_tell


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The key of a bundle with certificates."""
    path = tmp_path_factory.mktemp("bundle") / "seppo" / "key"
    make_bundle(path)
    return path


def encrypted(key_path):
    return Settings(key_file=str(key_path), tls_on_loopback=True)


def meet(server, client, seconds=20.0, listens_on="127.0.0.1"):
    """Have two ends meet on loopback; return what each got: a socket or an error."""
    got = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            connection = SimpleNamespace(sock=listener.accept()[0])
            try:
                Credentials(server).accept(
                    connection.sock, listens_on, "role", time.monotonic() + seconds, False,
                    lambda sock: setattr(connection, "sock", sock),
                )  # fmt: skip
                got["server"] = connection.sock
            except OSError as error:
                connection.sock.close()
                got["server"] = error

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            address = Address("role", *listener.getsockname())
            got["client"] = Credentials(client).connect(address, seconds)
        except OSError as error:
            got["client"] = error
        thread.join()
    return got["server"], got["client"]


def refused(*ends):
    for end in ends:
        if isinstance(end, socket.socket):
            end.close()
    return [end for end in ends if isinstance(end, SecurityError)]


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_two_with_the_same_key_can_talk(bundle, is_encrypted):
    settings = replace(encrypted(bundle), tls_on_loopback=is_encrypted)
    server, client = meet(settings, settings)
    with server, client:
        client.settimeout(20)
        server.settimeout(20)
        client.sendall(b"hello")
        assert server.recv(5) == b"hello"
        assert hasattr(client, "getpeercert") == is_encrypted


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_another_key_is_refused_on_both_sides(bundle, tmp_path, is_encrypted):
    ensure_key(tmp_path / "key")
    folder = bundle.parent
    files = TlsFiles(*(str(folder / n) for n in (tls.CA_FILE, tls.CERT_FILE, tls.CERT_KEY_FILE)))
    other = Settings(
        key_file=str(tmp_path / "key"), tls_on_loopback=is_encrypted,
        server_tls=files, client_tls=files,
    )  # fmt: skip
    server, client = meet(other, replace(encrypted(bundle), tls_on_loopback=is_encrypted))
    assert isinstance(server, OSError)  # the client has left
    assert isinstance(client, SecurityError)
    assert str(bundle) in str(client)


def test_a_certificate_of_another_authority_is_refused(bundle, tmp_path):
    make_bundle(tmp_path / "key")
    server, client = meet(encrypted(bundle), encrypted(tmp_path / "key"))
    assert refused(server, client)
    assert isinstance(server, OSError)
    assert isinstance(client, OSError)


def test_a_certificate_that_has_expired_is_refused(tmp_path):
    authority = trustme.CA()
    key = tmp_path / "key"
    ensure_key(key)
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    certificate = authority.issue_cert("seppo", not_after=yesterday)
    authority.cert_pem.write_to_path(tmp_path / tls.CA_FILE)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / tls.CERT_FILE)
    certificate.private_key_pem.write_to_path(tmp_path / tls.CERT_KEY_FILE)
    (tmp_path / tls.CERT_KEY_FILE).chmod(0o600)
    ends = meet(encrypted(key), encrypted(key))
    assert any("expired" in str(error) for error in refused(*ends))
    with pytest.raises(SecurityError, match="expired"):
        tls.try_handshake(tls.server_files(encrypted(key)), tls.client_files(encrypted(key)))


@pytest.fixture
def machines(tmp_path):
    """Settings of two machines with certificates of their own, the first with the authority."""
    first, second = tmp_path / "first" / "key", tmp_path / "second"
    make_bundle(first, passphrase=b"open sesame")
    authority = open_authority(first.parent, b"open sesame")
    install(collect(Settings(), first, issue_for(authority, first.parent, "me@second")), second)
    return encrypted(first), encrypted(second / "key")


def test_machines_with_certificates_of_their_own_meet(machines):
    for server, client in (machines, machines[::-1]):
        ends = meet(server, client)
        for end in ends:
            assert end.getpeercert()["serialNumber"]
            end.close()


def test_a_server_refuses_a_revoked_client_and_says_so(machines):
    first, second = machines
    revoke(Path(first.key_file).parent, "second")
    for _ in range(10):  # what it says must not be lost on its way
        server, client = meet(first, second)
        assert isinstance(server, SecurityError)
        assert "certificate of second" in str(server)
        assert isinstance(client, SecurityError)
        assert "certificate of this machine is revoked" in str(client)


def test_a_client_refuses_a_revoked_server_before_it_proves_anything(machines):
    first, second = machines
    revoke(Path(first.key_file).parent, "second")
    server, client = meet(second, first)
    assert isinstance(server, OSError)
    assert isinstance(client, SecurityError)
    assert "certificate of second" in str(client)


def test_the_list_is_read_again_and_a_broken_one_refuses_all(machines):
    first, second = machines
    for end in meet(first, second):
        end.close()
    folder = Path(first.key_file).parent
    revoke(folder, "second")
    assert refused(*meet(first, second))
    (folder / REVOKED_FILE).unlink()
    for end in meet(first, second):
        end.close()
    (folder / REVOKED_FILE).write_text("nonsense\n")
    server, _ = meet(first, second)
    assert "makes no sense in line 1" in str(server)


@pytest.mark.parametrize("plain_side", ["server", "client"])
def test_plain_text_and_tls_do_not_meet(bundle, plain_side):
    settings = {"server": encrypted(bundle), "client": encrypted(bundle)}
    settings[plain_side] = replace(settings[plain_side], tls_on_loopback=False)
    server, client = meet(settings["server"], settings["client"], seconds=5.0)
    assert isinstance(server, OSError)
    assert isinstance(client, OSError)


def test_one_that_listens_on_every_interface_encrypts_on_loopback_too(bundle):
    inside = replace(encrypted(bundle), tls_on_loopback=False)
    server, client = meet(inside, inside, seconds=5.0, listens_on="0.0.0.0")
    assert isinstance(server, OSError)
    assert isinstance(client, SecurityError)
    assert "address in the network" in str(client)

    server, client = meet(inside, encrypted(bundle), listens_on="0.0.0.0")
    with server, client:
        assert client.version() == "TLSv1.3"


def test_missing_certificates_are_named_with_what_to_do(tmp_path):
    ensure_key(tmp_path / "key")
    with pytest.raises(SecurityError, match=r"ca\.pem .*seppo keys new.*--insecure"):
        Credentials(Settings(key_file=str(tmp_path / "key"))).check_server("10.0.0.1")


def test_a_private_key_that_others_can_read_is_refused(tmp_path):
    make_bundle(tmp_path / "key")
    (tmp_path / tls.CERT_KEY_FILE).chmod(0o644)
    with pytest.raises(SecurityError, match="private key"):
        tls.server_files(encrypted(tmp_path / "key"))


def test_files_that_hold_no_certificate_are_named(tmp_path):
    make_bundle(tmp_path / "key")
    (tmp_path / tls.CA_FILE).write_text("not a certificate")
    with pytest.raises(SecurityError, match=r"ca\.pem cannot be used"):
        tls.client_context(tls.client_files(encrypted(tmp_path / "key")))


def test_the_key_is_read_again_when_its_file_has_changed(tmp_path):
    path = tmp_path / "key"
    credentials = Credentials(Settings(key_file=str(path)))
    first = credentials.key.reveal()
    assert credentials.key.reveal() == first
    path.unlink()
    ensure_key(path)
    assert credentials.key.reveal() != first


def test_nothing_is_made_before_it_is_needed(tmp_path):
    credentials = Credentials(Settings(key_file=str(tmp_path / "key")))
    assert not credentials.is_encrypted("127.0.0.1")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("127.0.0.1", Settings(), False),
        ("127.8.9.1", Settings(), False),
        ("::1", Settings(), False),
        ("::ffff:127.0.0.1", Settings(), False),
        ("10.0.0.1", Settings(), True),
        ("0.0.0.0", Settings(), True),
        ("fe80::1%eth0", Settings(), True),
        ("some.name", Settings(), True),
        ("10.0.0.1", Settings(insecure=True), False),
        ("127.0.0.1", Settings(tls_on_loopback=True), True),
        ("10.0.0.1", Settings(insecure=True, tls_on_loopback=True), True),
    ],
)
def test_tls_is_wanted_off_loopback(host, settings, expected):
    assert tls.wants_tls(settings, host) is expected


def test_a_bundle_is_not_replaced_unasked(tmp_path):
    paths = make_bundle(tmp_path / "key")
    before = [path.read_bytes() for path in paths]
    with pytest.raises(ConfigurationError, match="--replace"):
        make_bundle(tmp_path / "key")
    assert [path.read_bytes() for path in paths] == before
    make_bundle(tmp_path / "key", replace=True)
    assert not any(path.read_bytes() == old for path, old in zip(paths, before, strict=True))


def test_a_bundle_keeps_a_key_that_is_there(tmp_path):
    key = ensure_key(tmp_path / "key").reveal()
    make_bundle(tmp_path / "key")
    assert ensure_key(tmp_path / "key").reveal() == key


def test_the_files_of_a_bundle_are_for_one_user_alone(bundle):
    assert {path.stat().st_mode & 0o777 for path in bundle.parent.iterdir()} == {0o600}


def test_what_is_told_is_an_address_that_others_can_reach():
    assert address_to_tell("127.0.0.1") == "127.0.0.1"
    try:
        told = address_to_tell("0.0.0.0")
    except ConfigurationError:
        return  # a machine without any network
    assert told != "0.0.0.0"
