"""A Pyro daemon in a thread of its own, which publishes one object.

The object answers control calls (``info``, ``ping``, ...), and ``attach``, which turns
the connection into a data channel: the Pyro thread that took the call hands the socket
over and stays until the channel ends. Then it raises ``ConnectionClosedError``, upon
which Pyro closes the connection without an answer.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from Pyro5 import errors, server
from Pyro5.callcontext import current_context

from seppo.transport import pyro_config
from seppo.transport.address import Address

log = logging.getLogger(__name__)


class ControlDaemon:
    """Publishes control calls, and optionally data channels.

    Args:
        name: Name of the object in its URI.
        host: Address to listen on, and to be told to clients.
        port: Port to listen on; 0 for any free one.
        calls: The control calls by name; they get and return plain values and run in
            Pyro's threads.
        on_attach: Serves one data channel, given its socket; returns when it has ended.

    Raises:
        OSError: If the port cannot be listened on.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        calls: Mapping[str, Callable[..., Any]],
        on_attach: Callable[[socket.socket], None] | None = None,
    ) -> None:
        pyro_config.prepare_server()
        self._daemon = server.Daemon(host=host, port=port)
        members: dict[str, Any] = {key: _as_method(function) for key, function in calls.items()}
        if on_attach is not None:
            members["attach"] = _as_method(_upgrade(on_attach))
        published = server.expose(type("Published", (), members))
        uri = self._daemon.register(published(), objectId=name)
        self.address = Address(name, uri.host, uri.port)
        self._thread = threading.Thread(
            target=self._daemon.requestLoop, name="seppo-daemon", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def abandon(self) -> None:
        """Close our copy of the listening socket: this is a forked child."""
        self._daemon.transportServer.sock.close()

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._daemon.shutdown()


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        return function(*args)

    return method


def _upgrade(on_attach: Callable[[socket.socket], None]) -> Callable[[], None]:
    def attach() -> None:
        sock = current_context.client.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            on_attach(sock)
        except Exception:
            # Pyro would send the error as a message into a stream of frames.
            log.exception("a data channel ended with an error")
        raise errors.ConnectionClosedError("the data channel has ended")

    return attach
