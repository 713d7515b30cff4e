"""Dialogues about lost workers of whose end something is known."""

from dialogue import cancelled, delivered, done, lost, next_sent, open_job, scheduler_with, sent

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem, SendChunk, Unready
from seppo.core.events import (
    InputEnded,
    InputOffered,
    JobOpened,
    Policy,
    RestReturned,
    Verdict,
    Wakeup,
    WorkerDrains,
    WorkerJoined,
    WorkerLost,
)
from seppo.core.recovery import MISHAPS


def lose(s, worker, attempt=None, first=0, stop=None, now=1.0, how="SIGSEGV", timed_out=False):
    """Have a worker end with a verdict."""
    verdict = Verdict(how, attempt, first, first + 1 if stop is None else stop, timed_out)
    return s.handle(WorkerLost(worker, "it closed the connection", verdict), now)


def test_the_guilty_item_runs_alone_and_its_neighbours_are_sent_at_once():
    s = scheduler_with("a", "b", "c")
    open_job(s, 8, chunksize=8)
    assert lose(s, "a", 1, 3) == [
        SendChunk("b", 2, 1, 3, 4, alone=True),
        SendChunk("c", 3, 1, 0, 3),
    ]
    assert sent(done(s, 3, 3, seconds=3.0)) == [("c", 4, 8)]


def test_only_the_tries_of_the_guilty_are_counted():
    s = scheduler_with("a")
    open_job(s, 4, chunksize=4)
    attempt = 1
    for tries in (1, 2, 3):
        commands = lose(s, "a", attempt, 2, now=float(tries))
        if tries < 3:
            commands = s.handle(WorkerJoined("a"), now=float(tries))
            assert sent(commands) == [("a", 2, 3)]
            attempt = commands[0].attempt
    assert lost(commands) == []  # the head is not done yet
    first, *_ = s.handle(WorkerJoined("a"), now=4.0)
    commands = done(s, first.attempt, 2, seconds=2.0)
    assert lost(commands) == [(2, LostItem("a", "SIGSEGV", 3))]
    assert sent(commands) == [("a", 3, 4)]


def test_one_worker_that_comes_back_each_time_is_enough():
    s = scheduler_with()
    open_job(s, 20, chunksize=5)
    found, now, attempt = {}, 0.0, None
    for _ in range(100):
        now += 1.0
        commands = s.handle(WorkerJoined("a"), now)
        while True:
            for c in commands:
                if isinstance(c, Deliver):
                    found[c.index] = c
            sends = [c for c in commands if isinstance(c, SendChunk)]
            if not sends:
                break
            (send, *_) = sends
            attempt = send
            if send.start <= 7 < send.stop:
                break
            commands = done(s, send.attempt, send.stop - send.start, seconds=5.0, now=now)
        if FinishJob(1) in commands:
            break
        commands = lose(s, "a", attempt.attempt, 7, now=now)
        for c in commands:
            if isinstance(c, Deliver):
                found[c.index] = c
    assert FinishJob(1) in commands
    assert found[7].payload == LostItem("a", "SIGSEGV", 3)
    assert sum(isinstance(c.payload, LostItem) for c in found.values()) == 1


def test_items_of_a_range_run_one_by_one_and_are_not_counted():
    s = scheduler_with("a", "b")
    open_job(s, 6, chunksize=6, retries_on_loss=0)
    assert sent(lose(s, "a", 1, 1, 4)) == [("b", 1, 2)]
    assert sent(done(s, 2)) == [("b", 2, 3)]
    commands = lose(s, "b", 3, 2)  # now it is exact
    assert lost(commands) == []
    commands = s.handle(WorkerJoined("c"), now=2.0)
    assert sent(commands) == [("c", 3, 4)]
    assert sent(done(s, 4)) == [("c", 0, 1)]
    assert lost(done(s, 5)) == [(2, LostItem("b", "SIGSEGV", 1))]


def test_a_worker_lost_while_idle_blames_nobody():
    s = scheduler_with("a", "b")
    open_job(s, 1, retries_on_loss=0)
    assert lose(s, "a") == [SendChunk("b", 2, 1, 0, 1)]


def test_workers_that_are_lost_again_and_again_with_nobody_to_blame_are_not_sent_it_for_ever():
    s = scheduler_with("a")
    open_job(s, 1)
    for n in range(100):
        commands = lose(s, "a", now=float(n))
        if lost(commands):
            break
        s.handle(WorkerJoined("a"), now=float(n))
    assert lost(commands) == [(0, LostItem("a", "SIGSEGV", 3))]
    assert n == MISHAPS + 2


def lose_unready(s, worker, attempt, first=0, stop=4, now=1.0):
    verdict = Verdict("SIGSEGV", attempt, first, stop, setup="the initializer")
    return s.handle(WorkerLost(worker, "gone", verdict), now)


def failed(commands):
    return [c for c in commands if isinstance(c, FailJob)]


def test_a_job_that_ends_workers_before_any_item_runs_fails_and_blames_no_item():
    s = scheduler_with("a")
    open_job(s, 4, chunksize=4, retries_on_loss=1)
    assert failed(lose_unready(s, "a", 1)) == []
    assert sent(s.handle(WorkerJoined("b"), now=2.0)) == [("b", 0, 4)]  # nobody is suspected
    commands = lose_unready(s, "b", 2, now=3.0)
    unready = Unready("b", "the initializer", "SIGSEGV", 2)
    lines = ("a: SIGSEGV", "b: SIGSEGV")
    assert failed(commands) == [FailJob(1, 0, 4, lines, unready=unready)]
    assert lost(commands) == []
    assert s.handle(WorkerJoined("c"), now=4.0) == []


