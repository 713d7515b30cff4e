"""A name server of our own: Pyro5's, in a thread of this process.

Apart from ``nameserver``, which asks one: clients need not load a server.
"""

from __future__ import annotations

import threading

from Pyro5 import nameserver as pyro_nameserver

from seppo.transport import pyro_config


class NameServerThread:
    """A Pyro5 name server in a thread of this process, which answers no broadcasts.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.

    Raises:
        OSError: If the address cannot be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        pyro_config.prepare_server()
        uri, self._daemon, _ = pyro_nameserver.start_ns(host, port, enableBroadcast=False)
        self.host: str = uri.host
        self.port: int = uri.port
        self._thread = threading.Thread(
            target=self._daemon.requestLoop, name="seppo-nameserver", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; its entries are forgotten."""
        self._daemon.shutdown()
        self._thread.join(2.0)
