"""A name server serves strangers: what they send makes it do no more than a quick call."""

import zlib

import pytest
from attack import (
    NAMESERVER,
    FakeWorker,
    Toll,
    call_raw,
    message,
    request,
    rogue,
)
from Pyro5 import protocol
from Pyro5.client import Proxy

from seppo.pyro.bounds import DEEPEST, JSON, SERPENT
from seppo.pyro.nameserver import NameServer
from seppo.pyro.registry import LARGEST_ENTRY

PROXY = {"__class__": "Pyro5.client.Proxy"}


@pytest.fixture
def port(target):
    yield target.port
    assert len(target.entries()) == 1  # it still answers


def proxy_state(port):
    return {
        **PROXY,
        "state": [f"PYRO:x@127.0.0.1:{port}", [], [], [], "hello", 0, "serpent", 0],
    }


def as_serpent(data):
    return message(protocol.MSG_INVOKE, data, serializer=SERPENT.serializer_id)


@pytest.mark.parametrize(
    "flags",
    [
        protocol.FLAGS_COMPRESSED,
        protocol.FLAGS_KEEPSERIALIZED,
        protocol.FLAGS_BATCH,
        protocol.FLAGS_ONEWAY,
        protocol.FLAGS_ITEMSTREAMRESULT,
        0x8000,
    ],
)
def test_flags_that_do_more_than_call_are_refused(port, flags):
    answer = call_raw(port, request("ping", flags=flags))
    assert answer.count(b"PYRO") == 1  # of the greeting


def test_nothing_is_read_with_marshal(port, target):
    # A kept serialization: Pyro5 reads its annotation with marshal, which crashes on a bad one.
    toll = Toll([target.nameserver.pid])
    bomb = b"(\xff\xff\xff\x7f"  # a tuple of 2**31 values
    raw = protocol.SendingMessage(
        protocol.MSG_INVOKE, 0, 0, JSON.serializer_id, b"", annotations={"BLBI": bomb}
    )
    data = bytearray(raw.data)
    data[9] |= protocol.FLAGS_KEEPSERIALIZED
    assert call_raw(port, bytes(data)).count(b"PYRO") == 1
    toll.check()


def test_a_proxy_of_a_strangers_is_not_made_let_alone_connected(port):
    with FakeWorker() as bait:
        state = proxy_state(bait.port)
        attempts = [
            request("yplookup", state),
            request("register", "x", "PYRO:x@127.0.0.1:1", False, state),
            message(
                protocol.MSG_INVOKE,
                {"object": NAMESERVER, "method": "ping", "params": state, "kwargs": {}},
            ),
            as_serpent(repr((NAMESERVER, "ping", state, {})).encode()),
            message(protocol.MSG_CONNECT, {"handshake": state, "object": NAMESERVER}),
        ]
        for attempt in attempts:
            assert call_raw(port, attempt).count(b"PYRO") == 1
        assert bait.heard == []


def test_a_costly_expression_is_not_tried(port):
    call_raw(  # it would take centuries
        port,
        request("register", "seppo." + "a" * 40 + "!", "PYRO:x@127.0.0.1:1"),
        request("list", None, "(seppo.)(a+)+$"),
        request("remove", "seppo." + "a" * 40 + "!"),
    )


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 8000 + b"]" * 8000,
        b'{"a":' * 3000,
        b'{"object": [' + b"9" * 10000 + b"]}",
        b"9" * 16000,
        b"[" * (DEEPEST + 5) + b"]" * (DEEPEST + 5),
    ],
)
def test_deep_json_is_refused(port, target, bomb):
    toll = Toll([target.nameserver.pid])
    assert call_raw(port, message(protocol.MSG_INVOKE, bomb)).count(b"PYRO") == 1
    toll.check()


@pytest.mark.parametrize(
    "bomb",
    [
        b"(" * 16000,
        b"-" * 16000 + b"1",
        b"1" + b"+1" * 8000,
        b"{1:" * 5000,
        b"not " * 4000 + b"1",
        b"a" + b".a" * 8000,
        b"f''" * 5000,
    ],
)
def test_deep_serpent_is_refused(port, target, bomb):
    toll = Toll([target.nameserver.pid])
    assert call_raw(port, as_serpent(bomb)).count(b"PYRO") == 1
    toll.check()


def test_a_message_does_not_fill_the_log(own_cluster):
    cluster = own_cluster(0)
    for _ in range(5):
        call_raw(cluster.port, as_serpent(b"1if 1else" * 1700))
        call_raw(cluster.port, message(protocol.MSG_RESULT, []))
    cluster.nameserver.terminate()
    assert len(cluster.nameserver.stdout.read()) < 200  # it was 100 kB for each


def test_a_compressed_bomb_is_not_inflated(port, target):
    toll = Toll([target.nameserver.pid])
    bomb = zlib.compress(bytes(1 << 23), 9)[:16000]
    call_raw(port, message(protocol.MSG_INVOKE, bomb, protocol.FLAGS_COMPRESSED))
    toll.check()


def test_a_great_length_is_refused_at_once(port, target):
    toll = Toll([target.nameserver.pid])
    head = bytearray(request("ping")[:40])
    head[12:16] = (1 << 30).to_bytes(4, "big")
    assert call_raw(port, bytes(head) + bytes(100_000)).count(b"PYRO") == 1
    toll.check()


def test_a_large_entry_is_refused(target):
    nameserver = NameServer(target.settings)
    with pytest.raises(ConnectionError, match="too large"):
        nameserver.register(rogue("x" * LARGEST_ENTRY, 1))
    assert len(nameserver.find()) == 1


def test_entries_are_bounded(own_cluster, monkeypatch):
    from seppo.pyro import registry

    monkeypatch.setattr(registry, "MOST_ENTRIES", 2)
    names = registry.Registry()
    names.register("a", "PYRO:x@127.0.0.1:1")
    names.register("b", "PYRO:x@127.0.0.1:1")
    with pytest.raises(Exception, match="2 entries"):
        names.register("c", "PYRO:x@127.0.0.1:1")
    names.register("a", "PYRO:x@127.0.0.1:2")
    assert names.count() == 2


@pytest.mark.parametrize("odd", ["\ud800", "a\n", "\x1b[31m"])
def test_what_cannot_be_told_is_not_taken(port, target, odd):
    uri = "PYRO:seppo.supervisor@127.0.0.1:1"
    call_raw(
        port,
        request("register", f"seppo.{odd}", uri, False, ["seppo"]),
        request("register", "seppo.x", uri, False, ["seppo", f"seppo.{odd}"]),
        request("set_metadata", next(iter(target.entries())).name, [odd, "seppo"]),
        request("lookup", odd),
    )
    assert len(NameServer(target.settings).find()) == 1


def test_pyros_own_proxies_still_work(port):
    with Proxy(f"PYRO:{NAMESERVER}@127.0.0.1:{port}") as proxy:
        uri = "PYRO:thing@127.0.0.1:4"
        proxy.register("thing", uri, metadata={"tag", "other"})
        assert str(proxy.lookup("thing")) == uri
        assert proxy.yplookup(meta_any=["tag"]) == {"thing": (uri, {"tag", "other"})}
        proxy.set_metadata("thing", ["third"])
        assert proxy.lookup("thing", return_metadata=True)[1] == {"third"}
        proxy.register("thing", proxy.lookup("thing"))  # an object of class URI
        assert proxy.list(prefix="thi") == {"thing": uri}
        assert proxy.remove("thing") == 1
