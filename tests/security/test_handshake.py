"""Nobody without the key gets past the first three messages, on either side."""

import os
import pickle
import secrets
import socket
from dataclasses import replace

import pytest
from attack import (
    Canary,
    FakeWorker,
    Relay,
    channel_of,
    connect,
    exactly,
    greeting,
    half_close,
    message,
    receive_all,
    register,
    rogue,
    send_all,
)
from lessee import LeasedWorker, Lessee
from processes import CREDENTIALS
from Pyro5 import protocol

import seppo
from seppo.errors import ProtocolError, SecurityError
from seppo.pyro.nameserver import NameServer
from seppo.pyro.proxy import attach, call
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import Key, ensure_key
from seppo.trust.proof import MAGIC, ClientProof, ServerProof
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address
from seppo.wire.codec import to_parts
from seppo.wire.frames import encode
from seppo.wire.messages import Leased, Want, Welcome

OTHER = Key(secrets.token_bytes(32), "another")
# That there is nobody to be used is told once in a process.
pytestmark = pytest.mark.filterwarnings("ignore:seppo runs this map:RuntimeWarning")

REPLY = ClientProof.reply_size
SUPERVISOR = "seppo.supervisor"


@pytest.fixture(params=["supervisor", "leased process"])
def worker(target, request):
    """An address where it works before and afterwards."""
    (host,) = target.entries()
    if request.param == "supervisor":
        yield host.address
    else:
        with Lessee(host) as client:
            client.send(Want(1, 1))
            (leased,) = client.wait_for(Leased)
            yield Address.parse(leased.address)
            with LeasedWorker(leased) as process:  # its place was not taken
                process.run(1, abs, [-1, 2])
                assert process.outcomes(1, 2) == [1, 2]
    assert list(seppo.map_parallel(lambda x: x + 1, range(20))) == list(range(1, 21))
    assert target.workers.poll() is None


@pytest.fixture
def nameserver(own_cluster):
    """A name server without workers, for false ones."""
    cluster = own_cluster(0)
    return NameServer(cluster.settings)


def run_where(nameserver, *ports):
    """Run a map where these are the registered workers; return where the items ran."""
    for i, port in enumerate(ports):
        register(nameserver, rogue(f"seppo.{i}", port))
    return set(seppo.map_parallel(lambda _: os.getpid(), range(5)))


def test_the_canary_dies_of_a_pickle_that_is_loaded(tmp_path):
    canary = Canary(tmp_path)
    assert not canary.is_dead
    pickle.loads(canary.pickle)
    assert canary.is_dead


# --- the host's side


def test_who_says_nothing_of_a_key_is_refused(worker, canary):
    for bytes_sent in (
        canary.frames(),
        canary.messages(),
        greeting() + canary.messages(),
        canary.pickle,
        MAGIC + canary.pickle,
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100_000),
    ):
        with connect(worker) as sock:
            send_all(sock, bytes_sent)
            half_close(sock)
            assert receive_all(sock)[REPLY:] == b""


def test_who_goes_on_without_a_proof_is_refused(worker, canary):
    for rest in (b"", bytes(32), canary.frames(), canary.messages()):
        with connect(worker) as sock:
            proof = ClientProof(OTHER, channel_of(sock, worker.object))
            send_all(sock, proof.hello() + rest)
            if not rest:
                sock.shutdown(socket.SHUT_WR)
            assert len(receive_all(sock)) == REPLY  # a proof of the worker's, and no more


def test_a_wrong_key_is_refused(worker, canary):
    with connect(worker) as sock:
        channel = channel_of(sock, worker.object)
        hello = ClientProof(OTHER, channel, nonce := secrets.token_bytes(32)).hello()
        send_all(sock, hello)
        reply = exactly(sock, REPLY)
        # What a client with this key would answer, if the worker had it too.
        false = ServerProof(OTHER, channel, reply[10:42]).reply(hello)
        send_all(sock, ClientProof(OTHER, channel, nonce).answer(false) + canary.frames())
        assert receive_all(sock) == b""


def test_a_session_cannot_be_replayed(worker, canary):
    with connect(worker) as sock:
        proof = ClientProof(CREDENTIALS.key, channel_of(sock, worker.object))
        hello = proof.hello()
        sock.sendall(hello)
        answer = proof.answer(exactly(sock, REPLY))
        sock.sendall(answer)  # this one is accepted
        port = sock.getsockname()[1]
        sock.sendall(message(protocol.MSG_PING, b""))
        if worker.object == SUPERVISOR:  # a process hangs up: first comes a token
            assert sock.recv(4) == b"PYRO"
        else:
            assert receive_all(sock) == b""
    for source in (0, port):  # also from the same port again
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", source))
                sock.connect((worker.host, worker.port))
            except OSError:
                continue  # the kernel keeps the port back for a while
            send_all(sock, hello + answer + canary.frames())
            assert len(receive_all(sock)) == REPLY


def test_a_proof_is_of_no_use_to_its_own_sender(worker, canary):
    with connect(worker) as sock:
        send_all(sock, ClientProof(OTHER, channel_of(sock, worker.object)).hello())
        reply = exactly(sock, REPLY)
        send_all(sock, reply[-32:] + canary.frames())
        assert receive_all(sock) == b""


def test_the_proof_for_another_role_is_refused(worker):
    with connect(worker) as sock:
        other = "seppo.worker" if worker.object == SUPERVISOR else SUPERVISOR
        proof = ClientProof(CREDENTIALS.key, channel_of(sock, other))
        send_all(sock, proof.hello())
        with pytest.raises(SecurityError):
            proof.answer(exactly(sock, REPLY))


