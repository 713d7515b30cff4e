"""Hosts with fake supervisors at the other ends of sockets, and time by hand."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Iterator

import pytest

from seppo.engines.hosts import (
    BLOCKED,
    FAILURES,
    STUCK,
    Host,
    HostDrains,
    HostLost,
    HostNews,
    Hosts,
)
from seppo.settings import Settings
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.messages import (
    Draining,
    Hello,
    Kill,
    Leased,
    Message,
    Ping,
    Pong,
    Waiting,
    Want,
    WorkerEnded,
)
from seppo.wire.stream import Stream

FULL = Waiting("all processes are taken on a: somebody holds 2")


def leased(number: int, host: str = "a", world: int = 1) -> Leased:
    return Leased(world, f"{host}.{number}", "PYRO:seppo.worker@127.0.0.1:4711", "token")


def ended(number: int, host: str = "a", how: str = "SIGSEGV") -> WorkerEnded:
    return WorkerEnded(f"{host}.{number}", how, 7, 0, 1, False)


class Supervisor:
    """The other end of a host's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.stream = Stream(sock)

    def tell(self, *messages: Message) -> None:
        for message in messages:
            self.stream.send(*to_parts(message))

    def heard(self) -> list[Message]:
        """Return what it was sent since the last look."""
        return [from_frame(frame) for frame in self.stream.receive()]

    def wanted(self) -> list[tuple[int, int]]:
        """Return what was wanted since the last look: worlds and counts."""
        return [(m.world, m.count) for m in self.heard() if isinstance(m, Want)]

    def has_been_left(self) -> bool:
        try:
            self.heard()  # what came before that
            self.heard()
        except EOFError:
            return True
        return False


class Client:
    """The client's side."""

    def __init__(self, silence: float = 10.0) -> None:
        self.selector = selectors.DefaultSelector()
        self.hosts = Hosts(Settings(silence=silence), self.selector, "me@here:1 test.py")
        self.supervisors: list[Supervisor] = []

    def host(self, name: str = "a", places: int = 2, is_draining: bool = False) -> Supervisor:
        """Have a host greet us."""
        ours, theirs = socket.socketpair()
        supervisor = Supervisor(theirs)
        self.supervisors.append(supervisor)
        self.hosts.welcome(name, places, Stream(ours), is_draining)
        return supervisor

    def turn(self, now: float = 100.0) -> list[HostNews]:
        """Do as the engine does: sockets first, and then the time."""
        for key, events in self.selector.select(0):
            assert isinstance(key.data, Host)
            self.hosts.serve(key.data, events)
        return list(self.hosts.tick(now))

    def close(self) -> None:
        self.hosts.close()
        for supervisor in self.supervisors:
            supervisor.stream.close()
        self.selector.close()


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


# --- leases


def test_a_supervisor_hears_who_we_are_and_then_what_we_want(client):
    client.hosts.want(1, 2)
    a = client.host()
    assert a.heard() == [Hello("me@here:1 test.py"), Want(1, 2)]


def test_what_is_leased_is_ours(client):
    a = client.host()
    client.hosts.want(1, 2)
    assert client.hosts.coming()[1] == 2
    a.tell(leased(1), leased(2))
    assert client.turn() == [leased(1), leased(2)]
    assert client.hosts.coming()[1] == 0
    assert client.hosts.can_tell("a.1")
    assert not client.hosts.can_tell("a.3")


def test_a_target_is_told_once_and_never_more_than_the_places(client):
    a = client.host(places=2)
    client.hosts.want(1, 1)
    client.hosts.want(1, 2)
    client.hosts.want(1, 3)
    client.hosts.want(1, 1000)
    assert a.wanted() == [(1, 1), (1, 2)]
    assert client.hosts.target(1) == 1000


def test_a_target_is_spread_over_all_hosts(client):
    a, b = client.host("a", 2), client.host("b", 4)
    client.hosts.want(1, 3)
    assert (a.wanted(), b.wanted()) == ([(1, 1)], [(1, 2)])
    assert client.hosts.n_places == 6


def test_each_world_has_a_target_of_its_own(client):
    a = client.host()
    client.hosts.want(1, 2)
    client.hosts.want(2, 1)
    a.tell(leased(1), leased(2), leased(3, world=2))
    client.turn()
    client.hosts.want(1, 0)
    assert a.wanted() == [(1, 2), (2, 1), (1, 0)]
    assert (client.hosts.target(1), client.hosts.target(2)) == (0, 1)
    assert client.hosts.can_tell("a.1")  # an idle process is still ours
    client.hosts.want(1, 2)
    assert a.wanted() == [(1, 2)]
    assert client.hosts.coming()[1] == 0


def test_a_host_that_comes_later_is_asked_for_what_is_missing(client):
    a = client.host("a", 2)
    client.hosts.want(1, 5)
    a.tell(leased(1), leased(2))
    client.turn()
    b = client.host("b", 8)
    assert b.wanted() == [(1, 3)]
    assert a.wanted() == [(1, 2)]


