"""What an attacker has: sockets, other people's bytes, false workers, and patience.

A ``Canary`` is a file that exists once somebody has unpickled what the attacker sent.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import pickle
import select
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import CREDENTIALS, PATIENCE, wait_until
from Pyro5 import protocol

from seppo.pyro.bounds import JSON
from seppo.pyro.nameserver import Entry
from seppo.trust import proof
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address
from seppo.wire.frames import encode

DEADLINE = PATIENCE
NAMESERVER = "Pyro.NameServer"
MORE_KINDS = range(32)  # of frames, than there are


class _Touch:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


class Canary:
    """A file that appears if a pickle of the attacker's is ever loaded."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "canary"
        self.pickle = pickle.dumps(_Touch(self.path))

    @property
    def is_dead(self) -> bool:
        return self.path.exists()

    def frames(self) -> bytes:
        """Frames of every kind, in whose parts lie the pickle."""
        parts = [bytes(32), self.pickle, self.pickle]
        return b"".join(bytes(b) for kind in MORE_KINDS for b in encode(kind, parts))

    def messages(self) -> bytes:
        """Pyro messages with the pickle, as each serializer's."""
        return b"".join(
            bytes(protocol.SendingMessage(kind, 0, 0, serializer, self.pickle).data)
            for kind in range(1, 7)
            for serializer in range(1, 8)
        )


def connect(address: Address, timeout: float = DEADLINE) -> socket.socket:
    """Return a connected socket."""
    return socket.create_connection((address.host, address.port), timeout)


def reset(sock: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def send_all(sock: socket.socket, data: bytes) -> None:
    """Send what can be sent: the other side may have hung up already."""
    with contextlib.suppress(OSError):
        sock.sendall(data)


def half_close(sock: socket.socket) -> None:
    """Say that nothing more will come."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def exactly(sock: socket.socket, size: int) -> bytes:
    """Return so many bytes."""
    return proof.receive_exactly(sock, size, time.monotonic() + DEADLINE)


def receive_all(sock: socket.socket, seconds: float = DEADLINE) -> bytes:
    """Return what the peer sends until it hangs up.

    Raises:
        AssertionError: If it does not hang up in time.
    """
    data = b""
    deadline = time.monotonic() + seconds
    while True:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            some = sock.recv(1 << 16)
        except TimeoutError:
            raise AssertionError(f"not hung up within {seconds} s, but sent {data!r}") from None
        except OSError:
            return data
        if not some:
            return data
        data += some


def channel_of(sock: socket.socket, role: str) -> proof.ProofContext:
    """Return what a client's proof on this plain connection is bound to."""
    binding = proof.address_binding(sock.getsockname()[:2], sock.getpeername()[:2])
    return proof.ProofContext(role, binding)


def message(kind: int, value: Any, flags: int = 0, serializer: int = JSON.serializer_id) -> bytes:
    """Return a Pyro message."""
    data = value if isinstance(value, bytes) else JSON.dumps(value)
    # The flags go in by hand: Pyro would act upon them.
    raw = bytearray(protocol.SendingMessage(kind, 0, 0, serializer, data).data)
    raw[8:10] = struct.pack("!H", flags)
    return bytes(raw)


def greeting() -> bytes:
    """Return Pyro's handshake with a name server."""
    return message(protocol.MSG_CONNECT, {"handshake": "hello", "object": NAMESERVER})


def request(method: str, *args: Any, flags: int = 0, **kwargs: Any) -> bytes:
    """Return a call to a name server, with escapes for what no encoding has."""
    call = {"object": NAMESERVER, "method": method, "params": args, "kwargs": kwargs}
    return message(protocol.MSG_INVOKE, json.dumps(call).encode(), flags)


def our_key() -> str:
    """Return the fingerprint of our key; anybody can copy it from a true entry."""
    return CREDENTIALS.key.fingerprint


def rogue(name: str, port: int, host: str = "127.0.0.1", **facts: str) -> Entry:
    """Return an entry like a host's."""
    claims = {"group": "default", "protocol": str(PROTOCOL_VERSION), "places": "4"}
    facts = {**claims, "key": our_key(), **facts}
    return Entry(name, Address("seppo.supervisor", host, port), facts)


def call_raw(port: int, *requests: bytes) -> bytes:
    """Greet a name server, send it these, and return what it answers until it hangs up."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
        send_all(sock, greeting() + b"".join(requests))
        half_close(sock)
        return receive_all(sock)


class Listener:
    """A server of the attacker's, whose connections are each served in a thread.

    Args:
        family_host: Where it listens.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._server = socket.create_server((host, 0), backlog=200)
        self.host, self.port = self._server.getsockname()[:2]
        self.heard: list[bytes] = []  # what each client sent
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, len(self.heard)))
            self.heard.append(b"")
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        # ValueError: close() has closed a socket that select is given.
        with contextlib.suppress(OSError, ValueError):
            self.serve(sock, number)

    def serve(self, sock: socket.socket, number: int) -> None:
        """Serve a connection; to be overridden."""

    def hear(self, sock: socket.socket, number: int, size: int = 1 << 16) -> bytes:
        """Return what comes, and remember it."""
        data = sock.recv(size)
        self.heard[number] += data
        return data

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join(DEADLINE)  # it may have accepted one more
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(DEADLINE)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FakeWorker(Listener):
    """Listens where a worker should, says the same to everybody, and remembers what it hears.

    Args:
        says: What it sends, at once.
        waits: Send only after the client has said something.
    """

    def __init__(self, says: bytes = b"", waits: bool = True) -> None:
        self._says = says
        self._waits = waits
        super().__init__()

    def serve(self, sock: socket.socket, number: int) -> None:
        if self._waits:
            self.hear(sock, number)
        sock.sendall(self._says)
        while self.hear(sock, number):
            pass


