"""Which processes a host runs and for whom, as dialogues: no process, no clock."""

from __future__ import annotations

import signal

import pytest

from seppo.host.births import describe_status
from seppo.host.commands import (
    DrainProcess,
    EndProcess,
    GiveUp,
    KillProcess,
    Lease,
    ReplaceHelper,
    StartSpare,
    Tell,
)
from seppo.host.events import (
    ClientCame,
    ClientLeft,
    DrainAsked,
    FinalizerBegan,
    HelperAnswered,
    HelperEnded,
    KillAsked,
    LeaseReady,
    LimitsBegan,
    LineBroken,
    MarkSeen,
    MemorySeen,
    ProcessEnded,
    SpareReady,
    StopAsked,
    Tick,
    Wanted,
)
from seppo.host.silence import DOUBT, SILENCE
from seppo.host.slot import ANSWER, ENDING, FINALIZER, LINE_GONE, OVERDUE
from seppo.host.slots import HELPER_ENDED, Slots
from seppo.host.tenants import IDLE, TELL_WAITING, Bounds
from seppo.wire.lastgasp import NOTHING, Mark
from seppo.wire.messages import Draining, Leased, Waiting, WorkerEnded

ITEM = Mark(7, 40, 41, 0.0)
MIB = 1 << 20


class Host:
    """Slots with what a supervisor would answer at once; commands are kept."""

    def __init__(self, places: int = 2, max_clients: int = 4) -> None:
        self.slots = Slots("h", Bounds(places, max_clients, 256 * MIB))
        self.now = 0.0
        self.heard: list[object] = []

    def say(self, *events: object) -> list[object]:
        """Give events, and answer those that a healthy host would answer."""
        found: list[object] = []
        pending = list(events)
        while pending:
            commands = self.slots.handle(pending.pop(0), self.now)
            found += commands
            for command in commands:
                match command:
                    case StartSpare(number=number):
                        pending += [HelperAnswered(number), SpareReady(number)]
                    case Lease(number=number):
                        pending.append(LeaseReady(number, f"at-{number}", f"token-{number}"))
                    case EndProcess(number=number):
                        pending.append(ProcessEnded(number, 0))
                    case KillProcess(number=number):
                        pending.append(ProcessEnded(number, -9))
        self.heard += found
        return found

    def come(self, *names: str) -> None:
        for name in names:
            self.say(ClientCame(name, f"{name}@m:1 script.py"))

    def held(self, client: str) -> list[int]:
        return [slot.number for slot in self.slots if slot.client == client]


def leases(commands: list[object], client: str = "a") -> list[int]:
    """Return the worlds of the processes that a client was told of."""
    return [
        c.message.world
        for c in commands
        if isinstance(c, Tell) and c.client == client and isinstance(c.message, Leased)
    ]


def messages(commands: list[object], kind: type) -> list[tuple[object, object]]:
    return [(c.client, c.message) for c in commands
            if isinstance(c, Tell) and isinstance(c.message, kind)]  # fmt: skip


@pytest.fixture
def host():
    host = Host()
    host.say(Tick())
    return host


# --- spares and leases


def test_a_spare_is_started_for_each_place():
    slots = Slots("h", Bounds(2))
    assert slots.handle(Tick(), 0.0) == [StartSpare(1), StartSpare(2)]
    assert slots.handle(Tick(), 1.0) == []
    assert slots.n_spares == 0
    slots.handle(SpareReady(1), 1.0)
    assert slots.n_spares == 1


def test_a_client_is_leased_what_it_wants_and_spares_are_replaced(host):
    host.come("a")
    commands = host.slots.handle(Wanted("a", 1, 2), 0.0)
    assert commands == [Lease(1), Lease(2), StartSpare(3), StartSpare(4)]
    assert host.slots.handle(LeaseReady(1, "PYRO:x@h:1", "secret"), 0.0) == [
        Tell("a", Leased(1, "h.1", "PYRO:x@h:1", "secret"))
    ]