def test_a_process_that_ends_is_replaced_by_its_supervisor_unasked(client):
    a = client.host()
    client.hosts.want(1, 2)
    a.heard()
    a.tell(leased(1), leased(2), ended(1))
    assert client.turn() == [leased(1), leased(2), ended(1)]
    assert client.hosts.coming()[1] == 0  # until the engine has made its end of it
    client.hosts.forget("a.1")
    assert client.hosts.coming()[1] == 1
    a.tell(leased(3))
    assert client.turn() == [leased(3)]
    assert client.hosts.coming()[1] == 0
    assert a.wanted() == []


def test_who_has_to_wait_is_told_why_and_expects_no_more(client):
    a = client.host()
    client.hosts.want(1, 2)
    a.tell(leased(1), FULL)
    assert client.turn() == [leased(1), FULL]
    assert client.hosts.coming()[1] == 0
    a.tell(leased(2))  # there is room after all
    assert client.turn() == [leased(2)]


def test_what_a_full_host_cannot_give_comes_from_others(client):
    a, b = client.host("a", 4), client.host("b", 4)
    client.hosts.want(1, 4)
    assert (a.wanted(), b.wanted()) == ([(1, 2)], [(1, 2)])
    a.tell(leased(1), FULL)
    client.turn()
    assert (a.wanted(), b.wanted()) == ([], [(1, 3)])  # at a it stays in the queue
    assert client.hosts.coming()[1] == 3
    a.tell(leased(2))  # there is room after all
    client.turn()
    client.hosts.want(1, 5)
    assert (a.wanted(), b.wanted()) == ([(1, 3)], [(1, 2)])  # it is asked as others are


def test_two_addresses_of_one_supervisor_are_one_connection(client):
    a = client.host()
    client.hosts.want(1, 2)
    again = client.host()
    assert again.has_been_left()
    assert len(client.hosts) == 1
    assert client.hosts.n_places == 2
    a.tell(leased(1))
    assert client.turn() == [leased(1)]


# --- what a supervisor must not say


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (leased(1, host="b"), "not its own"),
        (leased(1, host="ab"), "not its own"),
        (Leased(1, "a", "PYRO:seppo.worker@127.0.0.1:4711", "token"), "not its own"),
        (leased(1), "twice"),
        (Ping(), "does not send Ping"),
        (Want(1, 1), "does not send Want"),
    ],
)
def test_nonsense_cuts_it_off(client, message, told, caplog):
    a = client.host()
    client.hosts.want(1, 2)
    a.tell(leased(1), message)
    *_, lost = client.turn()
    assert isinstance(lost, HostLost)
    assert lost.workers == ("a.1",)
    assert told in lost.reason
    assert "the supervisor of host a is cut off" in caplog.text
    assert a.has_been_left()


def test_no_supervisor_takes_the_worker_of_another(client):
    a, b = client.host("a"), client.host("b")
    a.tell(leased(1))
    client.turn()
    b.tell(ended(1))
    assert client.turn() == []  # it has nothing to say of that
    b.tell(leased(1))
    (lost,) = client.turn()
    assert (lost.host, lost.workers) == ("b", ())
    assert client.hosts.can_tell("a.1")


def test_ends_of_processes_that_are_not_ours_are_no_news(client):
    a = client.host()
    a.tell(ended(1))
    assert client.turn() == []


# --- drain and loss


def test_a_host_that_drains_is_asked_for_nothing_more(client):
    a, b = client.host("a"), client.host("b", 4)
    client.hosts.want(1, 3)
    assert (a.wanted(), b.wanted()) == ([(1, 1)], [(1, 2)])
    a.tell(leased(1), Draining())
    assert client.turn() == [leased(1), HostDrains(("a.1",))]
    assert (a.wanted(), b.wanted()) == ([], [(1, 3)])
    assert client.hosts.n_places == 4
    client.hosts.want(1, 6)
    assert a.wanted() == []


def test_one_that_drains_already_when_it_greets_is_asked_for_nothing(client):
    client.hosts.want(1, 2)
    a = client.host(is_draining=True)
    assert a.heard() == [Hello("me@here:1 test.py")]
    assert client.hosts.n_places == 0
    assert client.hosts.coming()[1] == 0


def test_a_host_that_is_gone_is_lost_with_all_its_workers(client):
    a, b = client.host("a", 2), client.host("b", 4)
    client.hosts.want(1, 3)
    client.hosts.want(2, 2)
    a.tell(leased(1), leased(2, world=2))
    client.turn()
    assert b.wanted() == [(1, 2), (2, 1)]
    a.stream.close()
    (lost,) = client.turn()
    assert (lost.host, lost.workers) == ("a", ("a.1", "a.2"))
    assert not client.hosts.can_tell("a.1")
    assert b.wanted() == [(1, 3), (2, 2)]  # it takes its share
    assert client.hosts.n_places == 4


def test_what_it_said_before_it_left_counts(client):
    a = client.host()
    client.hosts.want(1, 2)
    a.tell(leased(1), ended(1))
    a.stream.close()
    news = client.turn() + client.turn()
    assert news[:2] == [leased(1), ended(1)]
    assert isinstance(news[2], HostLost)


