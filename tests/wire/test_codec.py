"""The messages: there and back, and bytes that lie."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.errors import ProtocolError
from seppo.values.batch import EACH, WHOLE
from seppo.wire.codec import LONGEST_TEXT, from_frame, to_parts
from seppo.wire.frames import Frame, FrameReader, encode
from seppo.wire.messages import (
    Attach,
    Cancel,
    Chunk,
    Differs,
    Draining,
    File,
    Function,
    FunctionAt,
    Hello,
    Kill,
    Leased,
    LeftBehind,
    Message,
    NeedFiles,
    NeedFunction,
    Ping,
    Pong,
    Recall,
    Results,
    Returned,
    Stored,
    Waiting,
    Want,
    Welcome,
    WorkerEnded,
)
from seppo.wire.packed import Batch, Packed

DIGEST = bytes(range(32))
number = st.integers(0, (1 << 64) - 1)
parts = st.lists(st.binary(max_size=20), max_size=4).map(tuple)
batches = st.builds(Batch, st.sampled_from([WHOLE, EACH]), number, parts)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    count = draw(number)
    columns = draw(
        st.lists(st.builds(Batch, st.integers(0, 255), st.just(count), parts), min_size=1)
    )
    digest = draw(st.binary(min_size=32, max_size=32))
    return Chunk(
        draw(number), draw(number), draw(number), count, digest, tuple(columns),
        draw(st.floats(0, 1e9)), draw(st.booleans()),
    )  # fmt: skip


functions = st.builds(
    lambda digest, data, buffers, manifest: Function(digest, Packed(data, buffers), manifest),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=20),
    parts,
    st.binary(max_size=20),
)
messages = st.one_of(
    chunks(),
    functions,
    st.builds(Recall, number),
    st.builds(Cancel, number),
    st.builds(Welcome, st.dictionaries(st.text(), st.one_of(st.integers(), st.text()))),
    st.builds(Results, number, st.floats(0, 1e9), batches),
    st.builds(Returned, number, number),
    st.builds(NeedFunction, number, st.just(DIGEST)),
    st.builds(NeedFiles, st.just(DIGEST), st.lists(st.just(DIGEST)).map(tuple)),
    st.builds(File, st.just(DIGEST), st.binary(max_size=20), st.text()),
    st.builds(LeftBehind, st.lists(st.text(max_size=50), max_size=4)),
    st.builds(Differs, st.just(DIGEST), st.dictionaries(st.text(), st.text())),
    st.builds(Ping),
    st.builds(Pong),
    st.builds(Stored, st.just(DIGEST), st.text()),
    st.builds(FunctionAt, st.just(DIGEST), st.text()),
    st.builds(Attach, st.text(), st.dictionaries(st.text(), st.text())),
    st.builds(Hello, st.text()),
    st.builds(Want, number, number),
    st.builds(Leased, number, st.text(), st.text(), st.text()),
    st.builds(Waiting, st.text()),
    st.builds(Kill, st.text(), number, st.booleans()),
    st.builds(WorkerEnded, st.text(), st.text(), number, number, number, st.booleans()),
    st.builds(Draining),
)


def frame_of(message: Message) -> Frame:
    """Send a message through a frame reader, as over a socket."""
    data = b"".join(map(bytes, encode(*to_parts(message))))
    reader = FrameReader()
    reader.buffers()[0][: len(data)] = data
    (frame,) = reader.received(len(data))
    return frame


@given(messages)
def test_every_message_comes_back_equal(message):
    assert from_frame(frame_of(message)) == message


@given(messages, st.data())
def test_mutated_frames_raise_nothing_but_protocol_errors(message, data):
    frame = frame_of(message)
    kind = data.draw(st.one_of(st.just(frame.kind), st.integers(0, 255)))
    raw = [bytearray(part) for part in frame.parts]
    for _ in range(data.draw(st.integers(0, 3))):
        target = data.draw(st.sampled_from(raw)) if raw else bytearray()
        if target:
            target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 255))
    if raw and data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(raw) - 1))
        raw[cut] = raw[cut][: data.draw(st.integers(0, len(raw[cut])))]
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        from_frame(Frame(kind, tuple(map(memoryview, raw))))
    except ProtocolError:
        pass


@given(st.integers(0, 255), st.lists(st.binary(max_size=100), max_size=4))
def test_random_frames_raise_nothing_but_protocol_errors(kind, raw):
    try:
        from_frame(Frame(kind, tuple(map(memoryview, raw))))
    except ProtocolError:
        pass


def lying(message: Message, change: object) -> Frame:
    frame = frame_of(message)
    return Frame(frame.kind, tuple(change(list(frame.parts))))  # type: ignore[operator]


CHUNK = Chunk(1, 2, 3, 2, DIGEST, (Batch(WHOLE, 2, (b"ab",)), Batch(WHOLE, 2, (b"cd",))))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0, ()),
        Frame(99, (memoryview(b""),)),
        lying(CHUNK, lambda parts: parts[:-1]),
        lying(CHUNK, lambda parts: [*parts, memoryview(b"more")]),
        lying(CHUNK, lambda parts: [parts[0][:-1], *parts[1:]]),
        lying(Chunk(1, 2, 3, 2, DIGEST, (Batch(WHOLE, 9, (b"",)),)), list),
        lying(Chunk(1, 2, 3, 0, DIGEST, ()), list),
        lying(Function(DIGEST[:5], Packed(b"")), list),
        lying(Function(DIGEST, Packed(b"")), lambda parts: parts[:1]),
        lying(NeedFiles(DIGEST, (DIGEST[:5],)), list),
        lying(Differs(DIGEST, {}), lambda parts: [*parts, memoryview(b"[1]")]),
        lying(Recall(1), lambda parts: [parts[0][:7]]),
        lying(Returned(1, 2), lambda parts: [memoryview(bytes(17))]),
        lying(Want(1, -1), list),
        lying(Want(1, 1 << 64), list),
        lying(Want(1, True), list),
        lying(Want(1, 1.0), list),
        lying(Hello(7), list),
        lying(Hello("x" * (LONGEST_TEXT + 1)), list),
        lying(Leased(1, "w", "a", "t"), lambda parts: [memoryview(b'{"world": 1}')]),
        lying(Kill("w", 1, 1), list),
        lying(File(DIGEST, b""), lambda parts: parts[:1]),
        lying(NeedFunction(1, DIGEST + b"x"), list),
        lying(Welcome({}), lambda parts: [memoryview(b"[1]")]),
        lying(Welcome({}), lambda parts: [memoryview(b"{")]),
        lying(Welcome({}), lambda parts: [memoryview(b"\xff\xfe\xff")]),
        lying(Welcome({}), lambda parts: [memoryview(b"[" * 100_000)]),
    ],
    ids=range(27),
)
def test_frames_that_lie_are_refused(frame):
    with pytest.raises(ProtocolError):
        from_frame(frame)


def test_the_welcome_is_plain_json():
    _, (body,) = to_parts(Welcome({"pid": 1, "name": "w"}))
    assert json.loads(bytes(body)) == {"info": {"pid": 1, "name": "w"}}


def test_buffers_are_not_copied_into_the_message():
    big = bytearray(1 << 20)
    _, buffers = to_parts(Results(1, 0.5, Batch(WHOLE, 1, (b"pickle", big))))
    assert buffers[-1] is big
