"""The credentials of this process: the shared key and certificates, proved on each connection.

Nothing is read or made before it is needed, so that a client that finds no worker never
touches a key. The key is read again when its file has changed.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from seppo.errors import SecurityError
from seppo.settings import Settings
from seppo.trust import proof, sockets, tls
from seppo.trust.keyfile import Key, ensure_key, key_path
from seppo.trust.proof import ProofContext
from seppo.trust.revoked import check_peer
from seppo.wire.address import Address


class Credentials:
    """Secures connections, as a client and as a server.

    Args:
        settings: Where key and certificates are, and when TLS is wanted.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()  # guards the four below
        self._key: Key | None = None
        self._key_stamp: Any = None
        self._client_context: ssl.SSLContext | None = None
        self._server: tuple[ssl.SSLContext, bytes] | None = None  # and its certificate

    @property
    def key(self) -> Key:
        """The shared key, made if there is none.

        Raises:
            SecurityError: If it cannot be had, or must not be used.
        """
        path = key_path(self._settings)
        try:
            info = os.stat(path)
            stamp: Any = (info.st_mtime_ns, info.st_ino, info.st_size, info.st_mode)
        except OSError:
            stamp = None
        with self._lock:
            if self._key is None or stamp is None or stamp != self._key_stamp:
                self._key, self._key_stamp = ensure_key(path), stamp
            return self._key

    def check_server(self, host: str, keyless: bool = False) -> None:
        """Have all at hand that a server needs.

        Args:
            host: The IP address that it listens on, or ``./u:PATH``.
            keyless: It asks nobody for the key.

        Raises:
            SecurityError: If something is missing or must not be used.
        """
        if not keyless:
            _ = self.key
        if tls.wants_tls(self._settings, host):
            self._server_side()

    def is_encrypted(self, host: str) -> bool:
        """Whether connections to a server that listens there are encrypted."""
        return tls.wants_tls(self._settings, host)

    def connect(self, address: Address, timeout: float, keyless: bool = False) -> socket.socket:
        """Return a socket connected to a peer that has proved to be one of us.

        Args:
            address: Whom to connect to.
            timeout: Seconds for everything; it stays the socket's time limit.
            keyless: The peer holds no key and proves nothing: a name server. Off loopback
                its certificate is asked for all the same.

        Raises:
            SecurityError: If one of us cannot prove to the other that it belongs here.
            ProtocolError: If the peer holds the key, but speaks another version.
            TimeoutError: If it takes too long.
            OSError: If nobody or somebody else listens there.
        """
        key = None if keyless else self.key  # before a connection is made: it may not be had
        deadline = time.monotonic() + timeout
        sock = sockets.connect(address, timeout)
        try:
            # A name that the user gave may be one of loopback.
            if tls.wants_tls(
                self._settings, address.host if address.path else sock.getpeername()[0]
            ):
                sock = self._wrap_client(sock, deadline)
            if key is not None:
                binding = _client_binding(sock)
                channel = ProofContext(address.object, binding)
                try:
                    proof.prove_to_server(sock, key, channel, deadline)
                except OSError as error:
                    raise what_tls_says(sock, error) from error
            sock.settimeout(timeout)
        except BaseException:
            sock.close()
            raise
        return sock

    def _wrap_client(self, sock: socket.socket, deadline: float) -> ssl.SSLSocket:
        with self._lock:
            if self._client_context is None:
                files = tls.client_files(self._settings)
                self._client_context = tls.client_context(files)
            context = self._client_context
        wrapped = context.wrap_socket(sock, do_handshake_on_connect=False)
        try:
            _handshake(wrapped, deadline)
            check_peer(self._settings, wrapped)
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def accept(
        self,
        sock: socket.socket,
        listens_on: str,
        role: str,
        deadline: float,
        keyless: bool,
        adopt: Callable[[socket.socket], None],
    ) -> None:
        """Go through the proofs with a client; when it returns, the client is one of us.

        Args:
            sock: A connection that was accepted; nothing was read from it.
            listens_on: The host that our listener has. It decides about TLS, not the
                address that the client has come to: one that listens on every interface
                encrypts on loopback, too.
            role: The name of the object that we publish.
            deadline: When the proof must be over, as ``time.monotonic()``.
            keyless: We are a name server, and ask for no more than TLS does.
            adopt: Is given the socket that encrypts the connection, if one does, before
                the client can make us wait.

        Raises:
            SecurityError: If the client cannot prove it.
            TimeoutError: If it takes too long.
            OSError: If the connection breaks.
        """
        binding = proof.address_binding(sock.getpeername(), sock.getsockname())
        if tls.wants_tls(self._settings, listens_on):
            context, certificate = self._server_side()
            sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            adopt(sock)
            try:
                _handshake(sock, deadline)
            except SecurityError as error:
                if getattr(error.__cause__, "reason", "") == "WRONG_VERSION_NUMBER":
                    with suppress(OSError):  # OpenSSL says nothing to a peer that has no TLS
                        socket.socket.send(sock, proof.TLS_REFUSAL)
                raise
            try:
                check_peer(self._settings, sock)
            except SecurityError:
                with suppress(OSError):
                    # What lies unread when the connection ends would take our word along.
                    proof.receive_exactly(sock, 1, deadline)
                    proof.send_before(sock, proof.REVOKED, deadline)
                raise
            binding = tls.session_binding(sock, certificate)
        if not keyless:
            proof.prove_to_client(sock, self.key, ProofContext(role, binding), deadline)

    def _server_side(self) -> tuple[ssl.SSLContext, bytes]:
        with self._lock:
            if self._server is None:
                files = tls.server_files(self._settings)
                self._server = tls.server_context(files), tls.read_certificate(files.cert)
            return self._server


def _handshake(wrapped: ssl.SSLSocket, deadline: float) -> None:
    proof.set_time_left(wrapped, deadline)
    try:
        wrapped.do_handshake()  # the time limit is for all of it
    except ssl.SSLError as error:
        raise _tls_error(error) from error


def _tls_error(error: ssl.SSLError) -> OSError:
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectionError("the peer closed the connection")
    what = getattr(error, "verify_message", "") or error.reason or str(error)
    return SecurityError(
        f"TLS was refused ({str(what).lower().replace('_', ' ')}): both sides need "
        "certificates of one authority, as 'seppo keys new' makes them, and both must be in "
        "agreement about --insecure"
    )


def what_tls_says(sock: socket.socket, error: OSError) -> OSError:
    """Return the refusal of our certificate as a SecurityError, if that is behind an error.

    In TLS 1.3 a server refuses it when for us the handshake is over: it may be hidden
    behind a broken connection.
    """
    is_broken = isinstance(error, (ConnectionError, ssl.SSLEOFError))
    if is_broken and isinstance(sock, ssl.SSLSocket):
        try:
            if sock.recv(len(proof.TLS_ALERT)) == proof.TLS_ALERT:
                return SecurityError(proof.IS_REVOKED)
        except ssl.SSLError as alert:
            error = alert
        except OSError:
            pass
    return _tls_error(error) if isinstance(error, ssl.SSLError) else error


def _client_binding(sock: socket.socket) -> bytes:
    if isinstance(sock, ssl.SSLSocket):
        certificate = sock.getpeercert(binary_form=True)
        assert certificate is not None  # the context requires one
        return tls.session_binding(sock, certificate)
    return proof.address_binding(sock.getsockname(), sock.getpeername())