class Relay(Listener):
    """A man in the middle, who passes everything on, both ways.

    Args:
        target: Where to.
        inner: With what to encrypt the connection to the target, if at all.
        outer: With what to encrypt the client's connection, if at all.
    """

    def __init__(
        self,
        target: Address,
        inner: ssl.SSLContext | None = None,
        outer: ssl.SSLContext | None = None,
    ) -> None:
        self._target = target
        self._inner = inner
        self._outer = outer
        self.answered: list[bytes] = []  # what the target sent
        super().__init__()

    def serve(self, sock: socket.socket, number: int) -> None:
        there = connect(self._target)
        self._sockets.append(there)
        if self._inner is not None:
            there = self._inner.wrap_socket(there)
            self._sockets.append(there)
        if self._outer is not None:
            sock = self._outer.wrap_socket(sock, server_side=True)
            self._sockets.append(sock)
        while True:
            for ready in select.select([sock, there], [], [], DEADLINE)[0]:
                ready.settimeout(0)
                try:
                    data = ready.recv(1 << 16)
                except ssl.SSLWantReadError:
                    continue  # TLS's own business
                finally:
                    ready.settimeout(DEADLINE)
                if not data:
                    reset(sock)
                    reset(there)
                    return
                if ready is sock:
                    self.heard[number] += data
                    there.sendall(data)
                else:
                    self.answered.append(data)
                    sock.sendall(data)


class BlackHole:
    """A port to which connecting never ends: nobody accepts, and its backlog is full."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = socket.socket()
        self._server.bind((host, port))
        self._server.listen(0)
        self.port = self._server.getsockname()[1]
        self._clients: list[socket.socket] = []
        for _ in range(4):  # a backlog of 0 has room for one, or two
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(self._server.getsockname())
            self._clients.append(client)

    def close(self) -> None:
        for sock in [*self._clients, self._server]:
            sock.close()

    def __enter__(self) -> BlackHole:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- what an attack costs


def status(pid: int, field: str) -> int:
    """Return a number of /proc/PID/status; of ``VmRSS`` in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise AssertionError(f"process {pid} has no {field}")


class Toll:
    """Watches that processes neither grow nor gain threads.

    Args:
        pids: The processes.
        mebibytes: What each may grow by.
    """

    def __init__(self, pids: list[int], mebibytes: float = 20) -> None:
        self._pids = pids
        self._limit = mebibytes * 1024
        self._memory = {pid: status(pid, "VmRSS") for pid in pids}
        self._threads = {pid: status(pid, "Threads") for pid in pids}

    def check_memory(self) -> None:
        for pid in self._pids:
            grown = status(pid, "VmRSS") - self._memory[pid]
            assert grown < self._limit, f"process {pid} has grown by {grown} KiB"

    def check(self) -> None:
        """Wait until the threads are as many as before, and compare the memory."""
        wait_until(
            lambda: all(status(pid, "Threads") <= self._threads[pid] for pid in self._pids),
            what="no threads are left",
        )
        self.check_memory()


def listeners(pids: set[int]) -> set[tuple[str, int]]:
    """Return the addresses that some processes listen on, of TCP over IPv4 and IPv6."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(str(link.readlink()))
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                host, port = fields[1].split(":")
                packed = b"".join(
                    struct.pack("=I", int(host[i : i + 8], 16)) for i in range(0, len(host), 8)
                )
                found.add((socket.inet_ntop(family, packed), int(port, 16)))
    return found


def family_of(pid: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


# --- certificates


class Authority:
    """An authority that makes certificates of any age."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self._name, self._key.public_key(), 365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, name: x509.Name, key: Any, days: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=100))
            .not_valid_after(now + datetime.timedelta(days=days))
        )

    def write(self, folder: Path, days: float = 100) -> dict[str, str]:
        """Write a certificate, and return the environment that names it.

        Args:
            folder: Where to.
            days: How long it is good for; negative for one that has expired.
        """
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
        certificate = self._builder(name, key.public_key(), days).sign(self._key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for file, content in (
            ("ca.pem", self.certificate.public_bytes(pem)),
            ("cert.pem", certificate.public_bytes(pem)),
            ("cert-key.pem", secret),
        ):
            (folder / file).write_bytes(content)
            (folder / file).chmod(0o600)
        return {
            "PYRO_SSL_CACERTS": str(folder / "ca.pem"),
            **{
                f"PYRO_SSL_{side}{what}": str(folder / file)
                for side in ("SERVER", "CLIENT")
                for what, file in (("CERT", "cert.pem"), ("KEY", "cert-key.pem"))
            },
        }


def trusting_anybody(certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """Return a client's context that takes any server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def register(nameserver: Any, *entries: Entry) -> None:
    """Register false entries."""
    for entry in entries:
        nameserver.register(entry)