def test_nobody_gets_more_than_the_places_for_a_world(host):
    host.come("a")
    assert leases(host.say(Wanted("a", 1, 99))) == [1, 1]
    assert leases(host.say(Wanted("a", 2, 1))) == [2]


def test_a_client_that_came_before_a_spare_was_ready_gets_it_then():
    slots = Slots("h", Bounds(1))
    slots.handle(Tick(), 0.0)
    slots.handle(ClientCame("a", "a"), 0.0)
    assert slots.handle(Wanted("a", 1, 1), 0.0) == []
    assert slots.handle(SpareReady(1), 0.5) == [Lease(1), StartSpare(2)]


def test_a_process_that_ends_is_replaced_unasked_and_its_client_is_told(host):
    host.come("a")
    host.say(Wanted("a", 1, 2))
    commands = host.say(ProcessEnded(1, -11, ITEM, has_worked=True))
    ended = WorkerEnded("h.1", "SIGSEGV", 7, 40, 41, False)
    assert messages(commands, WorkerEnded) == [("a", ended)]
    assert leases(commands) == [1]
    assert len(host.held("a")) == 2


def test_a_lower_target_takes_nothing_away_and_what_ends_then_is_not_replaced(host):
    host.come("a")
    host.say(Wanted("a", 1, 2))
    assert host.say(Wanted("a", 1, 1)) == []
    assert len(host.held("a")) == 2
    assert leases(host.say(ProcessEnded(1, 0))) == []  # the client gave it back


def test_a_client_that_leaves_takes_its_processes_along(host):
    host.come("a", "b")
    host.say(Wanted("a", 1, 2), Wanted("b", 1, 1))
    theirs = host.held("b")
    commands = host.slots.handle(ClientLeft("a"), 1.0)
    assert commands == [EndProcess(1), EndProcess(2)]
    assert host.slots.handle(ProcessEnded(1, 0), 1.1) == []  # nobody is there to be told
    assert host.held("b") == theirs


def test_a_process_leased_to_a_client_that_left_meanwhile_is_told_to_nobody(host):
    host.come("a")
    host.slots.handle(Wanted("a", 1, 1), 0.0)
    assert host.slots.handle(ClientLeft("a"), 0.0) == [EndProcess(1)]
    assert host.slots.handle(LeaseReady(1, "x", "y"), 0.0) == []


def test_two_clients_have_full_sets_at_once(host):
    host.come("a", "b")
    host.say(Wanted("a", 1, 2), Wanted("b", 1, 2))
    assert (len(host.held("a")), len(host.held("b"))) == (2, 2)
    assert host.slots.n_spares == 2


def test_who_holds_fewest_is_served_first():
    host = Host(places=2, max_clients=2)
    host.say(Tick())
    host.come("a", "b", "c")
    for client in "abc":
        host.say(Wanted(client, 1, 2))
    assert [len(host.held(client)) for client in "abc"] == [2, 2, 1]
    host.say(ProcessEnded(host.held("a")[0], 1, ITEM, True))
    assert [len(host.held(client)) for client in "abc"] == [1, 2, 1]  # still one too many
    host.say(ProcessEnded(host.held("b")[0], 1, ITEM, True))
    assert sum(len(host.held(client)) for client in "abc") == 4
    assert min(len(host.held(client)) for client in "abc") == 1


# --- bounds


def test_beyond_max_clients_each_gets_one_process_and_is_told_who_holds_what():
    host = Host(places=2, max_clients=1)
    host.say(Tick())
    host.come("a", "b")
    host.say(Wanted("a", 1, 2), Wanted("b", 1, 2))
    assert (len(host.held("a")), len(host.held("b"))) == (2, 1)
    assert host.slots.next_deadline() == TELL_WAITING
    host.now = TELL_WAITING
    reason = "all processes are taken on h: a@m:1 script.py holds 2"
    assert host.say(Tick()) == [Tell("b", Waiting(reason))]
    assert host.slots.next_deadline() == float("inf")
    host.now += 100
    assert host.say(Tick()) == []  # once is enough
    assert leases(host.say(ClientLeft("a")), "b") == [1]


