"""One connected peer: messages in and out, watched by a selector."""

from __future__ import annotations

import selectors
from collections.abc import Iterator

from seppo.wire.codec import from_frame, to_parts
from seppo.wire.messages import Message
from seppo.wire.stream import Stream


class Peer:
    """A stream of messages, registered with a selector for as long as it is open.

    It is watched for reading always, and for writing while something is unsent. One thread
    uses it, the one that selects.

    Args:
        stream: The connection.
        selector: Where it is watched.
        owner: What the selector returns as the key's data.
    """

    def __init__(self, stream: Stream, selector: selectors.BaseSelector, owner: object) -> None:
        self.stream = stream
        self._selector = selector
        self._owner = owner
        self._is_writing = False
        selector.register(stream, selectors.EVENT_READ, owner)

    @property
    def unsent(self) -> int:
        """Bytes that are queued."""
        return self.stream.unsent

    def send(self, message: Message, lender: int | bytes | None = None) -> None:
        """Queue a message and send what can be sent now.

        Args:
            message: The message.
            lender: Whose memory it may consist of, for ``Stream.own_unsent``.

        Raises:
            OSError: If the connection is broken.
        """
        self.stream.send(*to_parts(message), lender=lender)
        self._watch()

    def flush(self) -> None:
        """Send what can be sent now; for when the selector says that something can be.

        Raises:
            OSError: If the connection is broken.
        """
        self.stream.flush()
        self._watch()

    def receive(self) -> Iterator[Message]:
        """Return the messages that have come, without waiting.

        Raises:
            EOFError: If the peer has closed the connection and all it sent was returned.
            OSError: If the connection is broken.
            ProtocolError: If what came is no message.
        """
        return map(from_frame, self.stream.receive())

    def _watch(self) -> None:
        if (self.stream.unsent > 0) != self._is_writing:
            self._is_writing = not self._is_writing
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._is_writing else 0)
            self._selector.modify(self.stream, events, self._owner)

    def close(self) -> None:
        """Close the connection; what was not sent is lost."""
        self._selector.unregister(self.stream)
        self.stream.close()

    def abandon(self) -> None:
        """Close our copy of the socket: this is a forked child."""
        self.stream.sock.close()
