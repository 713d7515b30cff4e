"""The one place that touches Pyro5's process-wide settings; never at import.

Clients leave them alone: what they need is set on each proxy.
"""

from __future__ import annotations

from Pyro5 import config

# A connection is a thread in Pyro5's server; many clients may share one worker.
CONNECTIONS = 500


def prepare_server() -> None:
    """Set what our daemons need in this process."""
    config.SERVERTYPE = "thread"
    config.THREADPOOL_SIZE = max(config.THREADPOOL_SIZE, CONNECTIONS)
    config.THREADPOOL_SIZE_MIN = 1
    config.SOCK_NODELAY = True
    config.COMMTIMEOUT = 0.0  # another value makes every read slower; sockets get their own
