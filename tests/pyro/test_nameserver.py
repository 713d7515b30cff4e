"""The name server: what is registered is found; junk and absence are borne."""

from __future__ import annotations

import logging
import socket

import pytest
from processes import CREDENTIALS, NameServerProcess, free_port
from Pyro5.client import Proxy

from seppo.errors import NameServerError
from seppo.place import user_domain
from seppo.pyro.nameserver import Entry, NameServer
from seppo.settings import Settings
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address


@pytest.fixture(scope="module")
def process():
    with NameServerProcess() as process:
        yield process


@pytest.fixture
def nameserver(process):
    with Proxy(f"PYRO:Pyro.NameServer@127.0.0.1:{process.port}") as raw:
        raw.remove(prefix="seppo.")
        raw.remove(prefix="other.")
    return NameServer(process.settings)


@pytest.fixture
def raw(process):
    with Proxy(f"PYRO:Pyro.NameServer@127.0.0.1:{process.port}") as raw:
        yield raw


def entry(name: str, port: int = 4711, **facts: str) -> Entry:
    return Entry(f"seppo.{name}", Address("seppo.supervisor", "127.0.0.1", port), facts)


def test_what_is_registered_is_found_as_it_was(nameserver):
    one = entry("b", group="lab", pid="12", protocol=str(PROTOCOL_VERSION), host="a=b c")
    two = entry("a", port=1, group="lab")
    nameserver.register(one)
    nameserver.register(two)
    assert nameserver.find("lab") == [two, one]
    assert one.speaks_our_protocol
    assert not two.speaks_our_protocol
    assert not entry("c", protocol="0").speaks_our_protocol


def test_groups_are_kept_apart(nameserver):
    nameserver.register(entry("a", group="lab"))
    nameserver.register(entry("b", group="laboratory"))
    assert [found.name for found in nameserver.find("lab")] == ["seppo.a"]
    assert nameserver.find("office") == []
    assert [found.name for found in nameserver.find()] == ["seppo.a", "seppo.b"]
    assert nameserver.names() == {"seppo.a", "seppo.b"}


def test_registering_again_replaces(nameserver):
    nameserver.register(entry("a", port=1, group="lab"))
    nameserver.register(entry("a", port=2, group="lab", pid="7"))
    assert nameserver.find("lab") == [entry("a", port=2, group="lab", pid="7")]


def test_what_is_forgotten_is_gone_and_forgetting_twice_is_no_harm(nameserver):
    nameserver.register(entry("a", group="lab"))
    nameserver.forget("seppo.a")
    nameserver.forget("seppo.a")
    assert nameserver.find("lab") == []
    assert nameserver.names() == set()


def test_entries_of_others_are_not_ours(nameserver, raw):
    raw.register("other.thing", "PYRO:thing@127.0.0.1:1", metadata=["seppo.group=lab"])
    assert nameserver.find("lab") == []
    assert nameserver.find() == []


def test_junk_entries_are_left_out(nameserver, raw, caplog):
    tags = ["seppo", "seppo.group=lab"]
    raw.register("seppo.unix", "PYRO:x@./u:/tmp/socket", metadata=tags)
    raw.register("seppo.name", "PYRONAME:x", metadata=tags)
    raw.register("seppo.else", "PYRO:x@127.0.0.1:80", metadata=tags)
    raw.register("seppo.meta", "PYROMETA:x", metadata=tags)
    raw.register(
        "seppo.facts",
        "PYRO:seppo.supervisor@127.0.0.1:80",
        metadata=[*tags, "seppo", "=", "seppo.=", "x=y"],
    )
    nameserver.register(entry("good", group="lab"))
    with caplog.at_level(logging.WARNING):
        found = nameserver.find("lab")
    assert [one.name for one in found] == ["seppo.facts", "seppo.good"]
    assert nameserver.get("seppo.unix") is None
    assert nameserver.get("seppo.goo") is None
    assert nameserver.get("seppo.good") == entry("good", group="lab")
    assert found[0].facts.get("group") == "lab"
    assert caplog.text.count("ignoring") == 4


def test_nobody_listening_is_known_at_once():
    nameserver = NameServer(Settings(ns_port=free_port(), connect_timeout=600))
    with pytest.raises(NameServerError, match=nameserver.location) as caught:
        nameserver.find("lab")
    assert isinstance(caught.value.__cause__.__cause__, ConnectionRefusedError)
    for ask in (nameserver.names, lambda: nameserver.forget("x")):
        with pytest.raises(NameServerError):
            ask()
    with pytest.raises(NameServerError):
        nameserver.register(entry("a"))


def test_one_who_accepts_and_says_nothing_is_known_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(ns_port=silent.getsockname()[1], connect_timeout=0.2)
        with pytest.raises(NameServerError):
            NameServer(settings).find("lab")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 100, "a..b"])
def test_a_host_that_does_not_exist_is_named(host):
    with pytest.raises(NameServerError, match=r"invalid|aaa|a\.\.b"):
        NameServer(Settings(ns_host=host)).find("lab")


def test_another_pyro_server_is_no_name_server():
    from seppo.pyro.daemon import ControlDaemon

    daemon = ControlDaemon("other", "127.0.0.1", 0, {}, credentials=CREDENTIALS)
    daemon.start()
    try:
        with pytest.raises(NameServerError):
            NameServer(Settings(ns_port=daemon.address.port)).find("lab")
    finally:
        daemon.close()


def test_no_connection_is_kept(nameserver, process):
    # A plain name server serves 80 connections at a time.
    for _ in range(100):
        nameserver.names()
    nameserver.register(entry("a", group="lab"))
    assert len(nameserver.find("lab")) == 1


def test_a_unix_socket_of_another_user_or_machine_is_no_host(nameserver, caplog):
    there = Address("seppo.supervisor", "./u:/run/user/1/seppo/seppo-0123456789ab")
    ours = Entry("seppo.ours", there, {"machine": user_domain()})
    nameserver.register(ours)
    nameserver.register(Entry("seppo.theirs", there, {"machine": "0" * 32}))
    nameserver.register(Entry("seppo.nobodys", there, {}))
    assert nameserver.find() == [ours]
    assert nameserver.get("seppo.theirs") is None
    assert "another user or machine" in caplog.text