def test_a_host_that_is_found_again_is_a_new_one(client):
    a = client.host()
    client.hosts.want(1, 2)
    a.stream.close()
    client.turn()
    a = client.host()
    assert a.heard() == [Hello("me@here:1 test.py"), Want(1, 2)]


# --- silence


def pinged(client: Client, supervisor: Supervisor, start: float, stop: float) -> list[HostNews]:
    """Let time pass in steps of two seconds, with an answer to each ping."""
    news: list[HostNews] = []
    while start < stop:
        start += 2.0
        news += client.turn(start)
        if Ping() in supervisor.heard():
            supervisor.tell(Pong())
    return news


def silent(client: Client, start: float, stop: float) -> list[HostNews]:
    """Let time pass in steps of two seconds, without an answer."""
    return [one for n in range(int((stop - start) / 2)) for one in client.turn(start + 2 + 2 * n)]


def test_answered_pings_keep_it(client):
    a = client.host()
    assert pinged(client, a, 100.0, 200.0) == []
    assert len(client.hosts) == 1


def test_silence_loses_it_with_all_its_workers(client):
    a = client.host()
    a.tell(leased(1))
    client.turn(100.0)
    assert silent(client, 100.0, 106.0) == []
    (lost,) = silent(client, 106.0, 114.0)
    assert lost.workers == ("a.1",)
    assert "no sign of life" in lost.reason
    assert client.hosts.next_deadline() == float("inf")  # nobody is left to ask


def test_anything_it_says_is_a_sign_of_life(client):
    a = client.host()
    client.turn(100.0)
    silent(client, 100.0, 106.0)
    a.tell(leased(1))
    assert silent(client, 106.0, 114.0) == [leased(1)]


def test_who_slept_himself_does_not_count_it(client):
    a = client.host()
    client.turn(100.0)
    a.tell(Pong())
    assert client.turn(5000.0) == []  # an answer that lay there
    assert client.turn(9000.0) == []  # one turn, however late, is one ping
    assert len(client.hosts) == 1


# --- killing


def test_only_what_is_ours_is_killed(client):
    a = client.host()
    a.tell(leased(1))
    client.turn()
    client.hosts.kill("a.1", 7, only_frozen=True)
    client.hosts.kill("a.2", 7)
    assert [m for m in a.heard() if isinstance(m, Kill)] == [Kill("a.1", 7, True)]


def test_what_is_cancelled_and_still_runs_is_killed_after_a_grace_time(client):
    a = client.host()
    a.tell(leased(1))
    client.turn(100.0)
    client.hosts.cancelled("a.1", 7, 100.0)
    client.hosts.cancelled("a.2", 8, 100.0)
    client.turn(100.0 + STUCK - 0.1)
    assert Kill("a.1", 7) not in a.heard()
    assert client.hosts.next_deadline() <= 100.0 + STUCK
    client.turn(100.0 + STUCK)
    assert Kill("a.1", 7) in a.heard()


# --- processes out of reach


def fail(client: Client, host: str, numbers: range, now: float) -> None:
    for number in numbers:
        client.hosts.not_reached(f"{host}.{number}", TimeoutError("timed out"), now)
        client.hosts.forget(f"{host}.{number}")  # it ends by itself, and that is told


def test_a_host_whose_processes_cannot_be_reached_is_left_alone_for_a_while(client, caplog):
    a, b = client.host("a", 4), client.host("b", 4)
    client.hosts.want(1, 6)
    assert (a.wanted(), b.wanted()) == ([(1, 3)], [(1, 3)])
    a.tell(*(leased(n) for n in range(FAILURES)))
    client.turn(100.0)
    fail(client, "a", range(FAILURES - 1), 100.0)
    assert a.wanted() == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    fail(client, "a", range(FAILURES - 1, FAILURES), 100.0)
    assert (a.wanted(), b.wanted()) == ([(1, 0)], [(1, 4)])  # the other one does what it can
    assert "host a can be reached, but its workers cannot: timed out" in caplog.text
    assert "firewall" in caplog.text
    assert client.hosts.coming()[1] == 4
    client.hosts.want(1, 7)
    client.turn(98.0 + BLOCKED)
    assert a.wanted() == []
    b.tell(Pong())
    a.tell(Pong())
    client.turn(100.0 + BLOCKED)
    assert a.wanted() == [(1, 4)]


def test_one_that_can_be_reached_shows_that_the_others_had_bad_luck(client):
    a = client.host("a", 4)
    client.hosts.want(1, 4)
    a.tell(*(leased(n) for n in range(4)))
    client.turn()
    fail(client, "a", range(FAILURES - 1), 100.0)
    client.hosts.reached("a.3")
    client.hosts.not_reached("a.3", TimeoutError(), 100.0)
    client.hosts.not_reached("nobody", TimeoutError(), 100.0)
    assert a.wanted() == [(1, 4)]
