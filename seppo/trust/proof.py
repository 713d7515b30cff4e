"""The proof that both ends of a connection hold the shared key, before anything else.

    client                                       server
    ------                                       ------
    hello:  magic, version, nonce  ------------>
           <------------  reply: magic, version, nonce, proof of the server
    proof of the client  ---------------------->

A proof is an HMAC-SHA256 over who proves, the role of the server (worker, supervisor),
both versions and nonces, and the *channel*: what both ends can see of the connection and
nobody in between can forge. Over TLS that is the session, and the server's certificate; without
it the addresses and ports of both ends, and on loopback, where all machines have the same
addresses, the machine; on a Unix socket its path and the machine. So a proof is of no use on
another connection (replay), to its own sender (reflection), or to somebody in between (relay),
and the server proves itself first: a false one learns nothing from the client and can give it
nothing.

All messages have fixed sizes; nothing is parsed but two numbers. The pattern is the
three-pass mutual authentication of ISO/IEC 9798-4.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import os
import secrets
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Any

from seppo.errors import ProtocolError, SecurityError
from seppo.place import loopback_domain
from seppo.trust.keyfile import Key
from seppo.version import PROTOCOL_VERSION

MAGIC = b"SEPPOKEY"
NONCE = 32  # bytes
_HELLO = struct.Struct(f"!8sH{NONCE}s")
_REPLY = struct.Struct(f"!8sH{NONCE}s32s")
_PROOF = 32  # bytes of SHA-256

# How TLS records begin (RFC 8446, 5.1), for two who do not agree about using it.
TLS_HELLO = b"\x16\x03"
TLS_ALERT = b"\x15\x03"
TLS_REFUSAL = TLS_ALERT + b"\x01\x00\x02\x02\x46"  # fatal: protocol_version
# The same inside of a session, to say why it ends: our TLS library sends no alert of its own then.
REVOKED = TLS_ALERT + b"\x01\x00\x02\x02\x2c"  # fatal: certificate_revoked
IS_REVOKED = (
    "it says that the certificate of this machine is revoked: have it join again, with a new one "
    "('seppo keys push', or 'seppo keys export --machine')"
)
SPEAKS_TLS = (
    "it speaks TLS, and we do not: both must be in agreement about --insecure (SEPPO_INSECURE) "
    "and PYRO_SSL; one that listens on every interface is named by its address in the network"
)


@dataclass(frozen=True)
class ProofContext:
    """What a proof is bound to.

    Attributes:
        role: The name of the object that the server publishes.
        binding: What both ends see alike of the connection, as bytes.
    """

    role: str
    binding: bytes


def address_binding(client: Any, server: Any) -> bytes:
    """Return the binding of a connection without TLS: the ends' addresses and ports.

    Args:
        client: The client's end, as ``getsockname`` tells it.
        server: The server's end; of a Unix socket, which only one user reaches, its path.

    On loopback it names the machine, too. Else somebody with a foot on two machines whose
    users share a key (a home directory on the network) could listen on the one, connect on
    the other from the client's very port number, and pass everything on.

    >>> address_binding(("10.0.0.1", 5), ("::ffff:10.0.0.2", 6))
    b'tcp 10.0.0.1 5 10.0.0.2 6'
    """
    if isinstance(server, str):
        return b"unix " + os.fsencode(server) + b" " + _place()
    c_host, s_host = _plain(client[0]), _plain(server[0])
    binding = f"tcp {c_host} {client[1]} {s_host} {server[1]}".encode()
    return binding + b" " + _place() if s_host.is_loopback else binding


def _plain(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


@functools.cache
def _place() -> bytes:
    return loopback_domain().encode()


def _proof(
    key: Key, prover: bytes, context: ProofContext, versions: tuple[int, int], nonces: bytes
) -> bytes:
    role = context.role.encode()
    text = struct.pack("!8sHHHH", prover, *versions, len(role), len(context.binding))
    return hmac.digest(key.reveal(), MAGIC + text + role + context.binding + nonces, "sha256")


class ClientProof:
    """The client's side, without any socket.

    Args:
        key: The shared key.
        context: The connection.
        nonce: Random bytes; None for new ones.
    """

    reply_size = _REPLY.size

    def __init__(self, key: Key, context: ProofContext, nonce: bytes | None = None) -> None:
        self._key = key
        self._context = context
        self._nonce = nonce or secrets.token_bytes(NONCE)

    def hello(self) -> bytes:
        """Return the first message."""
        return _HELLO.pack(MAGIC, PROTOCOL_VERSION, self._nonce)

    def answer(self, reply: bytes) -> bytes:
        """Return the last message, if the reply proves that the server has our key.

        Raises:
            ConnectionError: If whoever replies is no worker.
            SecurityError: If it does not hold our key, or is not whom we mean to speak to.
            ProtocolError: If it holds our key, but speaks another version.
        """
        magic, version, nonce, proof = _REPLY.unpack(reply)
        if magic != MAGIC:
            raise ConnectionError("no seppo worker listens there")
        versions, nonces = (PROTOCOL_VERSION, version), self._nonce + nonce
        expected = _proof(self._key, b"server", self._context, versions, nonces)
        if not hmac.compare_digest(proof, expected):
            raise SecurityError(
                f"it does not prove that it holds the key in {self._key.path}: copy that file "
                "to its machine (or the one from there to here) with mode 0600, name it with "
                "SEPPO_KEY_FILE or --key-file, and start the workers again"
            )
        if version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"it speaks protocol {version}, this is {PROTOCOL_VERSION}: install the same "
                "seppo on both sides"
            )
        return _proof(self._key, b"client", self._context, versions, nonces)


class ServerProof:
    """The server's side, without any socket.

    Args:
        key: The shared key.
        context: The connection.
        nonce: Random bytes; None for new ones.
    """

    hello_size = _HELLO.size
    answer_size = _PROOF

    def __init__(self, key: Key, context: ProofContext, nonce: bytes | None = None) -> None:
        self._key = key
        self._context = context
        self._nonce = nonce or secrets.token_bytes(NONCE)
        self._expected = b""

    def reply(self, hello: bytes) -> bytes:
        """Return the second message.

        Raises:
            SecurityError: If the first one is not of this protocol.
        """
        magic, version, nonce = _HELLO.unpack(hello)
        if magic != MAGIC:
            raise SecurityError("it does not begin with the proof of a key")
        versions, nonces = (version, PROTOCOL_VERSION), nonce + self._nonce
        proof = _proof(self._key, b"server", self._context, versions, nonces)
        self._expected = _proof(self._key, b"client", self._context, versions, nonces)
        return _REPLY.pack(MAGIC, PROTOCOL_VERSION, self._nonce, proof)

    def check(self, answer: bytes) -> None:
        """Accept the last message.

        Raises:
            SecurityError: If the client does not hold our key.
        """
        if not self._expected or not hmac.compare_digest(answer, self._expected):
            raise SecurityError(f"it does not prove that it holds the key in {self._key.path}")


def prove_to_server(sock: socket.socket, key: Key, context: ProofContext, deadline: float) -> None:
    """Prove ourselves to a server that proves itself, or raise.

    Args:
        sock: A connected socket, whose time limit is changed.
        key: The shared key.
        context: The connection.
        deadline: When it must be over, as ``time.monotonic()``.

    Raises:
        SecurityError: If the server does not hold our key.
        ProtocolError: If it speaks another version.
        TimeoutError: If it takes too long.
        OSError: If the connection breaks, or no worker listens there.
    """
    proof = ClientProof(key, context)
    send_before(sock, proof.hello(), deadline)
    head = receive_exactly(sock, len(TLS_ALERT), deadline)
    if head == TLS_ALERT:
        raise alert(sock)
    reply = head + receive_exactly(sock, proof.reply_size - len(head), deadline)
    send_before(sock, proof.answer(reply), deadline)


def alert(sock: socket.socket) -> SecurityError:
    """Return what it means that TLS_ALERT comes where a message should."""
    return SecurityError(IS_REVOKED if isinstance(sock, ssl.SSLSocket) else SPEAKS_TLS)


def prove_to_client(sock: socket.socket, key: Key, context: ProofContext, deadline: float) -> None:
    """Prove ourselves to a client that proves itself, or raise.

    Args and Raises: as ``prove_to_server``.
    """
    proof = ServerProof(key, context)
    hello = receive_exactly(sock, proof.hello_size, deadline)
    if hello.startswith(TLS_HELLO):  # say so in its own words, for its user to understand
        send_before(sock, TLS_REFUSAL, deadline)
    send_before(sock, proof.reply(hello), deadline)
    proof.check(receive_exactly(sock, proof.answer_size, deadline))


def receive_exactly(sock: socket.socket, size: int, deadline: float) -> bytes:
    """Return ``size`` bytes, however slowly they come, before a deadline.

    Raises:
        TimeoutError: If they have not all come by then.
        ConnectionError: If the peer leaves before.
    """
    data = bytearray()
    while len(data) < size:
        set_time_left(sock, deadline)
        some = sock.recv(min(size - len(data), 1 << 16))
        if not some:
            raise ConnectionError("the peer closed the connection")
        data += some
    return bytes(data)


def send_before(sock: socket.socket, data: bytes, deadline: float) -> None:
    """Send all, before a deadline.

    Raises:
        TimeoutError: If the peer does not take it by then.
    """
    view = memoryview(data)
    while view:  # sendall of a TLS socket has a time limit for each part, not for all
        set_time_left(sock, deadline)
        view = view[sock.send(view) :]


def set_time_left(sock: socket.socket, deadline: float) -> None:
    """Let the next call on the socket end at a deadline.

    Raises:
        TimeoutError: If that has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(left)