def test_where_nothing_may_begin_twice_no_item_has_begun_before_workers_are_ready():
    s = scheduler_with("a", "b")
    commands = open_job(s, 8, chunksize=4, retries_on_loss=0, duplicate=False)
    assert sent(commands) == [("a", 0, 4), ("b", 4, 8)]
    commands = lose_unready(s, "b", 2, 4, 8)
    assert lost(commands) == []
    assert len(failed(commands)) == 1


def test_workers_that_end_unready_now_and_then_harm_no_job_that_goes_on():
    s = scheduler_with("a")
    commands = open_job(s, 4, chunksize=1, retries_on_loss=1)
    for n in range(4):
        attempt = next(c.attempt for c in commands if isinstance(c, SendChunk))
        assert failed(lose_unready(s, "a", attempt, n, n + 1)) == []
        commands = s.handle(WorkerJoined("a"), now=2.0)
        attempt = next(c.attempt for c in commands if isinstance(c, SendChunk))
        finished = done(s, attempt)
        lose(s, "a", now=3.0)  # with nothing running
        commands = s.handle(WorkerJoined("a"), now=3.0)
    assert FinishJob(1) in finished


def test_an_item_over_its_time_is_not_tried_again():
    s = scheduler_with("a", "b")
    assert open_job(s, 2, chunksize=2, task_timeout=5.0) == [
        SendChunk("a", 1, 1, 0, 2, task_timeout=5.0)
    ]
    commands = lose(s, "a", 1, 0, how="over its task_timeout", timed_out=True)
    assert lost(commands) == [(0, LostItem("a", "over its task_timeout", 1, timed_out=True))]
    assert sent(commands) == [("b", 1, 2)]


def test_nothing_begins_twice_where_that_was_asked_for():
    s = scheduler_with("a", "b")
    commands = open_job(s, 6, chunksize=3, retries_on_loss=0, duplicate=False)
    assert sent(commands) == [("a", 0, 3), ("b", 3, 6)]
    commands = lose(s, "a", 1, 1)
    assert [index for index, _ in lost(commands)] == [0, 1]  # item 0 was done, but not told
    assert sent(commands) == []
    assert sent(done(s, 2, 3)) == [("b", 2, 3)]


def test_where_nothing_may_begin_twice_items_go_one_by_one():
    s = scheduler_with("a", "b")
    open_job(s, 100, retries_on_loss=0, duplicate=False)
    for attempt in range(1, 20):
        commands = done(s, attempt, seconds=1e-6)
        assert [stop - start for _, start, stop in sent(commands)] == [1]


def test_a_verdict_on_a_cancelled_attempt_harms_nobody():
    s = scheduler_with("a", "b")
    open_job(s, 1, retries_on_loss=0)
    assert lose(s, "a", 77, 0) == [SendChunk("b", 2, 1, 0, 1)]


def test_the_loss_of_a_worker_whose_item_was_copied_is_not_counted():
    s = scheduler_with("a", "b")
    open_job(s, 2, retries_on_loss=0)
    done(s, 2, seconds=0.1, now=0.1)
    s.handle(Wakeup(), now=0.2)
    s.handle(RestReturned(1, kept=1), now=1.0)
    assert next_sent(s) == [("b", 0, 1)]
    assert lose(s, "a", 1, 0, now=3.0) == []
    assert delivered(done(s, 3, now=4.0)) == [(0, 1), (1, 1)]


def test_when_a_copy_is_lost_the_original_is_enough():
    s = scheduler_with("a", "b", "c")
    open_job(s, 2)
    done(s, 2, seconds=0.1, now=0.1)
    s.handle(RestReturned(1, kept=1), now=1.0)
    assert next_sent(s) == [("b", 0, 1)]
    assert sent(lose(s, "b", 3, 0, now=3.0)) == []  # "a" still runs it
    assert delivered(done(s, 1, now=4.0)) == [(0, 1), (1, 1)]


def test_an_item_given_up_is_taken_from_everybody():
    s = scheduler_with("a", "b")
    open_job(s, 2, retries_on_loss=0)
    done(s, 2, seconds=0.1, now=0.1)
    s.handle(RestReturned(1, kept=1), now=1.0)
    assert next_sent(s) == [("b", 0, 1)]
    commands = lose(s, "b", 3, 0, now=3.0)
    assert [index for index, _ in lost(commands)] == [0]
    assert cancelled(commands) == [("a", 1)]


# --- draining


def test_a_worker_that_drains_gets_nothing_new():
    s = scheduler_with("a", "b")
    open_job(s, 6, chunksize=3)
    assert s.handle(WorkerDrains("a"), now=0.1) == []
    assert s.handle(WorkerDrains("a"), now=0.1) == []
    assert sent(s.handle(RestReturned(1, kept=1), now=0.1)) == []
    assert delivered(done(s, 1, now=0.2)) == [(0, 1)]
    assert sent(done(s, 2, 3, seconds=3.0, now=0.3)) == [("b", 1, 3)]


def test_a_job_fails_when_all_workers_have_drained_and_none_has_anything():
    s = scheduler_with("a", grace=20.0)
    s.handle(JobOpened(1, Policy()), now=0.0)
    s.handle(WorkerDrains("a"), now=5.0)
    s.handle(InputOffered(1, 1), now=6.0)
    s.handle(InputEnded(1), now=6.0)
    assert s.next_deadline() == 26.0
    assert s.handle(Wakeup(), now=26.0)[0].undone == 1


def test_a_job_waits_for_what_a_draining_worker_has_begun():
    s = scheduler_with("a", grace=20.0)
    open_job(s, 1)
    s.handle(WorkerDrains("a"), now=1.0)
    assert delivered(s.handle(Wakeup(), now=60.0)) == []
    assert done(s, 1, now=99.0)[-1] == FinishJob(1)
