"""Calls to Pyro objects, under a time limit; Pyro's errors become seppo's here."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from Pyro5 import errors, protocol, serializers
from Pyro5.client import Proxy

from seppo.transport.address import Address

SERIALIZER = "serpent"  # the one that every Pyro5 has; control messages are small


@contextmanager
def connected(address: Address, timeout: float) -> Iterator[Any]:
    """Give a bound proxy, closed afterwards.

    Args:
        address: Whom to call.
        timeout: Seconds for connecting and for each call.

    Raises:
        TimeoutError: If it does not answer in time.
        ConnectionError: If it cannot be reached or the connection breaks.
    """
    proxy = Proxy(str(address))
    proxy._pyroTimeout = timeout
    proxy._pyroSerializer = SERIALIZER
    try:
        proxy._pyroBind()
        yield proxy
    except errors.TimeoutError as error:
        raise TimeoutError(f"{address} did not answer within {timeout} s") from error
    except (errors.CommunicationError, OSError) as error:
        raise ConnectionError(f"{address}: {error}") from error
    finally:
        proxy._pyroRelease()


def call(address: Address, method: str, *args: Any, timeout: float) -> Any:
    """Return the result of one control call.

    Raises:
        TimeoutError: If there is no answer in time.
        ConnectionError: If the peer cannot be reached or the connection breaks.
    """
    with connected(address, timeout) as proxy:
        return proxy._pyroInvoke(method, args, {})


def attach(address: Address, timeout: float) -> socket.socket:
    """Upgrade a Pyro connection and return its socket, from now on a data channel.

    The call of ``attach`` is sent by hand and never answered: the peer's next bytes
    are a frame. The socket blocks, with ``timeout`` set.

    Raises:
        TimeoutError: If the peer does not answer in time.
        ConnectionError: If it cannot be reached.
    """
    with connected(address, timeout) as proxy:
        serializer = serializers.serializers[SERIALIZER]
        data = serializer.dumpsCall(address.object, "attach", (), {})
        message = protocol.SendingMessage(protocol.MSG_INVOKE, 0, 0, serializer.serializer_id, data)
        connection = proxy._pyroConnection
        connection.send(message.data)
        sock = _taken_over(connection.sock)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _taken_over(sock: socket.socket) -> socket.socket:
    """Return the same connection as a socket that Pyro will not close."""
    timeout = sock.gettimeout()
    own = socket.socket(fileno=sock.detach())
    own.settimeout(timeout)
    return own