def test_the_process_idle_longest_makes_room():
    host = Host(places=1, max_clients=2)
    host.say(Tick())
    host.come("a", "b", "c")
    host.say(Wanted("a", 1, 1), Wanted("b", 1, 1))
    host.now = 1.0
    host.say(Wanted("b", 1, 0))
    host.now = 2.0
    host.say(Wanted("a", 1, 0))
    commands = host.say(Wanted("c", 1, 1))
    ended = WorkerEnded("h.2", IDLE, 0, 0, 0, False)
    assert messages(commands, WorkerEnded) == [("b", ended)]
    assert [len(host.held(client)) for client in "abc"] == [1, 0, 1]
    host.say(Wanted("b", 1, 1))  # it comes back, and now a's makes room
    assert [len(host.held(client)) for client in "abc"] == [0, 1, 1]


def test_a_world_that_wants_none_is_idle_though_its_client_is_not():
    host = Host(places=2, max_clients=1)
    host.say(Tick())
    host.come("a")
    host.say(Wanted("a", 1, 2), Wanted("a", 1, 0))
    commands = host.say(Wanted("a", 2, 2))
    assert leases(commands) == [2, 2]
    assert len(messages(commands, WorkerEnded)) == 2


def test_a_second_world_of_a_client_gets_a_process_though_the_first_has_taken_all():
    host = Host(places=2, max_clients=1)
    host.say(Tick())
    host.come("a")
    host.say(Wanted("a", 1, 2), Wanted("a", 2, 2))
    assert [slot.world for slot in host.slots if slot.client == "a"] == [1, 1, 2]


def test_nothing_is_ended_for_idleness_while_there_is_room(host):
    host.come("a", "b")
    host.say(Wanted("a", 1, 2), Wanted("a", 1, 0))
    host.say(Wanted("b", 1, 2))
    assert (len(host.held("a")), len(host.held("b"))) == (2, 2)


def test_while_memory_is_short_every_client_gets_one(host):
    host.come("a", "b")
    host.say(MemorySeen(100 * MIB), Wanted("a", 1, 2), Wanted("b", 1, 2))
    assert (len(host.held("a")), len(host.held("b"))) == (1, 1)
    host.now = 3.0
    commands = host.say(Tick())
    assert ("a", Waiting("memory is short on h: b@m:1 script.py holds 1")) in messages(
        commands, Waiting
    )
    host.say(MemorySeen(8000 * MIB))
    assert (len(host.held("a")), len(host.held("b"))) == (2, 2)


def test_what_was_just_leased_counts_as_memory_taken(host):
    host.come("a")
    host.say(MemorySeen(257 * MIB), Wanted("a", 1, 2))
    assert len(host.held("a")) == 1


def test_when_memory_is_short_idle_processes_end_one_by_one(host):
    host.come("a", "b")
    host.say(Wanted("a", 1, 2), Wanted("a", 1, 0))
    assert host.say(MemorySeen(10 * MIB)) == []  # nobody needs it
    host.say(Wanted("b", 1, 1))
    assert len(host.held("a")) == 2
    host.say(MemorySeen(10 * MIB))
    assert len(host.held("a")) == 1
    host.say(MemorySeen(10 * MIB))
    assert len(host.held("a")) == 0
    assert len(host.held("b")) == 1


def test_where_nobody_tells_of_memory_there_is_enough(host):
    host.come("a")
    host.say(MemorySeen(None), Wanted("a", 1, 2))
    assert len(host.held("a")) == 2


# --- ends


def test_a_process_that_does_not_end_is_killed():
    slots = Slots("h", Bounds(1))
    slots.handle(Tick(), 0.0)
    slots.handle(SpareReady(1), 0.0)
    slots.handle(ClientCame("a", "a"), 0.0)
    slots.handle(Wanted("a", 1, 1), 0.0)
    slots.handle(LeaseReady(1, "x", "y"), 0.0)
    assert slots.handle(ClientLeft("a"), 10.0) == [EndProcess(1)]
    assert slots.next_deadline() == 10.0 + ENDING
    assert slots.handle(Tick(), 10.0 + ENDING) == [KillProcess(1, "it did not answer in time")]
    assert slots.handle(Tick(), 10.1 + ENDING) == []


