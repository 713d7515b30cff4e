"""A name server of our own: Pyro5's registry on a daemon that strangers cannot block.

Apart from ``nameserver``, which asks one: clients need not load a server.
"""

from __future__ import annotations

from Pyro5 import nameserver as pyro_nameserver

from seppo.transport.credentials import Credentials
from seppo.transport.daemon import PyroServer
from seppo.transport.nameserver import PYRO_NAME


class NameServerThread:
    """A name server in threads of this process, which answers no broadcasts.

    Pyro's own tools can ask it too. It holds no key, and nobody trusts what it says.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        credentials: Certificates, needed off loopback.

    Attributes:
        host: The address to reach it under.
        port: Its port.

    Raises:
        OSError: If the address cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        registry = pyro_nameserver.NameServer(pyro_nameserver.MemoryStorage())
        self._server = PyroServer(PYRO_NAME, registry, host, port, credentials, keyless=True)
        address = self._server.address
        self.host, self.port = address.host, address.port
        registry.register(PYRO_NAME, str(address), metadata={"class:Pyro5.nameserver.NameServer"})
        self._server.listener.start()

    def close(self) -> None:
        """Stop; its entries are forgotten."""
        self._server.listener.close()
