"""Addresses of Pyro objects: strict parsing of what name servers report."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from seppo.errors import ConfigurationError, ProtocolError

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
                look names up or open Unix sockets on the word of a stranger. The host is
                an IP address, as workers tell it: looking up a name has no time limit.
        """
        match = _URI.fullmatch(uri)
        if match is None or not 0 < int(match["port"]) < 65536 or not _is_ip(match["host"]):
            raise ProtocolError(f"not the address of a worker: {uri[:100]!r}")
        return cls(match["name"], _canonical(match["host"]), int(match["port"]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"PYRO:{self.object}@{host}:{self.port}"


def _canonical(host: str) -> str:
    """Return the one spelling of an IP address: else one peer could look like hundreds."""
    address = ipaddress.ip_address(host.strip("[]"))
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def address_to_tell(host: str) -> str:
    """Return the IP address under which others reach somebody who listens on ``host``.

    It is ``host`` itself, or for 0.0.0.0 and ``::``, which mean every interface, the
    address of the interface that leads into the network.

    Raises:
        ConfigurationError: If there is no such interface.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if not address.is_unspecified:
        return host
    family, beyond = (
        (socket.AF_INET, "192.0.2.1") if address.version == 4 else (socket.AF_INET6, "2001:db8::1")
    )  # addresses kept for documentation (RFC 5737, RFC 3849); nothing is sent there
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((beyond, 9))
        except OSError as error:
            raise ConfigurationError(
                "host", host, f"this machine has no network ({error}); give an IP address"
            ) from error
        return str(sock.getsockname()[0])
