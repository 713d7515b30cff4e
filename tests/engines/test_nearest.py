"""Unix sockets that hosts offer: preferred by the same user on the same machine, by nobody else."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from lessee import Lessee
from processes import NameServerProcess, SupervisorProcess, free_port, wait_until

from seppo.engines.pyro import PyroEngine
from seppo.place import user_domain
from seppo.pyro.nameserver import Entry, NameServer
from seppo.wire.address import Address

TCP_DEAD = Address("seppo.supervisor", "127.0.0.1", 1)


@pytest.fixture(scope="module")
def nameserver():
    with NameServerProcess() as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def host(nameserver):
    with SupervisorProcess(nameserver, 1, "near", group="near") as supervisor:
        yield supervisor


@pytest.fixture
def entry(nameserver, host):
    (found,) = NameServer(nameserver.settings).find("near")
    return found


@pytest.fixture
def look(nameserver):
    """Have a client told of one entry; return the hosts that it has connected to."""
    with contextlib.ExitStack() as stack:

        def look_once(entry, **facts):
            told = Entry(entry.name, entry.address, {**entry.facts, **facts})
            engine = PyroEngine(replace(nameserver.settings, group="near"))
            stack.callback(engine.abandon)
            stack.callback(engine.close)
            discovery = engine.arrivals.discovery
            # The host itself puts a false entry in the name server right.
            discovery._nameserver = SimpleNamespace(
                find_ours=lambda group: ([told], 0), get=lambda name: None
            )
            discovery.look_once()
            found = list(engine.arrivals.take())
            for arrival in found:
                stack.callback(arrival.stream.close)
            return found

        yield look_once


@pytest.fixture
def bait():
    """A socket of ours on which we would notice anybody who connects."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as sock:
        path = f"{os.path.realpath(folder)}/seppo-0123456789ab"
        sock.bind(path)
        sock.listen()
        sock.setblocking(False)
        yield SimpleNamespace(path=path, sock=sock, folder=Path(folder))


def families(arrivals):
    return [arrival.stream.sock.family for arrival in arrivals]


def test_a_host_offers_a_unix_socket_to_its_user(entry, host):
    assert entry.address == host.address
    assert entry.nearest.path == entry.facts["unix"].removeprefix("./u:")
    assert entry.facts["machine"] == user_domain()


def test_who_comes_by_unix_socket_gets_workers_that_listen_on_one(entry, host):
    for address in (entry.nearest, entry.address):
        with Lessee(SimpleNamespace(address=address)) as client:
            (worker,) = client.lease()
            leased = Address.parse(worker.leased.address)
            assert bool(leased.path) == bool(address.path)
            worker.run(1, abs, [-3])
            assert worker.outcomes(1, 1)
            assert not (leased.path and os.path.exists(leased.path))  # nobody else may come
        wait_until(lambda: host.spares() and not host.leased(), what="it is free again")


def test_clients_prefer_it(entry, look):
    found = look(replace(entry, address=TCP_DEAD))
    assert families(found) == [socket.AF_UNIX]
    assert [arrival.address for arrival in found] == [entry.nearest]


def test_clients_go_on_by_tcp_where_nobody_answers_on_it(entry, look, bait):
    bait.sock.close()
    assert families(look(entry, unix=f"./u:{bait.path}")) == [socket.AF_INET]
    assert families(look(entry, unix="./u:/nowhere/seppo-0123456789ab")) == [socket.AF_INET]


@pytest.mark.parametrize("unix", ["./u:/run/user/0/bus", "./u:relative", "127.0.0.1:1", "", "./u:"])
def test_what_is_no_socket_of_ours_is_not_tried(entry, look, unix):
    assert families(look(entry, unix=unix)) == [socket.AF_INET]


def test_a_socket_of_another_machine_or_user_is_not_tried(entry, look, bait):
    assert families(look(entry, unix=f"./u:{bait.path}", machine="0" * 32)) == [socket.AF_INET]
    with pytest.raises(BlockingIOError):
        bait.sock.accept()


def test_a_socket_that_others_could_have_put_there_is_not_tried(entry, look, bait):
    bait.folder.chmod(0o711)
    assert families(look(entry, unix=f"./u:{bait.path}")) == [socket.AF_INET]
    with pytest.raises(BlockingIOError):
        bait.sock.accept()


def test_many_entries_with_one_socket_are_one_host(entry, nameserver):
    server = NameServer(nameserver.settings)
    for i in range(20):
        address = Address("seppo.supervisor", "127.0.0.1", free_port())
        server.register(Entry(f"seppo.alias{i}", address, {**entry.facts, "group": "aliases"}))
    found = server.find("aliases")
    assert len({each.address for each in found}) > 1
    assert {each.nearest for each in found} == {entry.nearest}