def test_a_client_with_another_key_is_told_which_file_it_used(worker, tmp_path):
    path = tmp_path / "key"
    ensure_key(path)
    credentials = Credentials(Settings(key_file=str(path)))
    for ask in (
        lambda: attach(credentials, worker, 5.0),
        lambda: call(credentials, worker, "info", timeout=5.0),
    ):
        with pytest.raises(SecurityError, match=str(path)) as caught:
            ask()
        assert "copy" in str(caught.value)


# --- the client's side


def hello_alone(heard):
    """Whether clients have said no more than a hello, which holds no secret."""
    return all(
        not data  # it was refused at its first byte
        or (len(data) == ServerProof.hello_size and data.startswith(MAGIC))
        for data in heard
    )


def false_replies(canary):
    welcome = b"".join(map(bytes, encode(*to_parts(Welcome({"python": "3.99.0"})))))
    connected = message(protocol.MSG_CONNECTOK, {"handshake": "hello", "meta": {}})
    return {
        "no authentication": welcome,
        "a plain Pyro daemon": connected + canary.messages(),
        "an older seppo": connected + welcome + canary.frames(),
        "frames": canary.frames(),
        "a pickle": canary.pickle * 10,
        "compressed": message(protocol.MSG_CONNECTOK, canary.pickle, protocol.FLAGS_COMPRESSED),
        "zeros": bytes(10_000),
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", list(false_replies(type("", (), {
    "messages": lambda self: b"", "frames": lambda self: b"", "pickle": b"",
})())))  # fmt: skip
def test_who_is_no_worker_gets_and_gives_nothing(nameserver, canary, kind):
    waits = kind != "zeros"  # that one talks first
    with FakeWorker(false_replies(canary)[kind], waits) as fake:
        if kind == "nothing":
            fake.serve = lambda sock, number: (fake.hear(sock, number), sock.close())
        assert run_where(nameserver, fake.port) == {os.getpid()}  # as if nobody were there
        assert fake.heard
        assert hello_alone(fake.heard)


@pytest.mark.parametrize("version", [PROTOCOL_VERSION, 0, PROTOCOL_VERSION + 1])
def test_a_false_worker_gets_and_gives_nothing(nameserver, canary, version):
    head = MAGIC + version.to_bytes(2, "big")
    with FakeWorker(head + bytes(64) + canary.frames()) as fake:
        with pytest.raises(SecurityError, match="does not prove") as caught:
            run_where(nameserver, fake.port)
        assert CREDENTIALS.key.path in str(caught.value)
        assert fake.heard
        assert hello_alone(fake.heard)


def test_another_version_is_believed_only_with_the_key(nameserver, monkeypatch):
    class Newer(FakeWorker):
        def serve(self, sock, number):
            hello = self.hear(sock, number)
            here, there = sock.getsockname(), sock.getpeername()
            from seppo.trust import proof

            binding = proof.address_binding(there, here)
            channel = proof.ProofContext(SUPERVISOR, binding)
            proof.PROTOCOL_VERSION += 1  # both are in this process: back before the client looks
            try:
                reply = ServerProof(CREDENTIALS.key, channel).reply(hello)
            finally:
                proof.PROTOCOL_VERSION -= 1
            sock.sendall(reply)

    with Newer() as fake, pytest.raises(ProtocolError, match="same seppo"):
        run_where(nameserver, fake.port)


def test_a_relay_is_refused(nameserver, target, canary):
    worker = target.entries()[0].address
    # The environment is that of the name server without workers.
    with Relay(worker) as relay:
        os.environ.update(PYRO_NS_PORT=nameserver.location.rpartition(":")[2])
        with pytest.raises(SecurityError, match="does not prove"):
            run_where(nameserver, relay.port)
        assert relay.heard
        assert hello_alone(relay.heard)
        assert [len(data) for data in relay.answered] == [REPLY]  # the worker's true proof


def test_a_proof_is_bound_to_the_machine(monkeypatch):
    # Loopback addresses are the same everywhere: who sits on two machines chooses ports.
    from seppo.trust import proof

    ends = ("127.0.0.1", 5), ("127.0.0.1", 6)
    here = proof.address_binding(*ends)
    assert here == proof.address_binding(("::ffff:127.0.0.1", 5), ("127.0.0.1", 6))
    monkeypatch.setattr(proof, "_place", lambda: b"elsewhere")
    assert proof.address_binding(*ends) != here
    far = ("10.0.0.1", 5), ("10.0.0.2", 6)
    off_loopback = proof.address_binding(*far)
    monkeypatch.undo()
    assert proof.address_binding(*far) == off_loopback  # two machines have to agree


def test_hosts_with_another_key_are_those_of_somebody_else(target, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SEPPO_KEY_FILE", str(tmp_path / "other"))
    assert set(seppo.map_parallel(lambda x: os.getpid(), range(3))) == {os.getpid()}
    assert caplog.text == ""


def test_all_refusing_is_no_silent_serial_map(target, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPPO_KEY_FILE", str(tmp_path / "other"))
    (entry,) = target.entries()
    ours = Credentials(Settings.load()).key.fingerprint
    claims = replace(entry, facts={**entry.facts, "key": ours})
    monkeypatch.setattr(NameServer, "find", lambda self, group: [claims])
    with pytest.raises(SecurityError, match="other"):
        list(seppo.map_parallel(abs, range(3)))


def test_without_workers_no_key_is_made(nameserver, tmp_path, monkeypatch):
    path = tmp_path / "folder" / "key"
    monkeypatch.setenv("SEPPO_KEY_FILE", str(path))
    assert list(seppo.map_parallel(abs, [-1, 2])) == [1, 2]
    assert not path.parent.exists()
