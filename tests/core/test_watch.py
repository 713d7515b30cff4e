"""Dialogues about workers that are silent, and items that take much longer than others."""

from itertools import pairwise

import pytest
from dialogue import (
    cancelled,
    commands_of,
    delivered,
    done,
    killed,
    open_job,
    recalled,
    scheduler_with,
    sent,
    wait,
)

from seppo.core.commands import Deliver, FinishJob, SendChunk
from seppo.core.events import JobClosed, RestReturned, Verdict, Wakeup, WorkerJoined, WorkerLost
from seppo.core.recovery import KILL_SECONDS, OVERDUE_SECONDS, PROBE_SECONDS

SILENT = PROBE_SECONDS + OVERDUE_SECONDS  # seconds after the last sign


# --- silence


def frozen_a(n_items=4, **policy):
    """Workers "a" and "b" have two items each; "b" has done its own, "a" says nothing."""
    s = scheduler_with("a", "b")
    open_job(s, n_items, chunksize=2, **policy)
    assert delivered(done(s, 2, 2, seconds=0.2, now=0.2)) == []
    return s


def test_a_silent_worker_is_asked_and_then_its_items_go_elsewhere():
    s = frozen_a()
    said = wait(s, 0.2, SILENT + 0.5)
    assert sent(commands_of(said)) == [("b", 0, 2)]


def test_the_first_answer_wins_and_the_other_attempt_is_cancelled():
    s = frozen_a()
    wait(s, 0.2, 5.0)
    commands = done(s, 3, 2, payload="xy", now=5.0)
    assert commands[:2] == [Deliver(1, 0, 2, "xy"), Deliver(1, 2, 2, "r")]
    assert cancelled(commands) == [("a", 1)]
    assert FinishJob(1) in commands
    assert done(s, 1, 2, payload="late", now=11.0) == []


class Counted(dict):
    """Counts how often all values are looked at."""

    n_looks = 0

    def values(self):
        self.n_looks += 1
        return super().values()


def test_while_a_worker_is_silent_results_are_not_compared_with_all_that_runs():
    s = scheduler_with("a", "b", "c")
    open_job(s, 100, chunksize=1)
    for now in (1.0, 2.0, 3.0, 4.0, 4.5):
        for worker in ("b", "c"):
            done(s, s._workers[worker].first.number, seconds=1.0, now=now)
        s.handle(Wakeup(), now=now)
    assert s._workers["a"].is_silent
    attempts = s._jobs[1].attempts = Counted(s._jobs[1].attempts)
    assert done(s, s._workers["b"].first.number, seconds=1.0, now=5.0) != []
    assert attempts.n_looks == 0


def test_a_worker_that_thaws_may_win():
    s = frozen_a()
    wait(s, 0.2, 10.0)
    commands = done(s, 1, 2, payload="xy", now=10.0)
    assert delivered(commands) == [(0, 2), (2, 2)]
    assert cancelled(commands) == [("b", 3)]


def test_a_worker_that_thaws_keeps_what_nobody_has_taken():
    s = scheduler_with("a")
    open_job(s, 4, chunksize=4)
    wait(s, 0.0, 10.0)  # there is nobody else
    assert done(s, 1, 1, now=11.0) != []
    assert sent(s.handle(RestReturned(1, kept=2), now=11.0)) == []
    assert delivered(done(s, 1, 1, now=12.0)) == [(1, 1)]
    assert [a.is_shadow for a in s._attempts.values()] == [False]


def test_a_silent_worker_gets_nothing_new_until_it_shows_a_sign():
    s = frozen_a(ended=False)
    wait(s, 0.2, 10.0)
    done(s, 3, 2, seconds=0.2, now=10.0)  # "a" has nothing left that is wanted
    assert sent(open_job(s, 4, job=2, now=10.5, chunksize=2, max_workers=1)) == [("b", 0, 2)]
    assert sent(open_job(s, 2, job=3, now=10.5, chunksize=2)) == []
    assert sent(s.handle(RestReturned(1, kept=1), now=11.0)) == [("a", 0, 2)]  # an echo


def test_a_silent_worker_does_not_count_against_max_workers():
    s = scheduler_with("a", "b")
    assert sent(open_job(s, 1, max_workers=1)) == [("a", 0, 1)]
    assert sent(commands_of(wait(s, 0.0, 10.0))) == [("b", 0, 1)]