@pytest.mark.parametrize("before", [True, False])
def test_a_finalizer_gets_its_time(host, before):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    if before:
        host.slots.handle(FinalizerBegan(1), 10.0)
    host.slots.handle(ClientLeft("a"), 10.0)
    if not before:
        host.slots.handle(FinalizerBegan(1), 10.0)
    assert host.slots.handle(Tick(), 9.9 + FINALIZER) == []
    assert host.slots.handle(Tick(), 10.0 + FINALIZER) == [
        KillProcess(1, "it did not answer in time")
    ]


def test_a_spare_that_does_not_answer_to_its_lease_is_killed_and_replaced(host):
    host.come("a")
    host.slots.handle(Wanted("a", 1, 1), 0.0)
    host.now = ANSWER
    commands = host.say(Tick())
    assert isinstance(commands[0], KillProcess)
    assert leases(commands) == [1]


def test_a_process_that_writes_rubbish_is_killed_and_replaced(host):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    commands = host.say(LineBroken(1, "it wrote invalid data to its control line"))
    how = "SIGKILL (it wrote invalid data to its control line)"
    assert messages(commands, WorkerEnded) == [("a", WorkerEnded("h.1", how, 0, 0, 0, False))]
    assert leases(commands) == [1]


def test_a_process_that_closes_its_line_is_replaced_at_once_and_killed_if_it_stays(host):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    assert leases(host.say(LineBroken(1))) == [1]
    assert host.slots.next_deadline() == LINE_GONE
    host.now = LINE_GONE
    assert isinstance(host.say(Tick())[0], KillProcess)


def test_an_item_far_over_its_time_is_killed_and_told_as_such(host):
    host.come("a")
    host.say(Wanted("a", 1, 1), LimitsBegan(1))
    assert host.slots.watched(1.0) == [1]
    late = Mark(7, 40, 41, 3.0)
    assert host.slots.handle(MarkSeen(1, late), 3.0 + OVERDUE) == []
    (command,) = host.slots.handle(MarkSeen(1, late), 3.1 + OVERDUE)
    assert command == KillProcess(1, "an item exceeded its task_timeout")
    commands = host.say(ProcessEnded(1, -9, late, True))
    how = "SIGKILL (an item exceeded its task_timeout)"
    assert messages(commands, WorkerEnded) == [("a", WorkerEnded("h.1", how, 7, 40, 41, True))]


def test_nobody_is_watched_for_long_without_limits(host):
    host.say(LimitsBegan(1))
    assert host.slots.watched(100.0) == []


@pytest.mark.parametrize(
    ("asked", "is_killed"),
    [
        (KillAsked("a", "h.1", 7, False, ITEM, False, False), True),
        (KillAsked("a", "h.1", 8, False, ITEM, False, False), False),  # it runs another one
        (KillAsked("a", "h.1", 0, False, NOTHING, False, False), False),
        (KillAsked("b", "h.1", 7, False, ITEM, False, False), False),  # it is not b's
        (KillAsked("a", "h.9", 7, False, ITEM, False, False), False),
        (KillAsked("a", "h.3", 7, False, ITEM, False, False), False),  # a spare
        (KillAsked("a", "h.1", 7, True, ITEM, False, False), False),  # merely busy
        (KillAsked("a", "h.1", 7, True, ITEM, False, True), True),
        (KillAsked("a", "h.1", 8, True, NOTHING, False, True), False),  # merely idle
        (KillAsked("a", "h.1", 8, True, NOTHING, True, True), True),
    ],
)
def test_a_client_kills_only_what_is_its_own_and_runs(host, asked, is_killed):
    host.come("a", "b")
    host.say(Wanted("a", 1, 1))
    killed = [KillProcess(1, "its client asked for it")] if is_killed else []
    assert host.slots.handle(asked, 1.0) == killed


