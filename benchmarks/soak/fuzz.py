"""A fuzzer over all that a stranger can send: ``python -m benchmarks.soak.fuzz --minutes 30``.

It mutates true messages: hellos of the proof, messages of Pyro5 in both its serializers, and
sends them to a live name server and a live supervisor; and it feeds what false servers might
answer to the parsers of clients, in this process. Whatever comes: both servers still answer,
no parser raises anything but what it documents, and nothing grows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from Pyro5 import errors, protocol

from benchmarks.soak.site import Site
from benchmarks.soak.watch import Holdings
from seppo.errors import SeppoError
from seppo.pyro.bounds import JSON, SERPENT, receive_message
from seppo.pyro.nameserver import PYRO_NAME, NameServer
from seppo.pyro.proxy import call
from seppo.trust.credentials import Credentials
from seppo.trust.keyfile import Key
from seppo.trust.proof import ClientProof, ProofContext, ServerProof
from seppo.wire.address import Address

KEY = Key(secrets.token_bytes(32), "of the fuzzer")
CONTEXT = ProofContext("seppo.supervisor", b"tcp")
ROUND = 50  # messages between two looks
DOCUMENTED = (SeppoError, OSError, errors.CommunicationError)

ODD = [
    None, True, -1, 1 << 70, 1e308, float("inf"), "", "\ud800", "x" * 3000, [], [[[[]]]], {},
    {"__class__": "Pyro5.client.Proxy"}, {"a": [None] * 50}, ["seppo"] * 90,
]  # fmt: skip


def main() -> int:
    """Fuzz for a while, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(description="Fuzz what strangers can send.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    dice = random.Random(seed)
    problems: list[str] = []
    n_sent, began = 0, time.monotonic()
    with Site() as site:
        site.start_supervisor("fuzzed", 1)
        (entry,) = NameServer(site.settings).find()
        nameserver = Address(PYRO_NAME, site.settings.ns_host, site.settings.ns_port)
        pids = [site.nameserver_pid, site.supervisors["fuzzed"].pid, os.getpid()]
        before: list[Holdings] = []
        holdings: list[Holdings] = []
        while not holdings or (time.monotonic() < began + 60 * arguments.minutes and not problems):
            for _ in range(ROUND):
                send(entry.address, mutated(dice, hello()))
                send(nameserver, b"".join(call_of_pyro(dice) for _ in range(dice.randint(1, 3))))
                problems += answers_of_false_servers(dice)
                n_sent += 3
            problems += still_well(site, entry.address)
            holdings = [Holdings.of(pid) for pid in pids]
            before = before or holdings  # once all is warm
            for pid, now, then in zip(pids, holdings, before, strict=True):
                problems += [f"process {pid}: {what}" for what in now.growth_since(then)]
    print(f"seed {seed}: {n_sent} messages in {time.monotonic() - began:.0f} s; ", end="")
    print("; ".join(problems) or "nothing found")
    for then, now in zip(before, holdings, strict=True):
        print(f"  {then.megabytes:.0f} to {now.megabytes:.0f} MB, {now.threads} threads")
    return 1 if problems else 0


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Return bytes like these, changed, cut, or longer."""
    found = bytearray(data)
    for _ in range(dice.choice((0, 1, 1, 2, 8, 64))):
        if found:
            found[dice.randrange(len(found))] = dice.randrange(256)
    if dice.random() < 0.2:
        del found[dice.randrange(len(found) + 1) :]
    if dice.random() < 0.2:
        found += dice.randbytes(dice.choice((1, 100, 20_000)))
    return bytes(found)


def hello() -> bytes:
    """Return what a client of another key says first."""
    return ClientProof(KEY, CONTEXT).hello()


def call_of_pyro(dice: random.Random) -> bytes:
    """Return a message to a name server, of either serializer, changed or with odd arguments."""
    method = dice.choice(
        ("register", "lookup", "yplookup", "list", "remove", "set_metadata", "count", "ping")
    )
    arguments = [dice.choice([*ODD, "seppo.x", "PYRO:x@127.0.0.1:9"]) for _ in range(4)]
    wanted = {"object": PYRO_NAME, "method": method, "params": arguments, "kwargs": {}}
    if dice.random() < 0.5:
        kind, data = JSON.serializer_id, json.dumps(wanted).encode()
    else:
        text = repr((PYRO_NAME, method, arguments, {}))
        kind, data = SERPENT.serializer_id, text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.1:
        data = dice.choice((b"[", b"{1:", b"-", b"(", b"'\\x")) * dice.choice((10, 5000))
    what = dice.choice((protocol.MSG_CONNECT, protocol.MSG_INVOKE, protocol.MSG_INVOKE))
    raw = bytearray(protocol.SendingMessage(what, 0, 0, kind, data).data)
    raw[8:10] = struct.pack("!H", dice.choice((0, 0, 0, 1, 2, 4, 0xFFFF)))
    return bytes(raw) if dice.random() < 0.5 else mutated(dice, bytes(raw))


def send(address: Address, data: bytes) -> None:
    """Send bytes to a server, and read what it says until it hangs up, within a second."""
    with suppress(OSError), socket.create_connection((address.host, address.port), 1.0) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass


def answers_of_false_servers(dice: random.Random) -> list[str]:
    """Feed a client's parsers; return what they raised that they do not document."""
    client = ClientProof(KEY, CONTEXT)
    reply = ServerProof(KEY, CONTEXT).reply(client.hello())
    size = client.reply_size
    answer = protocol.SendingMessage(
        protocol.MSG_RESULT, 0, 0, JSON.serializer_id, json.dumps(dice.choice(ODD)).encode()
    )
    attempts: list[Callable[[], object]] = [
        lambda: client.answer(mutated(dice, reply)[:size].ljust(size, b"\0")),
        lambda: Address.parse(mutated(dice, b"PYRO:x@127.0.0.1:9").decode("latin-1")),
        lambda: _received(mutated(dice, bytes(answer.data))),
    ]
    problems = []
    for attempt in attempts:
        try:
            attempt()
        except DOCUMENTED:
            pass
        except Exception as error:  # that is what is looked for
            problems.append(f"a client's parser: {error!r}")
    return problems


def _received(data: bytes) -> object:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.close()
        return receive_message(ours, 1 << 16, time.monotonic() + 1.0)


def still_well(site: Site, address: Address) -> list[str]:
    """Return what does not answer as it should."""
    try:
        call(Credentials(site.settings), address, "ping", timeout=20.0)
        deadline = time.monotonic() + 20.0  # a stranger may remove it; then it comes again
        while all(entry.address != address for entry in NameServer(site.settings).find()):
            if time.monotonic() > deadline:
                return ["the host's entry is gone"]
            time.sleep(0.2)
    except (SeppoError, OSError) as error:
        return [f"a server does not answer: {error}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
