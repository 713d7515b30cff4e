"""Calls to Pyro objects, under a time limit; Pyro's errors become seppo's here.

Each call has a connection of its own. Workers and supervisors prove the shared key before
the first message, and are then spoken to without Pyro's own handshake; name servers hold
no key, are greeted as any Pyro daemon is, and what they answer stays plain values.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from Pyro5 import errors, protocol

from seppo.pyro.bounds import JSON, LARGEST_ANSWER, LARGEST_TRUSTED, receive_message
from seppo.trust import sockets
from seppo.trust.credentials import Credentials, what_tls_says
from seppo.wire.address import Address


def call(
    credentials: Credentials, address: Address, method: str, *args: Any, timeout: float
) -> Any:
    """Return the result of one control call to a worker or supervisor.

    Args:
        credentials: What proves that we belong together.
        address: Whom to call.
        method: What to call.
        *args: Plain values.
        timeout: Seconds for everything.

    Raises:
        SecurityError: If one side cannot prove that it belongs to the other.
        ProtocolError: If the peer speaks another version of the protocol.
        TimeoutError: If there is no answer in time.
        ConnectionError: If the peer cannot be reached or the connection breaks.
    """
    with _connected(credentials, address, timeout) as sock:
        deadline = time.monotonic() + timeout
        _invoke(sock, address, method, args)
        message = receive_message(sock, LARGEST_TRUSTED, deadline)
        value = JSON.loads(bytes(message.data))
        if message.flags & protocol.FLAGS_EXCEPTION:
            raise value
        return value


def ask_nameserver(
    credentials: Credentials, address: Address, method: str, *args: Any, timeout: float
) -> Any:
    """Return a name server's answer as plain values.

    Args and Raises: as ``call``; what the name server cannot do is a ``ConnectionError``.
    """
    with _connected(credentials, address, timeout, keyless=True) as sock:
        deadline = time.monotonic() + timeout
        greeting = JSON.dumps({"handshake": "hello", "object": address.object})
        _send(sock, protocol.MSG_CONNECT, greeting)
        _plain_answer(sock, deadline)
        _invoke(sock, address, method, args)
        return _plain_answer(sock, deadline)


def attach(credentials: Credentials, address: Address, timeout: float) -> socket.socket:
    """Upgrade a connection and return its socket, from now on a data channel.

    The call of ``attach`` is never answered: the peer's next bytes are a frame. The
    socket blocks, with ``timeout`` set.

    Raises:
        As ``call``.
    """
    with _connected(credentials, address, timeout, keeps=True) as sock:
        _invoke(sock, address, "attach", ())
    return sock


def knock(address: Address, timeout: float) -> None:
    """Find out whether anybody listens there, without a word.

    Raises:
        OSError: If nobody does.
    """
    sockets.connect(address, timeout).close()


@contextmanager
def _connected(
    credentials: Credentials,
    address: Address,
    timeout: float,
    keyless: bool = False,
    keeps: bool = False,
) -> Iterator[socket.socket]:
    """Give a connected socket, closed afterwards unless all went well and ``keeps``."""
    sock = None
    try:
        sock = credentials.connect(address, timeout, keyless)
        yield sock
    except BaseException as error:
        if sock is not None:
            if keyless and isinstance(error, OSError):
                error = what_tls_says(sock, error)
            sock.close()
        match error:
            case PermissionError():  # a SecurityError, which says what to do
                raise error
            case TimeoutError() | errors.TimeoutError():
                raise TimeoutError(f"{address} did not answer within {timeout} s") from error
            case OSError() | errors.CommunicationError():
                raise ConnectionError(f"{address}: {error}") from error
            case RecursionError() | ValueError() if keyless:
                raise ConnectionError(f"{address}: its answer makes no sense: {error}") from error
        raise
    if not keeps:
        sock.close()


def _send(sock: socket.socket, kind: int, data: bytes) -> None:
    message = protocol.SendingMessage(kind, 0, 0, JSON.serializer_id, data)
    sock.sendall(message.data)


def _invoke(sock: socket.socket, address: Address, method: str, args: tuple[Any, ...]) -> None:
    _send(sock, protocol.MSG_INVOKE, JSON.dumpsCall(address.object, method, args, {}))


def _plain_answer(sock: socket.socket, deadline: float) -> Any:
    """Return an answer of somebody who is not trusted: no class is looked up for it."""
    message = receive_message(sock, LARGEST_ANSWER, deadline)
    value = json.loads(bytes(message.data))
    if message.type == protocol.MSG_CONNECTFAIL:
        raise ConnectionError(f"it refused the connection: {str(value)[:200]}")
    if message.flags & protocol.FLAGS_EXCEPTION:
        raise ConnectionError(f"it answered with an error: {str(value)[:200]}")
    return value
