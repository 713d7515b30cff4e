"""Transfers over loopback to processes of their own: raw sockets, and seppo's streams.

The receivers are ``python -m benchmarks.loopback KIND PORT``. They stay connected
between transfers; the sender says how much will come, and the receiver answers with one
byte when it has it all.
"""

from __future__ import annotations

import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seppo.wire.stream import Stream

HEAD = struct.Struct("!QQ")  # bytes to come, bytes of one block
KEEP = 0  # instead of a block size: receive all into memory of its own
UNSENT = 4 << 20  # bytes queued in a Stream before the sender waits; a few frames
TIMEOUT = 60.0  # seconds for any one step


class Receivers:
    """Processes that receive.

    Args:
        kind: ``"raw"`` or ``"stream"``.
        count: How many.
    """

    def __init__(self, kind: str, count: int) -> None:
        self.sockets: list[socket.socket] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(TIMEOUT)
            port = str(listener.getsockname()[1])
            for _ in range(count):
                command = [sys.executable, "-m", "benchmarks.loopback", kind, port]
                self._processes.append(subprocess.Popen(command))
                connection, _ = listener.accept()
                connection.settimeout(TIMEOUT)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sockets.append(connection)

    def close(self) -> None:
        """Close the connections, at which the receivers end."""
        for connection in self.sockets:
            connection.close()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def send_copies(sockets: list[socket.socket], data: memoryview) -> float:
    """Return the seconds until every receiver has the data, in memory of its own."""
    start = time.perf_counter()
    threads = [threading.Thread(target=_send_one, args=(s, data)) for s in sockets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _send_one(connection: socket.socket, data: memoryview) -> None:
    connection.sendall(HEAD.pack(len(data), KEEP))
    connection.sendall(data)
    _wait_for_answer(connection)


def send_blocks(connection: socket.socket, block: bytes, count: int) -> float:
    """Return the seconds for so many blocks through a raw socket."""
    start = time.perf_counter()
    connection.sendall(HEAD.pack(len(block) * count, len(block)))
    for _ in range(count):
        connection.sendall(block)
    _wait_for_answer(connection)
    return time.perf_counter() - start


def _wait_for_answer(connection: socket.socket) -> None:
    if connection.recv(1) != b"+":
        raise RuntimeError("the receiver did not get what was sent")


def send_frames(stream: Stream, block: bytes, count: int) -> float:
    """Return the seconds for so many frames of one block through a seppo ``Stream``."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream.sock, selectors.EVENT_WRITE)
        start = time.perf_counter()
        stream.send(1, [HEAD.pack(len(block) * count, len(block))])
        for _ in range(count):
            stream.send(1, [block])
            while stream.unsent > UNSENT:
                _wait(selector)
                stream.flush()
        while stream.unsent:
            _wait(selector)
            stream.flush()
        answer = stream.receive_one(TIMEOUT)
        seconds = time.perf_counter() - start
    if bytes(answer.parts[0]) != b"+":
        raise RuntimeError("the receiver did not get what was sent")
    return seconds


def _wait(selector: selectors.BaseSelector) -> Any:
    ready = selector.select(TIMEOUT)
    if not ready:
        raise TimeoutError("the stream has been stuck for a minute")
    return ready


# --- the receiving process


def receive_raw(connection: socket.socket) -> None:
    """Serve transfers until the sender hangs up."""
    while len(head := connection.recv(HEAD.size, socket.MSG_WAITALL)) == HEAD.size:
        total, block = HEAD.unpack(head)
        buffer = memoryview(bytearray(block or total))
        got = at = 0
        while got < total:
            n = connection.recv_into(buffer[at:])
            if n == 0:
                return
            got += n
            at = (at + n) % len(buffer)
        connection.sendall(b"+")


def receive_frames(connection: socket.socket) -> None:
    """Serve transfers of frames until the sender hangs up."""
    from seppo.wire.stream import Stream

    stream = Stream(connection)
    expected = 0
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            selector.select()
            try:
                frames = stream.receive()
            except EOFError:
                return
            for frame in frames:
                part = frame.parts[0]
                if not expected:
                    expected, block = HEAD.unpack(part)
                    continue
                if len(part) != block:
                    raise RuntimeError("a frame has the wrong size")
                expected -= len(part)
                if not expected:
                    stream.send(1, [b"+"])


def main() -> None:
    """Connect back and receive."""
    kind, port = sys.argv[1:]
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        (receive_raw if kind == "raw" else receive_frames)(connection)


if __name__ == "__main__":
    main()
