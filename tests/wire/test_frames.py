"""The frame format: any cutting of the byte stream, and bytes that lie."""

from __future__ import annotations

import mmap
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.errors import ProtocolError
from seppo.wire.frames import HEADER, MAGIC, MAX_PARTS, SCRATCH, VERSION, FrameReader, encode

Message = tuple[int, list[bytes]]


def wire(messages: list[Message]) -> bytes:
    return b"".join(bytes(part) for kind, parts in messages for part in encode(kind, parts))


def feed(reader: FrameReader, data: bytes, most: int = 1 << 30) -> list[Message]:
    """Give a reader the bytes, at most ``most`` at a time; return the messages."""
    found: list[Message] = []
    at = 0
    while at < len(data):
        n = room = 0
        for buffer in reader.buffers():
            some = data[at + n : at + min(most, n + len(buffer))]
            buffer[: len(some)] = some
            n += len(some)
            room += len(buffer)
            if n >= most:
                break
        assert room > 0, "a reader without room would take the next bytes for the end"
        found += [(f.kind, [bytes(part) for part in f.parts]) for f in reader.received(n)]
        at += n
    return found


def head(kind: int, sizes: list[int], total: int | None = None, **changed: object) -> bytes:
    values = {"magic": MAGIC, "version": VERSION, "parts": len(sizes), **changed}
    return HEADER.pack(
        values["magic"], values["version"], kind, 0, values["parts"],
        sum(sizes) if total is None else total,
    ) + struct.pack(f"!{len(sizes)}Q", *sizes)  # fmt: skip


sizes = st.one_of(
    st.integers(0, 50),
    st.sampled_from([SCRATCH - 29, SCRATCH - 28, SCRATCH - 27, SCRATCH, SCRATCH + 1, 3 * SCRATCH]),
)
messages = st.lists(
    st.tuples(
        st.integers(0, 255),
        st.lists(st.builds(lambda n, b: bytes([b]) * n, sizes, st.integers(0, 255)), max_size=4),
    ),
    max_size=5,
)


@given(messages, st.lists(st.integers(1, 2 * SCRATCH), max_size=8))
def test_frames_come_out_however_the_stream_is_cut(sent, cuts):
    data = wire(sent)
    reader = FrameReader()
    got: list[Message] = []
    at = 0
    for cut in [*cuts, len(data)]:
        got += feed(reader, data[at : at + cut])
        at += cut
    got += feed(reader, data[at:])
    assert got == sent


def test_frames_come_out_byte_by_byte():
    sent = [(1, [b"", b"abc", b""]), (2, []), (3, [b"x" * 300])]
    assert feed(FrameReader(), wire(sent), most=1) == sent


def test_many_small_frames_come_out_of_one_read():
    sent = [(n % 256, [bytes([n % 256])]) for n in range(1000)]
    assert feed(FrameReader(), wire(sent)) == sent


def test_nothing_is_copied_when_encoding():
    big = bytearray(100_000)
    header, part = encode(7, [big])
    assert isinstance(part, memoryview)
    assert part.obj is big
    assert bytes(header[:4]) == MAGIC


def test_parts_of_any_element_type_and_shape_are_sent_as_bytes():
    numpy = pytest.importorskip("numpy")
    block = numpy.arange(12, dtype="f8").reshape(3, 4)
    assert feed(FrameReader(), wire([(1, [block.data])])) == [(1, [block.tobytes()])]


@pytest.mark.parametrize("size", [10, 10 * SCRATCH])
def test_parts_are_writable_memory_of_their_own(size):
    reader = FrameReader()
    frames = []
    data = b"".join(encode(1, [b"a" * size, b"b" * size]))
    at = 0
    while not frames:
        n = 0
        for buffer in reader.buffers():
            some = data[at + n : at + n + len(buffer)]
            buffer[: len(some)] = some
            n += len(some)
        frames = reader.received(n)
        at += n
    first, second = frames[0].parts
    first[:] = b"z" * size
    assert bytes(second) == b"b" * size
    feed(reader, data)  # the next frame goes elsewhere
    assert bytes(first) == b"z" * size
    assert bytes(second) == b"b" * size


