"""Many, slow, broken and senseless peers cost others nothing, and leave nothing behind."""

import random
import select
import socket
import time

import pytest
from attack import (
    FakeWorker,
    Toll,
    channel_of,
    connect,
    exactly,
    greeting,
    message,
    receive_all,
    request,
    reset,
    send_all,
)
from lessee import LeasedWorker, Lessee
from processes import CREDENTIALS, PATIENCE
from Pyro5 import protocol

from seppo.pyro.bounds import JSON
from seppo.pyro.proxy import attach, call
from seppo.trust import proof
from seppo.trust.proof import ClientProof
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address
from seppo.wire.frames import HEADER, MAGIC, VERSION, encode
from seppo.wire.messages import Leased, Want

SILENT = 300
MUTANTS = 2000
MAP = (
    "import os, seppo;"
    "pids = set(seppo.map_parallel(lambda x: os.getpid(), range(100)));"
    "assert os.getpid() not in pids, 'a serial map'"
)


class Field:
    """The processes under attack: a name server and a supervisor."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.supervisor = cluster.entries()[0].address
        self.nameserver = Address("Pyro.NameServer", "127.0.0.1", cluster.port)
        self.all = [self.supervisor, self.nameserver]
        self.run_map()  # what is needed for the first map is no growth
        self.toll = Toll([cluster.workers.pid, cluster.nameserver.pid])

    def run_map(self):
        """Run a map in a new process, which has to find and reach the workers."""
        self.cluster.run("-W", "error", "-c", MAP)

    def check_during(self):
        self.run_map()
        assert call(CREDENTIALS, self.supervisor, "ping", timeout=10.0) == "pong"
        self.toll.check_memory()

    def check_after(self):
        self.run_map()
        self.toll.check()


@pytest.fixture
def field(target):
    return Field(target)


def test_silent_connections(field):
    silent = []
    try:
        for number in range(SILENT):
            silent.append(connect(field.all[number % len(field.all)]))
        field.check_during()
        for _ in range(150):  # more than there is room for at one of them
            silent.append(connect(field.supervisor))
            silent.append(connect(field.nameserver))
        field.check_during()
    finally:
        for sock in silent:
            sock.close()
    field.check_after()


def test_slow_handshakes_end_at_the_deadline(field):
    hello = ClientProof(CREDENTIALS.key, None).hello()
    slow = {}
    for address in field.all:
        talk = greeting() if address is field.nameserver else hello
        slow.update({connect(address): talk for _ in range(20)})
    began = time.monotonic()
    checked = False
    ended = 0
    at = 0
    while slow:
        assert time.monotonic() - began < PATIENCE, f"{len(slow)} are still there"
        for sock, talk in slow.items():
            send_all(sock, talk[at : at + 1])
        at += 1
        if not checked:
            field.check_during()
            checked = True
        for sock in select.select(list(slow), [], [], 1.0)[0]:
            del slow[sock]
            receive_all(sock)
            sock.close()
            ended += 1
    assert ended == 20 * len(field.all)
    field.check_after()


def test_resets(field):
    for number in range(300):
        address = field.all[number % len(field.all)]
        sock = connect(address)
        hello = ClientProof(CREDENTIALS.key, None).hello()
        talk = (b"", hello, hello[:10], greeting(), greeting() + request("list"))[number % 5]
        send_all(sock, talk)
        reset(sock)
    field.check_during()
    field.check_after()


def test_resets_of_clients_with_the_key(field):
    for _ in range(60):
        reset(attach(CREDENTIALS, field.supervisor, 10.0))
    field.check_after()


def mutants(canary, number):
    """Yield messages like those of clients, each wrong in another way."""
    chance = random.Random(4)
    channel = proof.ProofContext("seppo.worker", b"tcp")
    hello = ClientProof(CREDENTIALS.key, channel).hello()
    server = proof.ServerProof(CREDENTIALS.key, channel)
    seeds = [
        hello,
        hello + bytes(32),
        hello + canary.frames(),
        server.reply(hello),
        greeting(),
        greeting() + request("list"),
        greeting() + request("yplookup", ["seppo"], None, True),
        greeting() + request("register", "x", "PYRO:x@127.0.0.1:1", False, ["a"]),
        message(protocol.MSG_PING, b"ping"),
        canary.messages(),
        b"".join(map(bytes, encode(1, [bytes(100), b"x"]))),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    ]
    for _ in range(number):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(6):
                case 0:
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    data[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
                case 2:
                    del data[at + 1 :]
                case 3:
                    data[at:at] = chance.randbytes(chance.randrange(50))
                case 4:
                    data[at : at + 4] = b"\xff\xff\xff\xff"
                case 5:
                    data += chance.choice(seeds)
        yield bytes(data)


def test_mutated_messages(field, canary):
    last = []
    for number, data in enumerate(mutants(canary, MUTANTS)):
        sock = connect(field.all[number % len(field.all)])
        send_all(sock, data)
        last.append(sock)
        if len(last) > 20:
            old = last.pop(0)
            (reset if number % 3 else socket.socket.close)(old)
        if number == MUTANTS // 2:
            field.check_during()
    for sock in last:
        sock.close()
    names = {entry.name for entry in field.cluster.entries()}
    assert len(names) == 1, "a mutant got registered in the place of a host"
    field.check_after()


def test_mutated_replies(own_cluster, canary):
    # The other way round: workers that answer a client's hello with such things.
    from attack import register, rogue

    import seppo
    from seppo.pyro.nameserver import NameServer

    cluster = own_cluster(1)
    talks = list(mutants(canary, 30))
    talks[::3] = [b"SEPPOKEY" + PROTOCOL_VERSION.to_bytes(2, "big") + talk for talk in talks[::3]]
    fakes = [FakeWorker(talk) for talk in talks]
    try:
        nameserver = NameServer(cluster.settings)
        register(nameserver, *(rogue(f"a{i}", fake.port) for i, fake in enumerate(fakes)))
        assert list(seppo.map_parallel(abs, range(-50, 0))) == list(range(50, 0, -1))
        assert all(len(data) <= 42 for fake in fakes for data in fake.heard)
    finally:
        for fake in fakes:
            fake.close()


def test_great_lengths_before_the_proof(field):
    head = HEADER.pack(MAGIC, VERSION, 1, 0, 1, 1 << 30) + (1 << 30).to_bytes(8, "big")
    invoke = bytearray(message(protocol.MSG_INVOKE, b"[]"))
    invoke[12:16] = (1 << 30).to_bytes(4, "big")
    for address in field.all:
        for talk in (head, bytes(invoke), greeting() + bytes(invoke)):
            with connect(address) as sock:
                send_all(sock, talk + bytes(50_000))
                receive_all(sock)
    field.check_after()


def test_messages_after_the_proof_are_bounded_too(field):
    with Lessee(field.cluster.entries()[0]) as client:
        client.send(Want(1, 1))
        (leased,) = client.wait_for(Leased)
        for address in (Address.parse(leased.address), field.supervisor):
            with connect(address) as sock:
                proof = ClientProof(CREDENTIALS.key, channel_of(sock, address.object))
                sock.sendall(proof.hello())
                sock.sendall(proof.answer(exactly(sock, proof.reply_size)))
                invoke = bytearray(message(protocol.MSG_INVOKE, JSON.dumpsCall("x", "y", [], {})))
                invoke[12:16] = (1 << 30).to_bytes(4, "big")
                send_all(sock, bytes(invoke) + bytes(100_000))
                assert receive_all(sock) == b""
    field.check_after()


def test_silent_connections_do_not_keep_the_client_from_its_process(field):
    silent = []
    with Lessee(field.cluster.entries()[0]) as client:
        client.send(Want(1, 1))
        (leased,) = client.wait_for(Leased)
        try:
            silent += [connect(Address.parse(leased.address)) for _ in range(150)]
            with LeasedWorker(leased) as worker:
                for sock in silent:
                    assert receive_all(sock) == b""  # it listens no more
                worker.run(1, abs, [-1])
                assert worker.outcomes(1, 1) == [1]
        finally:
            for sock in silent:
                sock.close()
    field.check_after()


def test_frames_after_the_proof_are_bounded_by_a_setting(own_cluster):
    cluster = own_cluster(1, SEPPO_MAX_FRAME_BYTES="1000000")
    with Lessee(cluster.entries()[0]) as client:
        for size, is_too_large in ((1_000_000, False), (1_000_001, True)):
            (worker,) = client.lease(world=size)
            sock = worker.stream.sock
            send_all(sock, HEADER.pack(MAGIC, VERSION, 1, 0, 1, size) + size.to_bytes(8, "big"))
            if is_too_large:
                assert client.ended(worker)
            else:
                assert not worker.has_ended()
