"""Whatever bytes come: nothing but the documented errors comes out."""

import secrets

import pytest
from attack import MORE_KINDS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from Pyro5 import errors

from seppo.errors import ProtocolError, SecurityError
from seppo.pyro.bounds import OURS, PYROS, check_head, check_plain
from seppo.trust import proof
from seppo.trust.keyfile import Key
from seppo.trust.proof import ClientProof, ProofContext, ServerProof
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address
from seppo.wire.codec import from_frame
from seppo.wire.frames import HEADER, MAGIC, VERSION, FrameReader, encode

KEY = Key(secrets.token_bytes(32), "here")
CHANNEL = ProofContext("seppo.worker", b"tcp")


def mutated(seed):
    """Return a strategy for bytes like ``seed``, changed in a few places."""

    def change(changes):
        data = bytearray(seed)
        for at, value in changes:
            data[at % len(data)] = value
        return bytes(data)

    return st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=5).map(change)


FRAMES = b"".join(map(bytes, encode(1, [b"abc", b""]) + encode(7, [bytes(300)])))


def feed(reader, data, step):
    """Have a reader read all, in pieces; return its frames."""
    frames = []
    while data:
        room = reader.buffers()[0]
        n = min(len(room), step, len(data))
        room[:n] = data[:n]
        data = data[n:]
        frames += reader.received(n)
    return frames


@given(
    st.one_of(st.binary(max_size=400), st.binary(max_size=100).map(MAGIC.__add__), mutated(FRAMES)),
    st.integers(1, 1000),
)
@example(HEADER.pack(MAGIC, VERSION, 1, 0, 1, 1 << 63), 1000)
@example(HEADER.pack(MAGIC, VERSION, 1, 0, 2, 4) + (1 << 63).to_bytes(8, "big") * 2, 1000)
def test_frames(data, step):
    reader = FrameReader(max_bytes=1 << 20)
    try:
        frames = feed(reader, data, step)
    except ProtocolError:
        return
    for frame in frames:
        assert sum(map(len, frame.parts)) <= len(data)
        try:
            from_frame(frame)
        except ProtocolError:
            pass


@given(st.sampled_from(MORE_KINDS), st.lists(st.binary(max_size=60), max_size=4))
def test_messages_of_the_data_channel(kind, parts):
    data = b"".join(map(bytes, encode(kind, parts)))
    (frame,) = feed(FrameReader(), data, 1 << 16)
    try:
        from_frame(frame)
    except ProtocolError:
        pass


@settings(max_examples=300)
@given(st.data())
def test_replies_of_servers(data):
    client = ClientProof(KEY, CHANNEL, bytes(32))
    genuine = ServerProof(KEY, CHANNEL, bytes(range(32))).reply(client.hello())
    reply = data.draw(
        st.one_of(
            st.binary(min_size=client.reply_size, max_size=client.reply_size), mutated(genuine)
        )
    )
    try:
        client.answer(reply)
    except SecurityError:
        assert reply[:8] == proof.MAGIC
    except ConnectionError:
        assert reply[:8] != proof.MAGIC
    else:
        assert reply == genuine


@settings(max_examples=300)
@given(st.data())
def test_hellos_and_answers_of_clients(data):
    client = ClientProof(KEY, CHANNEL, bytes(32))
    size = ServerProof.hello_size
    hello = data.draw(st.one_of(st.binary(min_size=size, max_size=size), mutated(client.hello())))
    server = ServerProof(KEY, CHANNEL)
    try:
        reply = server.reply(hello)
    except SecurityError:
        assert hello[:8] != proof.MAGIC
        return
    try:
        answer = client.answer(reply)
        assert hello == client.hello()
    except SecurityError:
        answer = data.draw(st.binary(min_size=32, max_size=32))
    answer = data.draw(st.one_of(st.just(answer), mutated(answer), st.just(reply[-32:])))
    try:
        server.check(answer)
    except SecurityError:
        return
    assert hello == client.hello()
    assert answer == client.answer(reply)


def test_an_answer_without_a_hello_is_refused():
    for answer in (b"", bytes(32)):
        with pytest.raises(SecurityError):
            ServerProof(KEY, CHANNEL).check(answer)


def test_versions_are_part_of_the_proof():
    client = ClientProof(KEY, CHANNEL, bytes(32))
    hello = bytearray(client.hello())
    hello[9] ^= 1  # somebody in between says that the client is older
    reply = ServerProof(KEY, CHANNEL).reply(bytes(hello))
    with pytest.raises(SecurityError):
        client.answer(reply)
    assert client.hello()[8:10] == PROTOCOL_VERSION.to_bytes(2, "big")


PYRO_HEAD = b"PYRO" + (502).to_bytes(2, "big") + bytes([4, 3]) + bytes(30) + b"\x4d\xc5"


@given(st.one_of(st.binary(min_size=40, max_size=40), mutated(PYRO_HEAD)), st.integers(0, 1 << 20))
def test_heads_of_pyro_messages(head, largest):
    for accepted in (OURS, PYROS):
        try:
            size = check_head(head, largest, accepted)
        except errors.ProtocolError:
            continue
        assert 0 <= size <= largest
        assert head[:4] == b"PYRO"
        assert head[7] in accepted


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.one_of(
        st.binary(),
        plain.map(repr).map(str.encode),
        st.text(alphabet="()[]{}'\"\\,:0123456789abefxj-+ #\n").map(str.encode),
        mutated(b"('Pyro.NameServer', 'lookup', ('a', {'__class__': 'float'}), {})"),
    ),
    st.sampled_from(sorted(PYROS)),
)
def test_bodies_of_pyro_messages(body, serializer):
    import warnings

    head = bytearray(PYRO_HEAD)
    head[7] = serializer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # as a name server does
        try:
            check_plain(bytes(head), body)
        except errors.ProtocolError:
            pass


@given(st.one_of(st.text(), st.text().map("PYRO:".__add__), st.text().map("PYRO:x@".__add__)))
@example("PYRO:x@127.0.0.1:" + "9" * 5000)
@example("PYRO:x@[::]:1")
def test_addresses(text):
    try:
        address = Address.parse(text)
    except ProtocolError:
        return
    assert Address.parse(str(address)) == address
