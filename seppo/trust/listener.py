"""Accepting connections so that no stranger can keep others out.

Accepting does nothing but accept: each connection is served in a thread of its own, where
a silent or slow peer costs nobody else anything. Until a connection has proved that it
belongs here it is a *stranger*. There is room for few of them, and a newcomer takes the
place of the one that has been here longest: an honest peer is done within milliseconds,
and a flood of others cannot lock it out for longer than that.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from seppo.trust import sockets
from seppo.wire.stream import Waker

log = logging.getLogger(__name__)

STRANGERS = 100  # connections that have not proved anything yet
CONNECTIONS = 500  # all; each is a thread
BACKLOG = 512  # connections that the kernel keeps until they are accepted
FAREWELL = 2.0  # seconds that closing waits for the thread that accepts
PAUSE = 0.05  # seconds after an error of accept(), which may be for lack of descriptors


class Connection:
    """A connection that was accepted.

    Attributes:
        sock: Its socket.
    """

    def __init__(self, sock: socket.socket, listener: Listener) -> None:
        self.sock = sock
        self._listener = listener
        self._is_over = False
        self._is_taken = False

    def adopt(self, sock: socket.socket) -> None:
        """Go on with the socket that encrypts this connection.

        Call it before the first byte is waited for: wrapping took the descriptor away from
        the plain socket, so that nobody could end the connection any more.
        """
        self.sock = sock
        if self._is_over:  # it was told to leave just now, on the plain socket
            self.hang_up()

    def trust(self) -> None:
        """Say that the peer has proved to be one of us."""
        self._listener._trust(self)

    def take_over(self) -> socket.socket:
        """Return the socket, which from now on is the caller's: nobody closes it here."""
        self._listener._forget(self)
        self._is_taken = True
        return self.sock

    def touch(self) -> None:
        """Say that the stranger has done something useful: others have to leave first."""
        self._listener._touch(self)

    def hang_up(self) -> None:
        """End the connection; whoever reads from it notices. From any thread."""
        self._is_over = True
        with suppress(OSError):
            # Not SSLSocket's own: it would let go of the encryption first, and another
            # thread that sends at this moment would send in plain text.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class Listener:
    """Accepts connections and has each served in a thread of its own.

    Args:
        host: The IP address, or a name for one, to listen on; ``./u:FOLDER`` for a Unix
            socket in a folder that nobody else can enter.
        port: The port; 0 for any free one.
        serve: Serves one connection; when it returns, the connection is closed.

    Attributes:
        host: The IP address that it listens on, or ``./u:PATH``.
        port: The port; 0 if there is none.

    Raises:
        OSError: If it cannot be listened there.
    """

    def __init__(self, host: str, port: int, serve: Callable[[Connection], None]) -> None:
        self._sock, self.host, self.port = sockets.bind(host, port)
        self._serve = serve
        self._lock = threading.Lock()  # guards the two below
        self._strangers: OrderedDict[Connection, None] = OrderedDict()  # oldest first
        self._trusted: set[Connection] = set()
        self._closing = False
        self._waker = Waker()
        self._thread = threading.Thread(target=self._accept_all, name="seppo-accept", daemon=True)

    def listen(self) -> None:
        """Let peers connect, from now on, when all that they need to prove is at hand.

        Raises:
            OSError: If the port cannot be listened on.
        """
        self._sock.listen(BACKLOG)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    @property
    def n_connections(self) -> int:
        """Connections that are open now."""
        return len(self._strangers) + len(self._trusted)

    def abandon(self) -> None:
        """Close our copies of all sockets: this is a forked child, which serves nobody.

        The file of a Unix socket stays: it is the parent's.
        """
        self._sock.close()
        for connection in [*self._strangers, *self._trusted]:
            connection.sock.close()

    def close(self) -> None:
        """Stop listening and end all connections."""
        with self._lock:
            self._closing = True
            for connection in [*self._strangers, *self._trusted]:
                connection.hang_up()
        self._waker.wake()
        if self._thread.ident is not None:
            self._thread.join(FAREWELL)
        sockets.remove(self.host)
        self._sock.close()
        self._waker.close()

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while True:
                selector.select()
                if self._closing:
                    return
                try:
                    sock, _ = self._sock.accept()
                except BlockingIOError:
                    continue  # it has left already
                except OSError as error:
                    log.warning("a connection cannot be accepted: %s", error)
                    time.sleep(PAUSE)
                    continue
                self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        connection = Connection(sock, self)
        with self._lock:
            if self._closing or len(self._trusted) >= CONNECTIONS - STRANGERS:
                log.warning("a connection is refused: %d are open", len(self._trusted))
                sock.close()
                return
            if len(self._strangers) >= STRANGERS:
                oldest, _ = self._strangers.popitem(last=False)
                oldest.hang_up()
            self._strangers[connection] = None
        try:
            sock.setblocking(True)
            sockets.send_at_once(sock)
            thread = threading.Thread(
                target=self._serve_one, args=(connection,), name="seppo-connection", daemon=True
            )
            thread.start()
        except (OSError, RuntimeError) as error:  # it has left, or there is no thread to be had
            log.warning("a connection cannot be served: %s", error)
            self._drop(connection)

    def _serve_one(self, connection: Connection) -> None:
        try:
            self._serve(connection)
        except Exception:  # one connection's trouble must not reach the others
            log.exception("a connection ended with an error")
        finally:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        if not connection._is_taken:
            connection.hang_up()
            connection.sock.close()

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._strangers.pop(connection, None)
            self._trusted.discard(connection)

    def _trust(self, connection: Connection) -> None:
        with self._lock:
            if self._strangers.pop(connection, 0) is None:  # else it has been told to leave
                self._trusted.add(connection)

    def _touch(self, connection: Connection) -> None:
        with self._lock:
            if connection in self._strangers:
                self._strangers.move_to_end(connection)
