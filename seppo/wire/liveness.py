"""Liveness of a peer: socket options with which the kernel notices an unreachable one.

Only for connections with small messages: with a large send queued, the user timeout would
kill the connection of a peer that is merely busy (measured).
"""

from __future__ import annotations

import socket

SILENCE = 15.0  # seconds; the default time after which an unreachable peer counts as gone
PROBES = 3  # unanswered ones that break an idle connection


def watch_closely(sock: socket.socket, silence: float = SILENCE) -> None:
    """Have the kernel break the connection when its peer is out of reach.

    Args:
        sock: A connected TCP socket.
        silence: Seconds until then, about; 15 s means probes after 5, 8 and 11 s.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {
        "TCP_KEEPIDLE": max(1, round(silence / 3)),
        "TCP_KEEPINTVL": max(1, round(silence / 5)),
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": max(1, round(1000 * silence)),  # milliseconds, unlike the others
    }
    for name, value in values.items():
        option = getattr(socket, name, None)
        if option is not None:  # not every system has every one
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
