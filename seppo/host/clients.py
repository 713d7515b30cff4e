"""Control connections of clients to a supervisor: requests in, messages out.

Each client keeps one connection, upgraded to frames, for tiny messages only. A Pyro thread
serves it: answers pings at once, whatever the supervisor does, passes requests on, and
sends what the supervisor has to tell. When the client is gone, or out of reach, the kernel
breaks the connection, and the supervisor hears of it.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from seppo.errors import ProtocolError
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.liveness import watch_closely
from seppo.wire.messages import Hello, Kill, Message, Ping, Pong, Want, Welcome
from seppo.wire.stream import Stream, Waker

log = logging.getLogger(__name__)

LARGEST = 1 << 16  # bytes of a message from a client
UNREAD = 1 << 20  # bytes; a client that leaves so much unread is cut off


class Client:
    """One client.

    Args:
        sock: The connection.
        silence: Seconds out of reach that count as gone.

    Attributes:
        is_local: Whether it has come over a Unix socket.
    """

    def __init__(self, sock: socket.socket, silence: float) -> None:
        self.is_local = sock.family == socket.AF_UNIX
        self._has_greeted = False
        watch_closely(sock, silence)
        self._stream = Stream(sock, LARGEST)
        self._waker = Waker()
        self._lock = threading.Lock()  # guards the two below
        self._outbox: list[Message] = []
        self._is_ending = False

    def tell(self, message: Message) -> None:
        """Have a message sent; from any thread."""
        with self._lock:
            self._outbox.append(message)
        self._waker.wake()

    def end(self) -> None:
        """Have ``serve`` return once all is sent; from any thread."""
        with self._lock:
            self._is_ending = True
        self._waker.wake()

    def serve(self, on_request: Callable[[Client, Message], None]) -> None:
        """Serve until the client leaves.

        Args:
            on_request: Called with what the client sends.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            selector.register(self._stream, selectors.EVENT_READ)
            try:
                while not self._is_over():
                    events = selectors.EVENT_READ
                    if self._stream.unsent:
                        events |= selectors.EVENT_WRITE
                    selector.modify(self._stream, events)
                    self._turn(selector, on_request)
            except (EOFError, OSError) as error:
                log.info("a client left: %s", error)
            except ProtocolError as error:
                log.warning("a client is cut off: %s", error)
        with self._lock:
            self._waker.close()

    def _is_over(self) -> bool:
        with self._lock:
            outbox, self._outbox = self._outbox, []
            is_ending = self._is_ending
        for message in outbox:
            self._stream.send(*to_parts(message))
        if self._stream.unsent > UNREAD:
            raise ConnectionError("it does not read its messages")
        return is_ending and not self._stream.unsent

    def _turn(
        self, selector: selectors.BaseSelector, on_request: Callable[[Client, Message], None]
    ) -> None:
        for key, events in selector.select():
            if key.fileobj is self._waker:
                self._waker.drain()
                continue
            if events & selectors.EVENT_WRITE:
                self._stream.flush()
            if events & selectors.EVENT_READ:
                for frame in self._stream.receive():
                    self._handle(from_frame(frame), on_request)

    def _handle(self, message: Message, on_request: Callable[[Client, Message], None]) -> None:
        if isinstance(message, Hello) == self._has_greeted:
            raise ProtocolError("a client must send Hello first, and only once")
        match message:
            case Ping():
                self._stream.send(*to_parts(Pong()))
            case Hello() | Want() | Kill():
                self._has_greeted = True
                on_request(self, message)
            case _:
                raise ProtocolError(f"a client does not send {type(message).__name__}")


class Clients:
    """All clients of a supervisor.

    Args:
        silence: Seconds out of reach that count as gone.
        greeting: Asked for what a new client is told of the supervisor.
        on_request: Called, in a thread of the client's, with what it sends.
        on_gone: Called, in a thread of the client's, when it has left.
    """

    def __init__(
        self,
        silence: float,
        greeting: Callable[[], dict[str, Any]],
        on_request: Callable[[Client, Message], None],
        on_gone: Callable[[Client], None],
    ) -> None:
        self._silence = silence
        self._greeting = greeting
        self._on_request = on_request
        self._on_gone = on_gone
        self._changed = threading.Condition()  # guards the two below
        self._clients: set[Client] = set()
        self._is_closed = False

    def attach(self, sock: socket.socket) -> None:
        """Serve a client until it leaves; in the thread that took its call."""
        client = Client(sock, self._silence)
        with self._changed:
            if self._is_closed:
                return
            client.tell(Welcome(self._greeting()))
            self._clients.add(client)
        try:
            client.serve(self._on_request)
        finally:
            with self._changed:
                self._clients.discard(client)
                self._changed.notify_all()
            self._on_gone(client)

    def close(self, timeout: float) -> None:
        """End all connections once all is sent; waits at most ``timeout`` seconds for that."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._is_closed = True
            for client in self._clients:
                client.end()
            while self._clients and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