def test_want_of_memory_is_told_as_such(host):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    commands = host.say(ProcessEnded(1, -9, ITEM, True, out_of_memory=True))
    ((_, ended),) = messages(commands, WorkerEnded)
    assert ended.how == "out of memory (SIGKILL)"


def test_last_words_of_a_process_that_has_ended_are_ignored(host):
    host.say(ProcessEnded(1, 1))
    for event in (SpareReady(1), LeaseReady(1, "x", "y"), LineBroken(1), MarkSeen(1, ITEM)):
        assert host.say(event) == []


# --- restarts


def test_spares_that_die_again_and_again_are_started_ever_more_slowly(host):
    pauses = []
    for _ in range(5):
        spare = next(slot.number for slot in host.slots)
        host.say(ProcessEnded(spare, 1))
        due = host.slots.next_deadline()
        pauses.append(round(due - host.now, 3) if due < float("inf") else 0)
        host.now += pauses[-1]
        host.say(Tick())
        assert host.slots.n_spares == 2
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8]


def test_processes_that_die_of_items_are_replaced_at_once(host):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    for _ in range(20):
        (number,) = host.held("a")
        assert leases(host.say(ProcessEnded(number, -11, ITEM, has_worked=True))) == [1]


def test_processes_that_their_client_gives_back_unused_are_no_sign_of_trouble(host):
    for _ in range(20):
        host.come("a")
        host.say(Wanted("a", 1, 2))
        host.say(*(ProcessEnded(number, 0) for number in host.held("a")))
        host.say(ClientLeft("a"))
    assert host.slots.n_spares == 2
    assert not [c for c in host.heard if isinstance(c, GiveUp)]


def test_when_no_process_ever_gets_ready_it_gives_up():
    slots = Slots("h", Bounds(1))
    slots.handle(Tick(), 0.0)
    now = 0.0
    for number in range(1, 6):
        commands = slots.handle(ProcessEnded(number, 7), now)
        now += 20.0
        slots.handle(Tick(), now)
    (reason,) = [c.reason for c in commands if isinstance(c, GiveUp)]
    assert "died before they were ready" in reason
    assert "exit code 7" in reason


# --- draining and stopping


def given_up(commands: list[object]) -> bool:
    return any(isinstance(c, GiveUp) for c in commands)


def test_a_helper_that_does_not_start_a_process_any_more_is_replaced(host):
    host.slots.handle(ProcessEnded(1, 0), 0.0)  # its successor is asked for, and does not come
    assert host.slots.next_deadline() == SILENCE
    assert not given_up(host.slots.handle(Tick(), SILENCE))  # we may have been stopped, too
    assert host.slots.next_deadline() == SILENCE + DOUBT
    assert not given_up(host.slots.handle(Tick(), SILENCE + DOUBT / 2))
    assert host.slots.handle(Tick(), SILENCE + DOUBT) == [ReplaceHelper()]
    assert not given_up(host.slots.handle(Tick(), SILENCE + 1.5 * DOUBT))
    assert given_up(host.slots.handle(Tick(), SILENCE + 2 * DOUBT))  # nobody replaces it


def test_when_the_helper_has_ended_all_is_started_again_and_nobody_is_blamed(host):
    host.come("a", "b")
    host.say(Wanted("a", 1, 1))
    assert host.held("a") == [1]
    commands = host.slots.handle(HelperEnded(), 1.0)
    ended = WorkerEnded("h.1", HELPER_ENDED, 0, 0, 0, False)
    assert messages(commands, WorkerEnded) == [("a", ended)]
    assert [c for c in commands if isinstance(c, StartSpare)] == [StartSpare(4), StartSpare(5)]
    assert not [c for c in commands if isinstance(c, Lease)]  # those that are there end
    for number in (1, 2, 3):
        assert host.slots.handle(ProcessEnded(number, -9, ITEM), 1.0) == []
    assert host.say(SpareReady(4), SpareReady(5))[0] == Lease(4)
    assert host.held("a") == [4]


