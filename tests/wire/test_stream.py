"""Frames over a socket: partial sends, big frames both ways, ends and resets."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time

import pytest

from seppo.errors import ProtocolError
from seppo.wire.frames import Frame
from seppo.wire.stream import Stream, Waker

MIB = 1 << 20


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    streams = Stream(left), Stream(right)
    yield streams
    for stream in streams:
        stream.close()


@pytest.fixture
def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right = server.accept()[0]
    streams = Stream(left), Stream(right)
    yield streams
    for stream in streams:
        stream.close()


def exchange(streams: tuple[Stream, Stream], counts: tuple[int, int]) -> list[list[Frame]]:
    """Let two streams send and receive, in this one thread, until each has its frames."""
    got: list[list[Frame]] = [[], []]
    deadline = time.monotonic() + 30
    with selectors.DefaultSelector() as selector:
        for number, stream in enumerate(streams):
            selector.register(stream, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
        while any(len(got[i]) < counts[i] for i in (0, 1)):
            assert time.monotonic() < deadline, "a deadlock"
            for key, events in selector.select(1):
                if events & selectors.EVENT_READ:
                    got[key.data] += streams[key.data].receive()
                if events & selectors.EVENT_WRITE:
                    streams[key.data].flush()
    return got


def receive_all(stream: Stream, count: int) -> list[Frame]:
    frames: list[Frame] = []
    deadline = time.monotonic() + 20
    while len(frames) < count:
        assert time.monotonic() < deadline
        frames += stream.receive()
    return frames


def test_a_frame_arrives(pair):
    left, right = pair
    left.send(3, [b"head", bytearray(b"body"), memoryview(b"tail")])
    (frame,) = right.receive()
    assert frame.kind == 3
    assert [bytes(part) for part in frame.parts] == [b"head", b"body", b"tail"]
    assert left.unsent == 0


def test_only_what_a_lender_lent_is_copied_and_once(pair):
    left, right = pair
    mine, others = bytearray(b"m" * 4 * MIB), bytearray(b"o" * 4 * MIB)
    left.send(1, [others], lender=1)  # more than the socket holds
    left.send(2, [bytes(9), mine], lender=2)
    left.send(3, [b"nobody's"], lender=2)
    before = list(left._out)
    left.own_unsent({2, 3})
    copied = [new is not old for (new, _), (old, _) in zip(left._out, before, strict=True)]
    assert copied.count(True) == 1  # neither another's memory, nor what cannot change
    after = list(left._out)
    left.own_unsent({2, 3})
    assert all(new is old for (new, _), (old, _) in zip(left._out, after, strict=True))
    mine[:] = bytes(len(mine))
    first, second, third = exchange((left, right), (0, 3))[1]
    assert first.parts[0] == others
    assert second.parts[1] == b"m" * 4 * MIB
    assert third.parts[0] == b"nobody's"


def test_nothing_is_there_yet(pair):
    assert pair[0].receive() == []


def test_frames_arrive_in_order(pair):
    for number in range(200):
        pair[0].send(number, [b"%d" % number])
    assert [frame.kind for frame in receive_all(pair[1], 200)] == list(range(200))


def test_what_cannot_be_sent_now_is_kept_and_sent_later(pair):
    left, right = pair
    body = os.urandom(30 * MIB)
    left.send(1, [body])
    assert left.unsent > 0
    left.send(2, [b"after"])
    _, (first, second) = exchange(pair, (0, 2))
    assert bytes(first.parts[0]) == body
    assert bytes(second.parts[0]) == b"after"
    assert left.unsent == 0
    assert right.unsent == 0


def test_frames_of_50_mb_both_ways_at_once_do_not_deadlock(tcp_pair):
    bodies = [bytes([i]) * (50 * MIB) for i in (1, 2)]
    for stream, body in zip(tcp_pair, bodies, strict=True):
        stream.send(1, [body])
        stream.send(2, [b"end"])
    got = exchange(tcp_pair, (2, 2))
    assert got[0][0].parts[0] == bodies[1]
    assert got[1][0].parts[0] == bodies[0]


def test_very_many_parts_arrive(pair):
    pair[0].send(1, [b"%d" % i for i in range(30_000)])
    _, (frame,) = exchange(pair, (0, 1))
    assert [bytes(part) for part in frame.parts[::9999]] == [b"0", b"9999", b"19998", b"29997"]


def test_what_was_sent_before_the_end_is_returned_before_the_end(pair):
    left, right = pair
    left.send(1, [b"last words"])
    left.close()
    (frame,) = right.receive()
    assert bytes(frame.parts[0]) == b"last words"
    for _ in range(2):
        with pytest.raises(EOFError):
            right.receive()


def test_an_end_in_the_middle_of_a_frame_is_an_end(pair):
    left, right = pair
    left.sock.send(b"SEPP")
    left.close()
    with pytest.raises(EOFError):
        receive_all(right, 1)


def test_a_reset_is_an_error_and_not_an_end(tcp_pair):
    left, right = tcp_pair
    left.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left.sock.close()  # sends RST
    with pytest.raises(OSError):  # noqa: PT011
        receive_all(right, 1)


def test_sending_to_one_who_left_is_an_error(pair):
    left, right = pair
    right.close()
    with pytest.raises(OSError):  # noqa: PT011
        left.send(1, [b"x" * MIB])


def test_junk_is_a_protocol_error(pair):
    left, right = pair
    left.sock.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ProtocolError):
        right.receive()


def test_the_limit_of_frames_holds():
    left, right = socket.socketpair()
    sender, receiver = Stream(left), Stream(right, max_bytes=100)
    try:
        sender.send(1, [bytes(101)])
        with pytest.raises(ProtocolError):
            receiver.receive()
    finally:
        sender.close()
        receiver.close()


def test_one_receive_leaves_others_their_turn(tcp_pair):
    left, right = tcp_pair
    left.send(1, [bytes(64 * MIB)])
    before = left.unsent
    assert right.receive() == []  # returned, though more will come
    left.flush()
    assert 0 < left.unsent <= before


def test_the_greeting_can_be_waited_for(pair):
    left, right = pair
    timer = threading.Timer(0.05, left.send, (5, [b"welcome"]))
    timer.start()
    frame = right.receive_one(20)
    timer.join(10)
    assert bytes(frame.parts[0]) == b"welcome"


def test_a_greeting_that_does_not_come_is_a_timeout(pair):
    with pytest.raises(TimeoutError, match="greeting"):
        pair[0].receive_one(0.05)


def test_a_peer_that_leaves_without_greeting_is_an_end(pair):
    pair[0].close()
    with pytest.raises(EOFError):
        pair[1].receive_one(20)


def test_closing_twice_is_no_harm(pair):
    pair[0].close()
    pair[0].close()


# --- waker


@pytest.fixture
def waker():
    waker = Waker()
    yield waker
    waker.close()


def is_awake(waker: Waker) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(waker, selectors.EVENT_READ)
        return bool(selector.select(0))


def test_waking_makes_it_readable_and_draining_unreadable(waker):
    assert not is_awake(waker)
    waker.wake()
    waker.wake()
    assert is_awake(waker)
    waker.drain()
    assert not is_awake(waker)
    waker.drain()


def test_waking_very_often_never_blocks(waker):
    for _ in range(100_000):
        waker.wake()
    waker.drain()
    assert not is_awake(waker)


def test_a_thread_wakes_a_selector(waker):
    with selectors.DefaultSelector() as selector:
        selector.register(waker, selectors.EVENT_READ)
        timer = threading.Timer(0.02, waker.wake)
        timer.start()
        assert selector.select(20)
        timer.join(10)


def test_waking_what_is_closed_is_no_harm():
    waker = Waker()
    waker.close()
    waker.wake()
    waker.drain()


def test_the_descriptor_for_signals_wakes(waker):
    os.write(waker.signal_fd, b"\x11")
    assert is_awake(waker)
