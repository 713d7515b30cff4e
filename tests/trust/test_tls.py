"""Frames over TLS: the same stream, a socket that knows no sendmsg."""

import selectors
import socket
import ssl
import threading
import time

import pytest
import trustme

from seppo.wire.stream import Stream


@pytest.fixture(scope="module")
def contexts():
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def streams(contexts):
    server, client = contexts
    ours, theirs = socket.socketpair()
    wrapped = []
    thread = threading.Thread(
        target=lambda: wrapped.append(server.wrap_socket(theirs, server_side=True))
    )
    thread.start()
    a = Stream(client.wrap_socket(ours, server_hostname="127.0.0.1"))
    thread.join()
    b = Stream(wrapped[0])
    yield a, b
    a.close()
    b.close()


def exchange(streams, n_frames):
    """Send and receive on both ends, in one thread, until both have got all frames."""
    got = {stream: [] for stream in streams}
    deadline = time.monotonic() + 30
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while any(len(frames) < n_frames for frames in got.values()):
            assert time.monotonic() < deadline
            selector.select(1.0)
            for stream in streams:
                got[stream] += stream.receive()
                stream.flush()
    return got


def test_small_and_large_frames_travel_both_ways(streams):
    large = bytes(range(256)) * (1 << 15)  # 8 MiB
    for stream in streams:
        stream.send(1, [b"small"])
        stream.send(2, [b"head", large, b""])
        stream.send(3, [])
    for frames in exchange(streams, 3).values():
        assert [frame.kind for frame in frames] == [1, 2, 3]
        assert bytes(frames[0].parts[0]) == b"small"
        assert [bytes(part) for part in frames[1].parts] == [b"head", large, b""]


def test_the_end_of_a_tls_connection_is_noticed(streams):
    a, b = streams
    a.send(1, [b"last"])
    assert len(exchange_one_way(b)) == 1
    a.close()
    with pytest.raises((EOFError, OSError)):
        exchange_one_way(b)


def exchange_one_way(stream):
    deadline = time.monotonic() + 30
    while not (frames := stream.receive()):
        assert time.monotonic() < deadline
    return frames