def test_a_worker_inside_a_long_item_answers_and_is_left_alone():
    s = scheduler_with("a")
    open_job(s, 1)
    now, asked = 0.0, 0
    while now < 100.0:
        now = s.next_deadline()
        commands = s.handle(Wakeup(), now)
        assert sent(commands) == []
        for _ in recalled(commands):
            asked += 1
            assert s.handle(RestReturned(1, kept=1), now + 0.3) == []
    assert 5 < asked < 25
    assert done(s, 1, now=101.0)[-1] == FinishJob(1)


def test_what_is_silent_is_handed_out_only_when_nothing_else_is_left():
    s = scheduler_with("a", "b")
    open_job(s, 6, chunksize=2)
    wait(s, 0.0, 10.0)  # both are silent
    assert sent(s.handle(WorkerJoined("c"), now=10.0)) == [("c", 4, 6)]
    assert sent(done(s, 3, 2, seconds=2.0, now=11.0)) == [("c", 0, 2)]


def test_an_item_that_freezes_its_workers_does_not_take_all_of_them():
    s = scheduler_with(*"abcdefgh")
    open_job(s, 1)
    said = wait(s, 0.0, 15.0)
    assert len(sent(commands_of(said))) == 3
    said = wait(s, 15.0, 40.0)
    assert sent(commands_of(said)) == []
    assert killed(commands_of(said)) == [("d", 4)]
    verdict = Verdict("SIGKILL", 4, 0, 1)
    commands = s.handle(WorkerLost("d", "killed", verdict), now=60.0)
    assert sent(commands) == [("e", 0, 1)]
    assert commands[0].alone


def test_without_copies_an_item_moves_only_after_the_loss_of_its_worker():
    s = frozen_a(duplicate=False)
    said = wait(s, 0.2, 30.0)
    assert sent(commands_of(said)) == []
    ((when, _),) = [(now, c) for now, c in said if killed([c])]
    assert KILL_SECONDS <= when <= KILL_SECONDS + SILENT
    verdict = Verdict("SIGKILL", 1, 0, 1)
    commands = s.handle(WorkerLost("a", "killed", verdict), now=30.0)
    assert sent(commands) == [("b", 0, 1)]
    assert sent(done(s, 3, now=31.0)) == [("b", 1, 2)]


def test_the_end_of_a_silent_worker_is_asked_for_again_but_more_and_more_rarely():
    s = frozen_a(duplicate=False)
    said = wait(s, 0.2, 400.0)
    times = [now for now, c in said if killed([c])]
    assert len(times) == 5
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == sorted(gaps)


def test_nobody_is_taken_for_silent_by_a_client_that_has_stood_still():
    s = frozen_a()
    assert s._workers["a"].asked_at is not None
    assert s.handle(Wakeup(), now=500.0) == []  # the lid was closed: first read what came
    assert delivered(done(s, 1, 2, now=500.0)) == [(0, 2), (2, 2)]


def test_an_answer_to_a_question_about_a_cancelled_attempt_is_not_waited_for():
    s = frozen_a()
    assert s._workers["a"].asked_at is not None
    s.handle(JobClosed(1), now=1.0)
    assert len(sent(open_job(s, 4, job=2, now=1.0, chunksize=2))) == 2
    wait(s, 1.0, 4.0)
    assert not any(worker.is_silent for worker in s._workers.values())


def test_a_worker_that_gets_work_while_another_is_waited_for_is_looked_after_too():
    s = frozen_a(duplicate=False)
    wait(s, 0.2, 5.0)  # nobody looks at "a" before it is time to ask for its end
    assert s._workers["a"].is_silent
    assert sent(open_job(s, 1, job=2, now=5.0)) == [("b", 0, 1)]
    assert recalled(commands_of(wait(s, 5.0, 5.0 + 2 * PROBE_SECONDS))) == [("b", 3)]


def test_a_worker_that_gets_work_at_a_wakeup_is_looked_after_too():
    s = scheduler_with("a")
    open_job(s, 1)
    s.handle(RestReturned(1, kept=0), now=1.0)  # another client's item takes long
    now = s.next_deadline()
    assert sent(s.handle(Wakeup(), now)) == [("a", 0, 1)]
    assert recalled(commands_of(wait(s, now, now + PROBE_SECONDS))) == [("a", 2)]


