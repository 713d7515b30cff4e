"""The listening socket of a leased process: one client attaches, and no other after it.

The client proves the shared key, as on every connection, and then shows the token that the
supervisor gave to it alone. Then the socket is closed.
"""

from __future__ import annotations

import hmac
import logging
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from seppo.errors import ProtocolError
from seppo.trust.credentials import Credentials
from seppo.trust.listener import Connection, Listener
from seppo.wire.address import Address, address_to_tell
from seppo.wire.codec import from_frame
from seppo.wire.messages import Attach
from seppo.wire.stream import Stream, Waker

log = logging.getLogger(__name__)

OBJECT = "seppo.worker"
PROOF_SECONDS = 5.0  # for TLS, the proof of the key, and the first message
LARGEST = 16 << 20  # bytes of the first message: it may carry environment variables


@dataclass(frozen=True)
class Guest:
    """The client that was let in.

    Attributes:
        sock: Its connection, from which one message was read.
        caller: Where it runs, as ``Attach`` has it.
    """

    sock: socket.socket
    caller: dict[str, Any]


class Door:
    """Listens for one client; a context manager. Its descriptor is readable once one has come.

    Args:
        host: Address to listen on, or ``./u:FOLDER`` for a Unix socket there.
        token: What the client has to show.
        credentials: What we and our client prove to each other.

    Attributes:
        address: Where it listens.
        guest: The client, once it is here.

    Raises:
        OSError: If the address cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(self, host: str, token: str, credentials: Credentials) -> None:
        self.guest: Guest | None = None
        self._credentials = credentials
        self._token = token
        self._lock = threading.Lock()  # guards ``guest``
        self._waker = Waker()
        self._listener = Listener(host, 0, self._serve)
        try:
            told = address_to_tell(self._listener.host)
            self.address = Address(OBJECT, told, self._listener.port)
            self._listener.listen()
        except BaseException:
            self.close()
            raise
        self._listener.start()

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._waker.fileno()

    def _serve(self, connection: Connection) -> None:
        deadline = time.monotonic() + PROOF_SECONDS
        try:
            self._credentials.accept(
                connection.sock, self._listener.host, OBJECT, deadline, False, connection.adopt
            )
            connection.trust()
            # It sends nothing more before it is greeted, so no byte of it is lost here.
            message = from_frame(
                Stream(connection.sock, LARGEST).receive_one(deadline - time.monotonic())
            )
            if not isinstance(message, Attach):
                raise ProtocolError("the first message of a client must be Attach")
            if not hmac.compare_digest(message.token.encode(), self._token.encode()):
                raise ProtocolError("this process is leased to another client")
        except (OSError, EOFError, ProtocolError) as error:
            log.info("a connection is refused: %s", error)
            return
        with self._lock:
            if self.guest is None:
                self.guest = Guest(connection.take_over(), message.caller)
        self._waker.wake()

    def close(self) -> None:
        """Stop listening, and end all connections but the guest's."""
        self._listener.close()
        self._waker.close()

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
