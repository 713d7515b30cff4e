"""Addresses of Pyro objects: strict parsing of what name servers report."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass

from seppo.errors import ConfigurationError, ProtocolError

_URI = re.compile(
    r"PYRO:(?P<name>[A-Za-z0-9_.\-]{1,200})@"
    r"(?:(?P<host>[A-Za-z0-9_.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
    r"|\./u:(?P<path>/.+))"
)
_PATH = re.compile(r"(?:/[\w.+@~\-]+)+/seppo-[0-9a-f]{12}")  # of our Unix sockets alone

UNIX = "./u:"  # how Pyro marks the path of a Unix socket, which stands for host and port
LONGEST_PATH = 103  # bytes of a path that every system can bind; Linux has 107


@dataclass(frozen=True)
class Address:
    """Host, port and object of a Pyro URI; of a Unix socket, the host is ``./u:PATH``.

    >>> Address.parse("PYRO:seppo.worker@127.0.0.1:4711")
    Address(object='seppo.worker', host='127.0.0.1', port=4711)
    >>> str(Address("seppo.worker", "::1", 4711))
    'PYRO:seppo.worker@[::1]:4711'
    >>> Address("seppo.worker", "./u:/run/user/1000/seppo/seppo-0123456789ab").path
    '/run/user/1000/seppo/seppo-0123456789ab'
    """

    object: str
    host: str
    port: int = 0

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Return the address in a URI: ``PYRO:object@host:port`` or ``PYRO:object@./u:path``.

        Raises:
            ProtocolError: If it is anything else: another form of URI would have Pyro5
                look names up on the word of a stranger. The host is
                an IP address, as workers tell it: looking up a name has no time limit.
                The path is one that a socket of ours can have.
        """
        match _URI.fullmatch(uri):
            case re.Match() as found if found["path"]:
                if is_path_of_ours(found["path"]):
                    return cls(found["name"], UNIX + found["path"])
            case re.Match() as found if 0 < int(found["port"]) < 65536 and _is_ip(found["host"]):
                return cls(found["name"], _canonical(found["host"]), int(found["port"]))
        raise ProtocolError(f"not the address of a worker: {uri[:100]!r}")

    @property
    def path(self) -> str:
        """The path of the Unix socket; empty for TCP."""
        return path_of(self.host)

    @property
    def location(self) -> str:
        """``host:port``, or ``./u:path``, for people and in URIs."""
        return location_of(self.host, self.port)

    def __str__(self) -> str:
        return f"PYRO:{self.object}@{self.location}"


def path_of(host: str) -> str:
    """Return the path in a host that is a Unix socket, or a folder for some; else nothing.

    >>> path_of("./u:/run/user/1000/seppo"), path_of("127.0.0.1")
    ('/run/user/1000/seppo', '')
    """
    return host.removeprefix(UNIX) if host.startswith(UNIX) else ""


def location_of(host: str, port: int) -> str:
    """Return where somebody listens, as one text.

    >>> location_of("::1", 9090), location_of("./u:/run/ns", 9090)
    ('[::1]:9090', './u:/run/ns')
    """
    if path_of(host):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_path_of_ours(path: str) -> bool:
    """Whether a Unix socket of ours can have this path; it has no other spelling.

    >>> is_path_of_ours("/run/user/1000/seppo/seppo-0123456789ab")
    True
    >>> is_path_of_ours("/run/user/1000/bus")
    False
    """
    return (
        _PATH.fullmatch(path) is not None
        and os.path.normpath(path) == path
        and len(os.fsencode(path)) <= LONGEST_PATH
    )


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
    if path_of(host):
        return host
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
