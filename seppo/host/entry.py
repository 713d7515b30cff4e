"""The host's entry in the name server: what it says, and when it is registered."""

from __future__ import annotations

from typing import Any

from seppo.host.options import HostOptions
from seppo.host.overview import facts
from seppo.host.registrar import Registrar
from seppo.place import user_domain
from seppo.pyro.nameserver import Entry
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address


class HostEntry:
    """Describes a host to the name server and to clients.

    Args:
        name: The name of the entry.
        address: Where the host answers control calls.
        settings: Name server and group.
        options: What the user of the host has chosen.
        credentials: Its key, and its certificates for other machines.
        local: The Unix socket on which it answers as well; None if there is none.

    Attributes:
        is_encrypted: Whether calls of clients are encrypted.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        settings: Settings,
        options: HostOptions,
        credentials: Credentials,
        local: Address | None = None,
    ) -> None:
        self.is_encrypted = credentials.is_encrypted(address.host)
        self._name = name
        self._address = address
        self._local = local
        self._group = settings.group
        self._places = options.places
        self._fingerprint = credentials.key.fingerprint
        self._is_announced = False
        self._registrar = Registrar(settings, credentials)

    def facts(self) -> dict[str, Any]:
        """Return who the host is."""
        return {
            **facts(),
            "group": self._group,
            "places": self._places,
            "encrypted": self.is_encrypted,
        }

    def start(self) -> None:
        """Begin to talk with the name server."""
        self._registrar.start()

    def announce(self) -> None:
        """Have the host registered from the first call on: it has something to lease."""
        if not self._is_announced:
            self._is_announced = True
            told = {name: str(value) for name, value in self.facts().items()}
            told["key"] = self._fingerprint
            if self._local is not None:
                told["unix"] = self._local.location
            if self._local is not None or self._address.path:
                told["machine"] = user_domain()
            self._registrar.add(Entry(self._name, self._address, told))

    def withdraw(self) -> None:
        """Take the host out of the name server."""
        self._registrar.remove(self._name)

    def wait_until_settled(self, timeout: float) -> bool:
        """Wait until the name server knows the host; return whether it does."""
        return self._registrar.wait_until_settled(timeout)

    def close(self) -> None:
        """Take the host out, and end."""
        self._registrar.close()
