"""Hosts with a fake supervisor at the other end of a socket, and time by hand."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from seppo.engines import hosts as module
from seppo.engines.hosts import Host, HostDrains, HostLost, HostReady, Hosts, HostSilent
from seppo.payload.protocol import (
    Draining,
    KillWorker,
    Message,
    Ping,
    Pong,
    Uses,
    Welcome,
    WorkerEnded,
    from_frame,
    to_parts,
)
from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.stream import Stream

THERE = Address("seppo.supervisor", "127.0.0.1", 4711)
ENDED = WorkerEnded("w1", "SIGSEGV", 3, 7, 0, 1, False)


class Fake:
    """The client's side and, by hand, the supervisor's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, silence: float = 10.0) -> None:
        self.selector = selectors.DefaultSelector()
        self.woken = 0
        self.attempts = 0
        self.stream: Stream | None = None
        self.answers = True
        self.greeting: Message = Welcome({"supervisor": "fake"})
        self.hosts = Hosts(Settings(silence=silence), self.selector, self._wake)
        monkeypatch.setattr(module, "attach", self._attach)
        # Connecting takes a thread elsewhere; here it happens when it is asked for.
        monkeypatch.setattr(self.hosts, "_start_to_connect", self._start_to_connect)

    def _wake(self) -> None:
        self.woken += 1

    def _start_to_connect(self, host: Host) -> None:
        host.is_connecting = True
        self.hosts._connect(host)

    def _attach(self, _: object, address: Address, timeout: float) -> socket.socket:
        assert address == THERE
        self.attempts += 1
        if not self.answers:
            raise ConnectionRefusedError("nobody there")
        ours, theirs = socket.socketpair()
        if self.stream is not None:
            self.stream.close()
        self.stream = Stream(theirs)
        self.stream.send(*to_parts(self.greeting))
        return ours

    def tell(self, *messages: Message) -> None:
        for message in messages:
            self.stream.send(*to_parts(message))

    def heard(self) -> list[Message]:
        """Return what the supervisor was sent."""
        return [from_frame(frame) for frame in self.stream.receive()]

    def turn(self, now: float) -> list[object]:
        """Do as the engine does: sockets first, and then the time."""
        for key, events in self.selector.select(0):
            self.hosts.serve(key.data, events)
        return self.hosts.tick(now)

    def close(self) -> None:
        self.hosts.close()
        if self.stream is not None:
            self.stream.close()
        self.selector.close()


@pytest.fixture
def fake(monkeypatch) -> Iterator[Fake]:
    fake = Fake(monkeypatch)
    yield fake
    fake.close()


def test_the_supervisor_learns_which_channels_are_ours_before_anything_runs_there(fake):
    assert fake.hosts.add("w1", THERE, 3) is True
    fake.hosts.add("w2", THERE, 5)
    assert fake.attempts == 1
    assert fake.turn(100.0) == [HostReady(("w1", "w2"))]
    assert fake.heard()[:2] == [Uses("w1", 3), Uses("w2", 5)]
    assert fake.hosts.add("w3", THERE, 6) is False  # it is known at once
    assert Uses("w3", 6) in fake.heard()
    assert fake.hosts.channel_of("w3") == 6


def test_a_supervisor_that_cannot_be_reached_is_tried_again_ever_less_often(fake, monkeypatch):
    monkeypatch.setattr(fake.hosts, "_silence", 1000.0)
    fake.answers = False
    fake.hosts.add("w1", THERE, 3)
    assert fake.turn(100.0) == [HostSilent(("w1",))]
    assert not fake.hosts.can_tell("w1")
    now, attempts = 100.0, []
    while now < 200.0:
        now += 2.0
        fake.turn(now)
        attempts.append(fake.attempts)
    assert 5 <= attempts[-1] <= 10
    fake.answers = True
    news = [event for step in range(50) for event in fake.turn(200.0 + 2 * step)]
    assert HostReady(("w1",)) in news


def test_whoever_is_no_supervisor_is_let_alone(fake):
    fake.greeting = Welcome({"name": "a worker"})
    fake.hosts.add("w1", THERE, 3)
    assert fake.turn(100.0) == [HostSilent(("w1",))]


