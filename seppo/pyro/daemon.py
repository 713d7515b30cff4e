"""A Pyro daemon that strangers cannot block.

It publishes one object. The connections come from a ``Listener``; on each one, TLS and the
proof of the shared key come first, under a deadline and before a byte reaches Pyro5 or any
deserializer. Only then does Pyro5 serve the calls: ``info``, ``ping``, ..., and ``attach``,
which turns the connection into a data channel: the thread that took the call hands the
socket over and stays until the channel ends. Then it raises ``ConnectionClosedError``,
upon which the connection is closed without an answer.

A name server is published the same way, but *keyless*: Pyro's own tools and other programs
may ask it. Then every message is that of a stranger: small, quick, and never compressed.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from Pyro5 import errors, server
from Pyro5.callcontext import current_context

from seppo.pyro import config
from seppo.pyro.bounds import LARGEST_STRANGE, LARGEST_TRUSTED, OURS, PYROS, BoundedConnection
from seppo.trust.credentials import Credentials
from seppo.trust.listener import Connection, Listener
from seppo.wire.address import Address, address_to_tell

log = logging.getLogger(__name__)

PROOF_SECONDS = 5.0  # for TLS, the proof of the key, and Pyro's own handshake
MESSAGE_SECONDS = 5.0  # for a stranger's message, from its first byte, or the answer to it
IDLE_SECONDS = 60.0  # that a stranger may be silent between two calls
TRUSTED_SECONDS = 30.0  # for a message of somebody who has proved the key


class ControlDaemon:
    """Publishes control calls, and optionally data channels.

    Args:
        name: Name of the object in its URI.
        host: Address to listen on, and to be told to clients.
        port: Port to listen on; 0 for any free one.
        calls: The control calls by name; they get and return plain values and run in
            the connections' threads.
        on_attach: Serves one data channel, given its socket; returns when it has ended.
        credentials: What we and our clients prove to each other.
        local: ``./u:FOLDER`` to listen on a Unix socket as well; empty for none.

    Attributes:
        address: Where it listens.
        local: The Unix socket on which it listens as well; None if there is none.

    Raises:
        OSError: If the port cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        calls: Mapping[str, Callable[..., Any]],
        on_attach: Callable[[socket.socket], None] | None = None,
        *,
        credentials: Credentials,
        local: str = "",
    ) -> None:
        members: dict[str, Any] = {key: _as_method(function) for key, function in calls.items()}
        if on_attach is not None:
            members["attach"] = _as_method(_upgrade(on_attach))
        published = server.expose(type("Published", (), members))()
        self._servers = [PyroServer(name, published, host, port, credentials)]
        self.address = self._servers[0].address
        self.local: Address | None = None
        if local:
            try:
                self._servers.append(PyroServer(name, published, local, 0, credentials))
            except BaseException:
                self.close()
                raise
            self.local = self._servers[1].address

    def start(self) -> None:
        """Begin to answer."""
        for each in self._servers:
            each.listener.start()

    def abandon(self) -> None:
        """Close our copies of the sockets: this is a forked child."""
        for each in self._servers:
            each.listener.abandon()

    def close(self) -> None:
        """Stop listening and end all connections."""
        for each in self._servers:
            each.listener.close()


class PyroServer:
    """One object, published on a listener of ours.

    Args:
        name: Name of the object in its URI.
        published: The object, exposed as Pyro5 wants it.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        credentials: What we and our clients prove to each other.
        keyless: Clients need not prove the key; off loopback TLS is asked for all the same.

    Raises:
        OSError: If the port cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(
        self,
        name: str,
        published: object,
        host: str,
        port: int,
        credentials: Credentials,
        keyless: bool = False,
    ) -> None:
        self._credentials = credentials
        self._keyless = keyless
        self.listener = Listener(host, port, self._serve)
        try:
            credentials.check_server(self.listener.host, keyless)
            told = address_to_tell(self.listener.host)
            self.address = Address(name, told, self.listener.port)
            self._pyro = config.make_daemon(self.address)
            self._pyro.register(published, objectId=name)
            self.listener.listen()
        except BaseException:
            self.listener.close()
            raise

    def _serve(self, connection: Connection) -> None:
        deadline = time.monotonic() + PROOF_SECONDS
        try:
            self._credentials.accept(
                connection.sock,
                self.listener.host,
                self.address.object,
                deadline,
                self._keyless,
                connection.adopt,
            )
        except OSError as error:  # of many kinds, a SecurityError among them
            log.info("a connection is refused: %s", error)
            return
        try:
            if self._keyless:
                self._serve_stranger(connection)
            else:
                connection.trust()
                self._answer(
                    BoundedConnection(connection.sock, LARGEST_TRUSTED, OURS, TRUSTED_SECONDS)
                )
        except errors.CommunicationError as error:
            log.debug("a connection has ended: %s", error)

    def _serve_stranger(self, connection: Connection) -> None:
        pyro = BoundedConnection(
            connection.sock, LARGEST_STRANGE, PYROS, MESSAGE_SECONDS, PROOF_SECONDS, plain=True
        )
        if self._pyro._handshake(pyro):
            pyro.idle_seconds = IDLE_SECONDS
            self._answer(pyro, connection.touch)

    def _answer(self, pyro: BoundedConnection, on_call: Callable[[], None] | None = None) -> None:
        try:
            while True:
                self._pyro.handleRequest(pyro)
                if on_call is not None:
                    on_call()
        finally:
            self._pyro._clientDisconnect(pyro)


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        return function(*args)

    return method


def _upgrade(on_attach: Callable[[socket.socket], None]) -> Callable[[], None]:
    def attach() -> None:
        try:
            on_attach(current_context.client.sock)
        except Exception:
            # Pyro would send the error as a message into a stream of frames.
            log.exception("a data channel ended with an error")
        raise errors.ConnectionClosedError("the data channel has ended")

    return attach
