"""Options of a host: what its supervisor is started with."""

from __future__ import annotations

import os
from dataclasses import dataclass

from seppo.errors import ConfigurationError
from seppo.host.tenants import Bounds
from seppo.settings import Settings
from seppo.trust.keyfile import key_path
from seppo.wire.config import WorkerConfig, cpus


@dataclass(frozen=True)
class HostOptions:
    """The options of one host.

    Attributes:
        places: Worker processes for one client.
        name: Start of the host's name; empty for this machine's.
        port: Port for control calls; 0 for any free one.
        max_clients: Clients that can have full sets at once; further ones get one process.
        preload: Modules that every process has imported before it is leased.
        memory: Bytes of data that one process may have; 0 for any number.
        max_items: Items after which a process is replaced; 0 for never.
        nice: By how much processes stand back for others of the machine.

    Raises:
        ConfigurationError: If a value makes no sense.
    """

    places: int = 1
    name: str = ""
    port: int = 0
    max_clients: int = 4
    preload: tuple[str, ...] = ()
    memory: int = 0
    max_items: int = 0
    nice: int = 0

    def __post_init__(self) -> None:
        least = {"places": 1, "port": 0, "max_clients": 1, "memory": 0, "max_items": 0, "nice": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value < bound:
                raise ConfigurationError(name, str(value), f"{bound} or more is needed")
        if self.port >= 65536:
            raise ConfigurationError("port", str(self.port), "a number from 0 to 65535 is needed")
        if any(not part.isidentifier() for name in self.preload for part in name.split(".")):
            raise ConfigurationError(
                "preload", ",".join(self.preload), "names of modules are needed"
            )

    @property
    def threads(self) -> int:
        """Threads that numerical libraries of one process get."""
        return max(1, cpus() // self.places)

    @property
    def bounds(self) -> Bounds:
        """How much this host gives, given its memory."""
        try:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return Bounds(self.places, self.max_clients)
        least = min(Bounds.least_memory, total // 20)  # a small machine never has much
        return Bounds(self.places, self.max_clients, least)

    def config(self, name: str, host: str, settings: Settings) -> WorkerConfig:
        """Return what a worker process of this name is told, on the host of this entry."""
        return WorkerConfig(
            name, settings.group, settings.host, host, self.threads,
            settings.ns_host, settings.ns_port,
            str(key_path(settings).absolute()),  # user code may change the folder
            settings.insecure, self.preload, self.memory, self.max_items, self.nice,
        )  # fmt: skip
