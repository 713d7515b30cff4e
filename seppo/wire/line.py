"""The control line between a supervisor and one of its worker processes.

    worker      {"ready": true}                        it waits to be leased
    supervisor  {"lease": {"token": "..."}}            listen for the client that has this
    worker      {"address": "PYRO:..."}                it does
    worker      {"limits": true}                       items with a time limit run
    worker      {"finalizer": true}                    a finalizer takes its time
    supervisor  {"drain": true}                        end after the item that runs
    supervisor  {"end": true}                          end now

A socket pair, and a line of JSON for each message. User code runs at the one end and may
write anything into it, so that what comes is never trusted.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

LONGEST = 4096  # bytes of one message
MOST = 100  # messages in a second; a healthy process sends a few


class Line:
    """One end of a control line.

    Args:
        sock: The socket; it is made non-blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._inbox = b""
        self._second = 0
        self._heard = 0  # messages in that second

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._sock.fileno()

    def say(self, **message: Any) -> None:
        """Send a message.

        Raises:
            OSError: If the other end is gone, or has not read for long.
        """
        self._sock.send(json.dumps(message).encode() + b"\n")

    def hear(self) -> list[dict[str, Any]]:
        """Return the messages that have come, without waiting.

        Raises:
            EOFError: If the other end is gone.
            OSError: If the line is broken.
            ValueError: If what came is no message, or too many.
        """
        try:
            data = self._sock.recv(1 << 14)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError("the other end of the control line is closed")
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        if len(self._inbox) > LONGEST:
            raise ValueError("a message that is too long")
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._heard = second, 0
        self._heard += len(lines)
        if self._heard > MOST:
            raise ValueError("too many messages")
        return [_message(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("a message that is too deeply nested") from error
    if type(message) is not dict:
        raise ValueError("a message that is no mapping")
    return message