def test_a_helper_that_was_replaced_is_not_doubted_any_more(host):
    host.slots.handle(ProcessEnded(1, 0), 0.0)
    for now in (SILENCE, SILENCE + DOUBT):
        commands = host.slots.handle(Tick(), now)
    assert commands == [ReplaceHelper()]
    commands = host.slots.handle(HelperEnded(), now)
    for number in (2, 3):
        commands += host.slots.handle(ProcessEnded(number, -9), now)
    for command in commands:
        host.slots.handle(HelperAnswered(command.number), now)
    assert host.slots.next_deadline() == float("inf")


def test_a_helper_that_answers_late_is_not_doubted_any_more(host):
    (start,) = host.slots.handle(ProcessEnded(1, 0), 0.0)
    assert not given_up(host.slots.handle(Tick(), SILENCE))
    host.slots.handle(HelperAnswered(start.number), SILENCE + 1)
    assert not given_up(host.slots.handle(Tick(), SILENCE + DOUBT))
    assert host.slots.next_deadline() == float("inf")


def test_a_helper_that_does_not_kill_any_more_is_replaced(host):
    host.slots.handle(DrainAsked(), 0.0)
    for now in (ENDING, 2 * ENDING, SILENCE + ENDING):
        assert not given_up(host.slots.handle(Tick(), now))
    assert ReplaceHelper() in host.slots.handle(Tick(), SILENCE + ENDING + DOUBT)


def test_a_process_that_cannot_be_killed_is_not_the_helpers_fault(host):
    host.slots.handle(DrainAsked(), 0.0)
    for number in (1, 2):
        host.slots.handle(HelperAnswered(number), ENDING)
    for now in (SILENCE, SILENCE + DOUBT, 10 * SILENCE):
        commands = host.slots.handle(Tick(), now)
        assert not given_up(commands)
        for command in commands:
            host.slots.handle(HelperAnswered(command.number), now)


def test_preloading_may_take_as_long_as_it_likes():
    slots = Slots("h", Bounds(2))
    slots.handle(Tick(), 0.0)
    for now in (SILENCE, SILENCE + DOUBT, 10 * SILENCE):
        assert not given_up(slots.handle(Tick(), now))


def test_draining_ends_spares_and_lets_items_finish(host):
    host.come("a")
    host.say(Wanted("a", 1, 2), ProcessEnded(2, 0), Wanted("a", 1, 1))
    commands = host.slots.handle(DrainAsked(), 1.0)
    assert commands[0] == Tell("a", Draining())
    assert DrainProcess(1) in commands
    assert {c.number for c in commands if isinstance(c, EndProcess)} == {
        slot.number for slot in host.slots if slot.client is None or slot.number != 1
    }
    for slot in list(host.slots):
        assert not host.slots.is_over
        assert not [c for c in host.slots.handle(ProcessEnded(slot.number, 0), 2.0)
                    if isinstance(c, StartSpare)]  # fmt: skip
    assert host.slots.is_over
    assert host.slots.handle(DrainAsked(), 3.0) == []


def test_a_host_that_drains_leases_nothing(host):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    host.say(DrainAsked())
    assert host.say(Wanted("a", 1, 2)) == []
    host.come("b")
    assert host.say(Wanted("b", 1, 2)) == []


def test_stopping_ends_all_and_blames_nobody(host):
    host.come("a")
    host.say(Wanted("a", 1, 1))
    commands = host.slots.handle(StopAsked(), 1.0)
    ended = WorkerEnded("h.1", "its supervisor was stopped", 0, 0, 0, False)
    assert messages(commands, WorkerEnded) == [("a", ended)]
    numbers = {slot.number for slot in host.slots}
    assert {c.number for c in commands if isinstance(c, EndProcess)} == numbers
    for number in numbers:
        assert host.slots.handle(ProcessEnded(number, 0, ITEM, True), 1.1) == []
    assert host.slots.is_over


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-signal.SIGSEGV, "SIGSEGV"), (-99, "signal 99")],
)
def test_ends_are_told_in_words(status, words):
    assert describe_status(status) == words