def test_what_a_silent_worker_had_goes_to_whoever_was_heard_last():
    s = scheduler_with("a", "b", "c")
    open_job(s, 3, chunksize=1)
    done(s, 2, now=0.1)
    done(s, 3, now=0.2)
    assert sent(commands_of(wait(s, 0.2, 5.0))) == [("c", 0, 1)]  # "b" may be frozen as well


def test_another_job_with_endless_work_does_not_keep_silent_items_from_moving():
    s = scheduler_with("a", "b")
    assert sent(open_job(s, 1)) == [("a", 0, 1)]
    open_job(s, 10_000, job=2, chunksize=1)
    attempt, moved = 2, False
    for tick in range(1, 100):
        now = tick * 0.1
        commands = commands_of(wait(s, now - 0.1, now))
        commands += done(s, attempt, seconds=0.1, now=now)
        for c in commands:
            if isinstance(c, SendChunk):
                attempt = c.attempt
                moved = moved or c.job == 1
    assert moved


# --- stragglers


def straggler(**policy):
    """ "a" is inside a long item, and says so; "b" and "c" are idle, nothing waits."""
    s = scheduler_with("a", "b", "c")
    open_job(s, 3, **policy)
    done(s, 2, seconds=0.1, now=0.1)
    done(s, 3, seconds=0.1, now=0.1)
    s.handle(RestReturned(1, kept=1), now=1.0)
    return s


def test_a_straggler_is_copied_once():
    s = straggler()
    said = [(now, c) for now, c in wait(s, 1.0, 3.5) if isinstance(c, SendChunk)]
    ((when, send),) = said
    assert (send.worker, send.start, send.stop) == ("b", 0, 1)
    assert 2.0 <= when < 2.5


@pytest.mark.parametrize("first", [1, 4])
def test_the_quicker_of_two_wins(first):
    s = straggler()
    for _ in range(5):
        wait(s, 1.0, 2.5)
    commands = done(s, first, payload="x", now=3.0)
    assert commands[0] == Deliver(1, 0, 1, "x")
    assert cancelled(commands) == [("b", 4) if first == 1 else ("a", 1)]
    assert done(s, 5 - first, payload="late", now=3.1) == []


def test_without_copies_a_straggler_stays_where_it_is():
    s = straggler(duplicate=False)
    now = 1.0
    while now < 30.0:
        now = s.next_deadline()
        commands = s.handle(Wakeup(), now)
        assert sent(commands) == []
        if recalled(commands):
            s.handle(RestReturned(1, kept=1), now)


def test_a_straggler_is_measured_by_its_like():
    s = scheduler_with("a", "b", "c")
    open_job(s, 3)
    done(s, 2, seconds=4.0, now=4.0)
    done(s, 3, seconds=4.0, now=4.0)
    s.handle(RestReturned(1, kept=1), now=4.0)
    commands = []
    while not sent(commands):
        now = s.next_deadline()
        commands = s.handle(Wakeup(), now)
        if recalled(commands):
            s.handle(RestReturned(1, kept=1), now)
    assert 12.0 <= now < 13.0


def test_nothing_is_copied_while_nobody_knows_what_an_item_takes():
    s = scheduler_with("a", "b")
    open_job(s, 1)
    s.handle(RestReturned(1, kept=1), now=1.0)
    s.handle(Wakeup(), now=2.9)
    s.handle(RestReturned(1, kept=1), now=2.95)
    assert sent(s.handle(Wakeup(), now=4.0)) == []


def test_nothing_is_copied_while_other_items_wait():
    s = scheduler_with("a", "b")
    open_job(s, 1000, chunksize=1)
    attempt = 2
    for tick in range(1, 60):
        now = tick * 0.5
        commands = done(s, attempt, seconds=0.5, now=now)
        assert sent(commands) == [("b", tick + 1, tick + 2)]
        attempt = commands[-1].attempt
        s.handle(RestReturned(1, kept=1), now)
        assert sent(s.handle(Wakeup(), now)) == []


def test_a_suspect_is_not_copied():
    s = scheduler_with("a", "b", "c")
    open_job(s, 2)
    done(s, 2, seconds=0.1, now=0.1)
    commands = s.handle(WorkerLost("a", "x", Verdict("SIGSEGV", 1, 0, 1)), now=0.2)
    attempt = commands[0].attempt
    s.handle(RestReturned(attempt, kept=1), now=1.2)
    for now in (2.5, 3.0, 3.5):
        assert sent(s.handle(Wakeup(), now)) == []
        s.handle(RestReturned(attempt, kept=1), now)
