"""Dialogues about jobs that run out of workers or of time."""

import pytest
from dialogue import cancelled, delivered, done, lost, open_job, scheduler_with, sent

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem, RunHere
from seppo.core.events import (
    InputOffered,
    Verdict,
    Wakeup,
    WorkerJoined,
    WorkerLost,
    WorkersJoining,
)


def test_a_job_fails_when_its_time_is_up_and_its_workers_are_free():
    s = scheduler_with("a", "b")
    open_job(s, 9, chunksize=3, timeout=5.0)
    done(s, 1, 3, seconds=3.0, now=3.0)
    assert s.handle(Wakeup(), now=4.9) == []
    commands = s.handle(Wakeup(), now=5.0)
    assert FailJob(1, delivered=3, undone=6, losses=(), timed_out=True) in commands
    assert len(cancelled(commands)) == 2
    assert len(sent(open_job(s, 2, job=2, now=5.0))) == 2


def test_the_time_of_a_job_is_a_deadline():
    s = scheduler_with("a")
    open_job(s, 1, timeout=1.5)
    assert s.next_deadline() == 1.5


def test_a_job_that_is_done_in_time_is_done():
    s = scheduler_with("a")
    open_job(s, 1, timeout=5.0)
    assert done(s, 1, now=4.0)[-1] == FinishJob(1)
    assert s.handle(Wakeup(), now=6.0) == []


def test_a_job_without_workers_has_no_more_time_than_others():
    s = scheduler_with(grace=20.0)
    open_job(s, 1, timeout=5.0)
    assert s.handle(Wakeup(), now=5.0)[0].timed_out


def test_workers_that_are_joining_are_waited_for():
    s = scheduler_with(grace=0.0)
    s.handle(WorkersJoining(2), now=1.0)
    assert open_job(s, 4, now=1.0) == []
    s.handle(WorkersJoining(1), now=1.5)
    assert s.handle(Wakeup(), now=90.0) == []
    assert sent(s.handle(WorkerJoined("a"), now=91.0))
    s.handle(WorkersJoining(0), now=91.0)
    assert isinstance(s.handle(WorkerLost("a", "gone"), now=92.0)[0], FailJob)


def test_the_grace_begins_when_no_worker_is_expected_any_more():
    s = scheduler_with(grace=5.0)
    s.handle(WorkersJoining(1), now=1.0)
    open_job(s, 4, now=1.0)
    assert s.handle(WorkersJoining(0), now=30.0) == []
    assert s.next_deadline() == 35.0
    assert s.handle(Wakeup(), now=34.0) == []
    assert isinstance(s.handle(Wakeup(), now=35.0)[0], FailJob)


# --- what is left to the caller


def strand(s, *workers, now=1.0):
    for worker in workers:
        s.handle(WorkerLost(worker, "gone"), now)
    return s.handle(Wakeup(), now + s.grace)


def grace_of(scheduler):
    scheduler.grace = 20.0
    return scheduler


def test_what_never_began_is_left_to_the_caller_and_suspects_are_given_up():
    s = grace_of(scheduler_with("a", "b"))
    open_job(s, 10, chunksize=2, finishes_here=True)
    assert delivered(done(s, 2, 2, seconds=2.0, now=0.5)) == []  # the head is not done
    commands = strand(s, "a", "b")
    losses = ("a: gone", "b: gone")
    assert commands == [
        Deliver(1, 0, 1, LostItem("b", "gone", 1)),
        Deliver(1, 1, 1, LostItem("b", "gone", 1)),
        Deliver(1, 2, 2, "r"),
        Deliver(1, 4, 1, LostItem("b", "gone", 1)),
        Deliver(1, 5, 1, LostItem("b", "gone", 1)),
        Deliver(1, 6, 4, RunHere(losses)),
        FinishJob(1),
    ]


def test_with_verdicts_only_what_ran_is_given_up():
    s = grace_of(scheduler_with("a"))
    open_job(s, 4, chunksize=4, finishes_here=True)
    s.handle(WorkerLost("a", "x", Verdict("SIGKILL", 1, 1, 2)), now=1.0)
    commands = s.handle(Wakeup(), now=21.0)
    assert [index for index, _ in lost(commands)] == [1]
    here = [c for c in commands if isinstance(c, Deliver) and isinstance(c.payload, RunHere)]
    assert delivered(here) == [(0, 1), (2, 2)]
    assert commands[-1] == FinishJob(1)


def test_items_that_come_later_are_left_to_the_caller_too():
    s = grace_of(scheduler_with("a"))
    open_job(s, 2, finishes_here=True, ended=False)
    strand(s, "a")
    assert s.handle(InputOffered(1, 3), now=30.0) == [Deliver(1, 2, 3, RunHere(("a: gone",)))]
    assert s.handle(WorkerJoined("b"), now=31.0) == []
    assert s.handle(InputOffered(1, 1, last=True), now=32.0) == [
        Deliver(1, 5, 1, RunHere(("a: gone",))),
        FinishJob(1),
    ]


@pytest.mark.parametrize("n_guilty", [1, 2])
def test_a_function_that_kills_workers_whatever_it_gets_is_not_run_by_the_caller(n_guilty):
    s = grace_of(scheduler_with("a"))
    open_job(s, 10, chunksize=1, finishes_here=True, retries_on_loss=1)
    now = 1.0
    for _ in range(2 * n_guilty):
        attempt = s._workers["a"].first
        verdict = Verdict("SIGSEGV", attempt.number, attempt.position, attempt.position + 1)
        s.handle(WorkerLost("a", "x", verdict), now)
        s.handle(WorkerJoined("a"), now)
    commands = strand(s, "a", now=now)
    assert isinstance(commands[0], FailJob) == (n_guilty == 2)
