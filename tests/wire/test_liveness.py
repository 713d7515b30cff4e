"""Socket options that have the kernel notice an unreachable peer."""

from __future__ import annotations

import socket

import pytest

from seppo.wire.liveness import watch_closely


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="options of Linux")
@pytest.mark.parametrize(
    ("silence", "expected"), [(15.0, (5, 3, 3, 15_000)), (1.0, (1, 1, 3, 1_000))]
)
def test_probes_end_about_when_silence_does(silence, expected):
    with socket.socket() as sock:
        watch_closely(sock, silence)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        found = tuple(
            sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options
        )
        assert found == expected


def test_other_sockets_are_left_as_they_are():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watch_closely(ours, 1.0)
