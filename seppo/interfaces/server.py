"""The server: this process becomes the supervisor of a worker on this host."""

from __future__ import annotations

from dataclasses import replace

from seppo.host.launcher import launcher
from seppo.host.options import HostOptions
from seppo.host.supervisor import Supervisor
from seppo.settings import Settings
from seppo.worker.process import run_worker


def start_seppo_enslaved_server(
    hostname: str | None = None,
    port: int = 0,
    group: str | None = None,
    name: str | None = None,
) -> None:
    """Serve maps with one worker process for each client until Ctrl-C or SIGTERM; blocks.

    SIGTERM lets the workers finish the items that run; a second one stops them.

    This process becomes the supervisor: it runs no user code, keeps a worker process ready,
    leases it to the next client, and keeps itself registered at the name server, whenever
    that comes up. On Linux the workers are forks: what was imported, or loaded, before the
    call is there in each of them, and shares its memory. For as many workers as there are
    cores, which all share what was preloaded once, see ``seppo worker --preload``.

    Args:
        hostname: Address to listen on and to be told to clients; None for ``PYRO_HOST``,
            or else 127.0.0.1, which only this machine reaches.
        port: Port of the supervisor; 0 for any free one. The workers take free ones.
        group: Clients find the workers under this name; None for ``SEPPO_GROUP``, or else
            "default".
        name: Start of the workers' names; None for this machine's name.

    Raises:
        ConfigurationError: If ``port`` is not a port.
        OSError: If the address cannot be listened on.
        SecurityError: If the address is not of loopback and there are no certificates for
            TLS, or the shared key cannot be made or used.
        RuntimeError: If workers die again and again before they are ready.
    """
    options = HostOptions(1, name or "", port)
    settings = Settings.load(group=group)
    if hostname is not None:
        settings = replace(settings, host=hostname)
    forker = launcher(run_worker, threads=options.threads)  # before anything starts a thread
    Supervisor(settings, options, forker).run()