def test_ends_of_our_workers_are_news_and_of_others_not(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.tell(ENDED, WorkerEnded("w2", "SIGKILL", 0, 0, 0, 0, False))
    assert fake.turn(100.1) == [ENDED]
    fake.hosts.remove("w1")
    fake.tell(ENDED)
    assert fake.turn(100.2) == []


def test_draining_is_news(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.tell(Draining())
    assert fake.turn(100.1) == [HostDrains(("w1",))]


def test_one_that_drains_already_says_so_when_it_greets(fake):
    fake.greeting = Welcome({"supervisor": "fake", "draining": True})
    fake.hosts.add("w1", THERE, 3)
    assert fake.turn(100.0) == [HostReady(("w1",)), HostDrains(("w1",))]


def pinged(fake: Fake, start: float, stop: float, answer: bool) -> list[object]:
    """Let time pass in steps of two seconds; return the news."""
    news: list[object] = []
    now = start
    while now < stop:
        now += 2.0
        news += fake.turn(now)
        if fake.hosts._of_worker and answer and Ping() in fake.heard():
            fake.tell(Pong())
    return news


def test_answered_pings_keep_it(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    assert pinged(fake, 100.0, 200.0, answer=True) == []
    assert fake.hosts.can_tell("w1")


def test_silence_loses_all_its_workers(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    assert pinged(fake, 100.0, 106.0, answer=False) == []
    (lost,) = pinged(fake, 106.0, 114.0, answer=False)
    assert isinstance(lost, HostLost)
    assert lost.workers == ("w1",)
    assert fake.hosts.next_deadline() == float("inf")  # nobody is left to ask for


@pytest.mark.parametrize("seconds", [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0])
def test_silence_is_counted_on_however_the_connection_ends(fake, seconds):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    news = pinged(fake, 100.0, 100.0 + seconds, answer=False)
    fake.answers = False
    fake.stream.close()  # the kernel's limit, too, looks like this over TLS
    news += pinged(fake, 100.0 + seconds, 114.0, answer=False)
    assert [event.workers for event in news if isinstance(event, HostLost)] == [("w1",)]


def test_a_supervisor_that_left_and_is_not_reached_again_is_lost_with_its_workers(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    assert pinged(fake, 100.0, 150.0, answer=True) == []
    fake.answers = False
    fake.stream.close()
    assert set(pinged(fake, 150.0, 156.0, answer=False)) == {HostSilent(("w1",))}
    news = pinged(fake, 156.0, 166.0, answer=False)
    assert [event.workers for event in news if isinstance(event, HostLost)] == [("w1",)]


def test_a_supervisor_that_is_reached_again_in_time_keeps_its_workers(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    news = pinged(fake, 100.0, 106.0, answer=False)
    fake.stream.close()
    fake.stream = None
    news += pinged(fake, 106.0, 116.0, answer=False)  # greeting us is a sign of life
    news += pinged(fake, 116.0, 150.0, answer=True)
    assert HostReady(("w1",)) in news
    assert not [event for event in news if isinstance(event, HostLost)]


def test_a_supervisor_that_was_never_reached_is_lost_with_its_workers(fake):
    fake.answers = False
    fake.hosts.add("w1", THERE, 3)
    news = fake.turn(100.0) + pinged(fake, 100.0, 114.0, answer=False)
    assert [event.workers for event in news if isinstance(event, HostLost)] == [("w1",)]


def test_who_slept_himself_does_not_count_it(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.tell(Pong())
    assert fake.turn(5000.0) == []  # an answer that lay there
    assert fake.turn(9000.0) == []  # one turn, however late, is one ping
    assert fake.hosts.can_tell("w1")


def test_a_supervisor_that_leaves_is_connected_to_again(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.stream.close()
    assert fake.turn(100.1) == [HostSilent(("w1",))]
    assert not fake.hosts.can_tell("w1")
    fake.stream = None
    assert HostReady(("w1",)) in fake.turn(103.0) + fake.turn(103.1)


def test_without_workers_nobody_connects_again(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.hosts.remove("w1")
    fake.stream.close()
    fake.turn(100.1)
    assert fake.hosts._hosts == {}
    assert fake.hosts.next_deadline() == float("inf")


def test_killing_names_our_channel(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.hosts.kill("w1", 7)
    fake.hosts.kill("nobody", 7)
    assert KillWorker("w1", 3, 7) in fake.heard()


def test_what_is_cancelled_and_still_runs_is_killed_after_a_grace_time(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.heard()
    fake.hosts.cancelled("w1", 7, 100.0)
    fake.turn(100.0 + module.STUCK - 0.1)
    assert KillWorker("w1", 3, 7) not in fake.heard()
    assert fake.hosts.next_deadline() <= 100.0 + module.STUCK
    fake.turn(100.0 + module.STUCK)
    assert KillWorker("w1", 3, 7) in fake.heard()


def test_nonsense_cuts_it_off(fake):
    fake.hosts.add("w1", THERE, 3)
    fake.turn(100.0)
    fake.tell(Ping())
    assert fake.turn(100.1) == [HostSilent(("w1",))]


def test_a_thread_that_cannot_start_is_a_supervisor_that_cannot_be_reached(no_new_threads):
    woken = []
    with selectors.DefaultSelector() as selector:
        hosts = Hosts(Settings(), selector, lambda: woken.append(True))
        assert hosts.add("w1", THERE, 3) is True
        assert woken
        assert hosts.tick(100.0) == [HostSilent(("w1",))]
        assert not hosts.can_tell("w1")
        hosts.close()
