"""Turning this process into a server: the supervisor of workers on this host."""

from __future__ import annotations

from dataclasses import replace

from seppo.errors import ConfigurationError
from seppo.settings import Settings
from seppo.worker.supervisor import Supervisor


def start_seppo_enslaved_server(
    hostname: str | None = None,
    port: int = 0,
    group: str = "default",
    name: str | None = None,
) -> None:
    """Serve maps with one worker process until Ctrl-C or SIGTERM; blocks.

    This process becomes the worker's supervisor: it runs no user code, starts the worker
    again when it dies, and keeps it registered at the name server, whenever that comes
    up. On Linux the worker is a fork: what was imported before the call is there.

    Args:
        hostname: Address to listen on and to be told to clients; None for ``PYRO_HOST``,
            or else 127.0.0.1, which only this machine reaches.
        port: Port of the supervisor; 0 for any free one. The worker takes a free one.
        group: Clients find the worker under this name.
        name: Start of the worker's name; None for this machine's name.

    Raises:
        ConfigurationError: If ``port`` is not a port.
        OSError: If the address cannot be listened on.
        SecurityError: If the address is not of loopback and there are no certificates for
            TLS, or the shared key cannot be made or used.
        RuntimeError: If the worker dies again and again before it is ready.
    """
    if not 0 <= port < 65536:
        raise ConfigurationError("port", str(port), "a number from 0 to 65535 is needed")
    settings = Settings.load(group=group)
    if hostname is not None:
        settings = replace(settings, host=hostname)
    Supervisor(settings, 1, name, port).run()
