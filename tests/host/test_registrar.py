"""Keeping workers registered, whatever the name server does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from processes import NameServerProcess, free_port, wait_until

from seppo.errors import NameServerError
from seppo.host.registrar import Registrar
from seppo.pyro.nameserver import Entry
from seppo.settings import Settings
from seppo.wire.address import Address

ELSEWHERE = Address("seppo.supervisor", "127.0.0.1", 4712)


class FakeNameServer:
    """A name server in memory that can be away, or slow."""

    location = "fake:1"

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.is_away = False
        self.is_strange = False
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def get(self, name: str) -> Entry | None:
        self.asked += 1
        assert self.gate.wait(20)
        if self.is_strange:
            raise KeyError("a name server that answers nonsense")
        if self.is_away:
            raise NameServerError(self.location, "away")
        return self.entries.get(name)

    def register(self, entry: Entry) -> None:
        self.entries[entry.name] = entry

    def forget(self, name: str) -> None:
        self.entries.pop(name, None)


def entry(name: str) -> Entry:
    return Entry(name, Address("seppo.supervisor", "127.0.0.1", 4711), {"group": "lab"})


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr("seppo.host.registrar.INTERVAL", 0.02)
    return FakeNameServer()


@pytest.fixture
def registrar(fake):
    registrar = Registrar(Settings(ns_port=1))
    registrar._nameserver = fake
    registrar.start()
    yield registrar
    fake.gate.set()
    registrar.close()


def test_what_is_added_is_registered_at_once(fake, registrar):
    registrar.add(entry("a"))
    wait_until(lambda: fake.entries == {"a": entry("a")})


def test_what_is_removed_is_forgotten_and_the_rest_stays(fake, registrar):
    registrar.add(entry("a"))
    registrar.add(entry("b"))
    wait_until(lambda: len(fake.entries) == 2)
    registrar.remove("a")
    wait_until(lambda: set(fake.entries) == {"b"})


def test_entries_of_others_are_not_touched(fake, registrar):
    fake.entries["stranger"] = entry("stranger")
    registrar.add(entry("a"))
    wait_until(lambda: "a" in fake.entries)
    registrar.remove("stranger")
    registrar.close()
    assert set(fake.entries) == {"stranger"}


def test_what_was_lost_is_registered_again(fake, registrar):
    registrar.add(entry("a"))
    wait_until(lambda: fake.entries)
    fake.entries.clear()
    wait_until(lambda: fake.entries)


@pytest.mark.parametrize("change", [{"address": ELSEWHERE}, {"facts": {"group": "other"}}])
def test_what_was_replaced_is_put_right_again(fake, registrar, change):
    registrar.add(entry("a"))
    wait_until(lambda: fake.entries)
    fake.entries["a"] = replace(entry("a"), **change)
    wait_until(lambda: fake.entries["a"] == entry("a"))


@pytest.mark.parametrize("fault", ["is_away", "is_strange"])
def test_a_name_server_that_comes_late_is_found(fake, registrar, fault, caplog):
    setattr(fake, fault, True)
    registrar.add(entry("a"))
    asked = fake.asked
    wait_until(lambda: fake.asked > asked + 2)
    setattr(fake, fault, False)
    wait_until(lambda: fake.entries)


def test_its_absence_is_told_once(fake, registrar, caplog):
    fake.is_away = True
    registrar.add(entry("a"))
    wait_until(lambda: fake.asked > 5)
    assert caplog.text.count("trying again") == 1


def test_closing_takes_all_entries_out(fake, registrar):
    registrar.add(entry("a"))
    wait_until(lambda: fake.entries)
    registrar.close()
    assert fake.entries == {}


def test_a_name_server_that_does_not_answer_at_the_end_is_asked_once_more(fake, registrar):
    registrar.add(entry("a"))
    wait_until(lambda: fake.entries)
    forget, asked = fake.forget, []

    def is_slow(name: str) -> None:
        asked.append(name)
        if len(asked) == 1:
            raise NameServerError(fake.location, "did not answer in time")
        forget(name)

    fake.forget = is_slow
    registrar.close()
    assert fake.entries == {}


def test_closing_while_it_is_asking_takes_all_entries_out_too(fake, registrar):
    registrar.add(entry("a"))
    wait_until(lambda: fake.entries)
    fake.gate.clear()
    asked = fake.asked
    wait_until(lambda: fake.asked > asked)  # now it waits for the name server's answer
    closer = threading.Thread(target=registrar.close)
    closer.start()
    wait_until(lambda: registrar._closing)
    fake.gate.set()
    closer.join(20)
    assert fake.entries == {}


def test_it_asks_nobody_as_long_as_it_has_nothing_to_say(fake, registrar):
    registrar.close()
    assert fake.asked == 0


def test_a_name_server_that_restarts_empty_knows_the_workers_within_5_s():
    port = free_port()
    registrar = Registrar(Settings(ns_port=port))
    registrar.start()
    try:
        with NameServerProcess(port) as first:
            registrar.add(entry("seppo.a"))
            wait_until(lambda: first.names() == {"seppo.a"}, 5)
            first.kill()
            first.wait()
        with NameServerProcess(port) as second:
            began = time.monotonic()
            wait_until(lambda: second.names() == {"seppo.a"}, 10)
            assert time.monotonic() - began < 5
            registrar.close()
            assert second.names() == set()
    finally:
        registrar.close()
