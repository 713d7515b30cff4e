"""The one place that touches Pyro5's process-wide settings; never at import.

Nothing is left changed: what users of this process do with Pyro5 is theirs.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from Pyro5 import config, server

from seppo.wire.address import Address

_lock = threading.Lock()


class _NoSocket:
    """Stands in for a connection where Pyro5 wants one: connections come from elsewhere."""

    def __init__(self, address: Address) -> None:
        self.family = socket.AF_UNIX if address.path else socket.AF_INET
        self._name = address.path or (address.host, address.port)

    def getpeername(self) -> str | tuple[str, int]:
        return self._name

    def getsockname(self) -> str | tuple[str, int]:
        return self._name


def make_daemon(address: Address) -> Any:
    """Return a Pyro daemon without a transport of its own, whose URIs have this address."""
    with _lock:
        ssl, config.SSL = config.SSL, False  # the listener encrypts, under our own rules
        try:
            return server.Daemon(connected_socket=_NoSocket(address))
        finally:
            config.SSL = ssl
