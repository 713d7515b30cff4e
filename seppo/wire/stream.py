"""A connected socket that carries frames, both ways, without blocking.

Only the kernel copies between an object's buffer and the socket. The user of a stream
receives before it sends, and never waits for a send: two ends that both wait in ``send``
would wait for ever.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Container, Hashable, Sequence
from itertools import islice

from seppo.wire.frames import MAX_FRAME, Allocate, Frame, FrameReader, encode
from seppo.wire.packed import Buffer

BUFFERS_AT_ONCE = 64  # for one sendmsg or recvmsg_into; the kernel allows 1024
RECEIVE_AT_ONCE = 16 << 20  # bytes; then others have their turn
SOCKET_BUFFER = 2 << 20  # bytes; large sends then need fewer turns

# A TLS socket without data raises its own errors, which are OSErrors like these.
_NOT_NOW = ("SSLWantReadError", "SSLWantWriteError")


class Stream:
    """Frames over a socket.

    Not safe for two threads at once: the owner has a lock where it needs one.

    Args:
        sock: A connected socket, plain or TLS; it is made non-blocking.
        max_bytes: The largest frame that is accepted.
        allocate: Gives memory for large frames; None for the reader's own way.
    """

    def __init__(
        self,
        sock: socket.socket,
        max_bytes: int = MAX_FRAME,
        allocate: Allocate | None = None,
    ) -> None:
        self.sock = sock
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        self._plain = not hasattr(sock, "getpeercert")
        self._reader = FrameReader(max_bytes, allocate)
        # What is queued, and whose memory it is: None for what nobody else can change.
        self._out: deque[tuple[memoryview, Hashable]] = deque()
        self.unsent = 0  # bytes queued
        self._peer_left = False

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self.sock.fileno()

    def send(self, kind: int, parts: Sequence[Buffer], lender: Hashable = None) -> None:
        """Queue a frame and send what can be sent now.

        Args:
            kind: The frame's kind.
            parts: Its parts.
            lender: Whose memory the parts are in, for ``own_unsent``.

        Raises:
            OSError: If the connection is broken.
        """
        for buffer in encode(kind, parts):
            view = memoryview(buffer)
            self._out.append((view, None if type(view.obj) is bytes else lender))
            self.unsent += len(buffer)
        self.flush()

    def own_unsent(self, lenders: Container[Hashable]) -> None:
        """Copy what is queued and was lent by these, who may change it from now on."""
        self._out = deque(
            (memoryview(bytes(view)), None)
            if lender is not None and lender in lenders
            else (view, lender)
            for view, lender in self._out
        )

    def flush(self) -> None:
        """Send what can be sent now.

        Raises:
            OSError: If the connection is broken.
        """
        while self._out:
            try:
                if self._plain:
                    some = [view for view, _ in islice(self._out, BUFFERS_AT_ONCE)]
                    sent = self.sock.sendmsg(some)
                else:
                    sent = self.sock.send(self._out[0][0])
            except OSError as error:
                if _is_not_now(error):
                    return
                raise
            self.unsent -= sent
            while sent:
                first, lender = self._out[0]
                if sent < len(first):
                    self._out[0] = first[sent:], lender
                    break
                sent -= len(first)
                self._out.popleft()

    def receive(self) -> list[Frame]:
        """Return the frames that have come, without waiting.

        Raises:
            EOFError: If the peer has closed the connection and all it sent was returned.
            OSError: If the connection is broken.
            ProtocolError: If what came is not frames.
        """
        if self._peer_left:
            raise EOFError("the peer closed the connection")
        frames: list[Frame] = []
        got = 0
        # What lies inside a TLS object wakes no selector: it must be taken now.
        while got < RECEIVE_AT_ONCE or (not self._plain and self.sock.pending()):  # type: ignore[attr-defined]
            buffers = self._reader.buffers()[:BUFFERS_AT_ONCE]
            room = sum(map(len, buffers))
            try:
                if self._plain:
                    n = self.sock.recvmsg_into(buffers)[0]
                else:
                    n = self.sock.recv_into(buffers[0])
            except OSError as error:
                if _is_not_now(error):
                    break
                if not frames:
                    raise
                self._peer_left = True
                break
            if n == 0:
                self._peer_left = True
                if not frames:
                    raise EOFError("the peer closed the connection")
                break
            got += n
            frames.extend(self._reader.received(n))
            if self._plain and n < room:
                break  # drained; saves the call that would say so
        return frames

    def receive_one(self, timeout: float) -> Frame:
        """Wait for one frame; for the greeting, before a selector takes over.

        Raises:
            TimeoutError: If none came in time.
            EOFError, OSError, ProtocolError: As ``receive``.
        """
        deadline = time.monotonic() + timeout
        while True:
            frames = self.receive()
            if frames:
                return frames[0]
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no greeting within {timeout} s")
            with selectors.DefaultSelector() as selector:
                selector.register(self.sock, selectors.EVENT_READ)
                selector.select(left)

    def close(self) -> None:
        """Close the socket; what was not sent is lost."""
        self._out.clear()
        self.unsent = 0
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was not connected any more
        self.sock.close()


def _is_not_now(error: OSError) -> bool:
    return isinstance(error, BlockingIOError) or type(error).__name__ in _NOT_NOW


class Waker:
    """Wakes a selector from another thread or from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reader.fileno()

    @property
    def signal_fd(self) -> int:
        """The descriptor for ``signal.set_wakeup_fd``."""
        return self._writer.fileno()

    def wake(self) -> None:
        """Make the descriptor readable."""
        try:
            self._writer.send(b"\0")
        except OSError:
            pass  # full means awake already; closed means nobody waits any more

    def drain(self) -> None:
        """Make the descriptor unreadable again."""
        try:
            while len(self._reader.recv(4096)) == 4096:
                pass
        except OSError:
            pass  # empty

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()