def test_a_large_frame_is_received_where_it_stays():
    reader = FrameReader()
    data = b"".join(encode(1, [b"a" * (4 * SCRATCH)]))
    first = reader.buffers()[0]
    first[:] = data[: len(first)]
    assert reader.received(len(first)) == []
    (rest,) = reader.buffers()
    rest[:] = data[len(first) :]
    (frame,) = reader.received(len(rest))
    assert frame.parts[0].obj is rest.obj


def test_a_frame_of_very_many_parts_comes_through():
    sent = [(1, [b"%d" % n for n in range(20_000)]), (2, [b"after"])]
    assert feed(FrameReader(), wire(sent)) == sent
    assert feed(FrameReader(), wire(sent), most=10_000) == sent


@pytest.mark.parametrize(
    "data",
    [
        head(1, [1 << 40]),
        head(1, [1 << 63, 1 << 63], 0),
        head(1, [(1 << 64) - 1], (1 << 64) - 1),
        head(1, [], 0, parts=MAX_PARTS + 1),
        head(1, [], 0, parts=(1 << 32) - 1),
        head(1, [5, 5], 11),
    ],
    ids=["huge", "sum overflows", "largest", "many parts", "most parts", "do not add up"],
)
def test_sizes_that_lie_or_are_too_large_are_refused_before_memory_is_taken(data):
    with pytest.raises(ProtocolError):
        feed(FrameReader(), data)


def test_a_frame_over_the_limit_is_refused_and_one_at_the_limit_is_not():
    assert feed(FrameReader(max_bytes=10), wire([(1, [b"x" * 10])])) == [(1, [b"x" * 10])]
    with pytest.raises(ProtocolError, match="too large"):
        feed(FrameReader(max_bytes=9), wire([(1, [b"x" * 10])]))


def test_a_frame_that_finds_no_memory_is_a_protocol_error():
    with pytest.raises(ProtocolError, match="memory"):
        feed(FrameReader(max_bytes=1 << 62), head(1, [1 << 61]))


def test_strangers_are_told_apart_from_other_versions():
    with pytest.raises(ProtocolError, match="not a seppo frame"):
        feed(FrameReader(), b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    with pytest.raises(ProtocolError, match="install the same seppo"):
        feed(FrameReader(), head(1, [], version=VERSION + 1))


@given(messages, st.data())
def test_mutated_bytes_raise_nothing_but_protocol_errors(sent, data):
    raw = bytearray(wire([(kind, [part[:2000] for part in parts]) for kind, parts in sent]))
    for _ in range(data.draw(st.integers(1, 4))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        feed(FrameReader(max_bytes=1 << 22), bytes(raw))
    except ProtocolError:
        pass


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_protocol_errors(raw):
    try:
        feed(FrameReader(max_bytes=1 << 22), raw)
    except ProtocolError:
        pass


def test_a_frame_of_more_than_four_gigabytes_is_read():
    """Its memory is promised by the system, and never touched."""
    size = (4 << 30) + 12345
    given = []

    def allocate(kind, sizes):
        given.extend(sizes)
        return [memoryview(mmap.mmap(-1, size)) if size else memoryview(b"") for size in sizes]

    reader = FrameReader(allocate=allocate)
    header = HEADER.pack(MAGIC, VERSION, 7, 0, 1, size) + struct.pack("!Q", size)
    reader.buffers()[0][: len(header)] = header
    assert reader.received(len(header)) == []
    assert given == [size]
    left = size
    while left:
        n = min(left, 1 << 30, len(reader.buffers()[0]))
        left -= n
        frames = reader.received(n)
    (frame,) = frames
    assert (frame.kind, len(frame.parts[0])) == (7, size)
