"""Where a Pyro object is: strict parsing of what name servers tell."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seppo.errors import ProtocolError

_URI = re.compile(
    r"PYRO:(?P<name>[A-Za-z0-9_.\-]{1,200})@"
    r"(?P<host>[A-Za-z0-9_.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True)
class Address:
    """Host, port and object of a Pyro URI.

    >>> Address.parse("PYRO:seppo.worker@127.0.0.1:4711")
    Address(object='seppo.worker', host='127.0.0.1', port=4711)
    >>> str(Address("seppo.worker", "::1", 4711))
    'PYRO:seppo.worker@[::1]:4711'
    """

    object: str
    host: str
    port: int

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Return the address in a URI of the form ``PYRO:object@host:port``.

        Raises:
            ProtocolError: If it is anything else: another form of URI would have Pyro5
                look names up or open Unix sockets on the word of a stranger.
        """
        match = _URI.fullmatch(uri)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ProtocolError(f"not the address of a worker: {uri[:100]!r}")
        return cls(match["name"], match["host"].strip("[]"), int(match["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"PYRO:{self.object}@{host}:{self.port}"
