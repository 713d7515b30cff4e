"""Names are hints: false hosts cost a warning, and no map its workers."""

import contextlib
import logging
import os
from contextlib import ExitStack

import pytest
from attack import BlackHole, FakeWorker, call_raw, family_of, our_key, register, request, rogue
from processes import free_port, wait_until

import seppo
from seppo.errors import ProtocolError
from seppo.pyro.nameserver import NameServer
from seppo.trust.proof import MAGIC
from seppo.version import PROTOCOL_VERSION as VERSION


# Those of a worker of this version: of another one it is only asked whether it lives.
def tags():
    return ["seppo", "seppo.group=default", f"seppo.protocol={VERSION}", f"seppo.key={our_key()}"]


pytestmark = pytest.mark.filterwarnings("ignore:seppo runs this map:RuntimeWarning")


def where_it_runs(n_items=20):
    return set(seppo.map_parallel(lambda _: os.getpid(), range(n_items)))


def test_false_workers_are_left_out(own_cluster):
    cluster = own_cluster(1)
    with ExitStack() as stack:
        hole = stack.enter_context(BlackHole())
        silent = stack.enter_context(FakeWorker())
        liar = stack.enter_context(FakeWorker(MAGIC + VERSION.to_bytes(2, "big") + bytes(64)))
        register(
            NameServer(cluster.settings),
            rogue("a-hole", hole.port),
            rogue("a-silent", silent.port),
            rogue("a-liar", liar.port),
            rogue("a-closed", free_port()),
            rogue("a-self", cluster.port),
        )
        found = where_it_runs()
        assert os.getpid() not in found
        assert found <= family_of(cluster.workers.pid)
        for rogue_worker in (silent, liar):
            wait_until(lambda who=rogue_worker: any(map(bool, who.heard)), "the attempt")
            assert all(data.startswith(MAGIC) for data in rogue_worker.heard if data)


def test_hundreds_of_black_holes_do_not_hide_a_worker(own_cluster):
    cluster = own_cluster(1)
    nameserver = NameServer(cluster.settings)
    with contextlib.ExitStack() as stack:
        hosts = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(500)]
        holes = [stack.enter_context(BlackHole(host)) for host in hosts]
        uris = [
            f"PYRO:seppo.supervisor@{host}:{hole.port}"
            for host, hole in zip(hosts, holes, strict=True)
        ]
        talk = [request("register", f"a{i}", uri, False, tags()) for i, uri in enumerate(uris)]
        # And one of them under many spellings, and with names of objects: one connection, or none.
        port = holes[0].port
        talk += [
            request("register", f"b{i}", f"PYRO:w{i}@127.1.0.1:{port}", False, tags())
            for i in range(500)
        ]
        assert call_raw(cluster.port, *talk).count(b"PYRO") == 1001
        assert len(nameserver.find()) == 501
        assert os.getpid() not in where_it_runs()


def test_a_thousand_entries_of_garbage_do_not_hide_a_worker(own_cluster, caplog):
    cluster = own_cluster(1)
    closed = free_port()
    uris = ["PYRO:x@./u:/tmp/s", "PYRONAME:x", "PYROMETA:a", f"PYRO:x@127.0.0.1:{closed}",
            "PYRO:x@999.1.1.1:7", "PYRO:x@a..b:7"]  # fmt: skip
    talk = [request("register", f"a{i}", uris[i % 6], False, tags()) for i in range(1000)]
    talk.append(request("register", "a\x1b[2J\nb", uris[3], False, tags()))
    talk.append(request("register", "b", uris[3], False, [*tags(), "seppo.host=\x1b[2J"]))
    call_raw(cluster.port, *talk)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert os.getpid() not in where_it_runs()
            NameServer(cluster.settings).find()
    assert "\x1b" not in caplog.text
    status = cluster.run("-m", "seppo", "status").stdout
    assert "\x1b" not in status
    assert "in use" in status  # by this process


def test_answers_of_a_false_name_server_are_borne(monkeypatch):
    from attack import message
    from Pyro5 import protocol

    from seppo.errors import NameServerError
    from seppo.settings import Settings

    greeted = message(protocol.MSG_CONNECTOK, {"handshake": "hello"})
    for value in (
        5, [], "x", None, {"a": 5}, {"a": ["PYRO:x@127.0.0.1:1", 5]}, {"a": [1, 2, 3]},
        {"a": ["PYRO:x@127.0.0.1:1", {"__class__": "Pyro5.client.Proxy"}]}, {"a": "ab"}, [[1], {}],
    ):  # fmt: skip
        with FakeWorker(greeted + message(protocol.MSG_RESULT, value)) as fake:
            nameserver = NameServer(Settings(ns_port=fake.port))
            for ask in (nameserver.find, nameserver.names):
                try:
                    ask()
                except NameServerError:
                    pass
    for raw in (b"[" * 100_000, b"\xff", b"", b"9" * 5000):
        answer = greeted + message(protocol.MSG_RESULT, raw)
        with FakeWorker(answer) as fake, pytest.raises(NameServerError):
            NameServer(Settings(ns_port=fake.port)).find()


def test_a_dead_entry_of_another_version_counts_as_not_registered(own_cluster):
    cluster = own_cluster(0)
    register(NameServer(cluster.settings), rogue("old", free_port(), protocol="0"))
    assert where_it_runs() == {os.getpid()}


def test_live_workers_of_another_version_alone_are_an_error(own_cluster):
    cluster = own_cluster(0)
    with FakeWorker() as old:
        register(NameServer(cluster.settings), rogue("old", old.port, protocol="0"))
        with pytest.raises(ProtocolError, match="same seppo"):
            where_it_runs()
