"""Dialogues with the scheduler: what happened, when, and what it answers."""

from itertools import pairwise

import pytest
from dialogue import delivered, done, open_job, recalled, scheduler_with, sent

from seppo.core.commands import (
    CancelAttempt,
    Deliver,
    FailJob,
    FinishJob,
    LostItem,
    RecallChunk,
    SendChunk,
)
from seppo.core.events import (
    ChunkSent,
    InputEnded,
    InputOffered,
    JobClosed,
    JobOpened,
    Policy,
    RestReturned,
    ResultsTaken,
    Wakeup,
    WorkerJoined,
    WorkerLost,
)
from seppo.core.recall import RECALL_PAUSE
from seppo.core.recovery import PROBE_SECONDS
from seppo.core.scheduler import Scheduler

# --- the way of an item


def test_items_are_sent_delivered_and_the_job_is_finished():
    s = scheduler_with("a")
    assert open_job(s, 2) == [SendChunk("a", attempt=1, job=1, start=0, stop=1)]
    assert done(s, 1, seconds=1.0, payload="x") == [
        Deliver(1, index=0, count=1, payload="x"),
        SendChunk("a", attempt=2, job=1, start=1, stop=2),
    ]
    assert done(s, 2, seconds=1.0, payload="y") == [
        Deliver(1, index=1, count=1, payload="y"),
        FinishJob(1),
    ]


def test_a_job_without_items_is_finished_at_once():
    assert open_job(Scheduler(), 0) == [FinishJob(1)]


def test_items_wait_for_the_first_worker():
    s = Scheduler()
    assert open_job(s, 2) == []
    assert s.handle(WorkerJoined("a"), now=1.0) == [SendChunk("a", 1, 1, 0, 1)]
    assert s.handle(WorkerJoined("a"), now=1.0) == []  # it is known already
    assert s.handle(WorkerJoined("b"), now=1.0) == [SendChunk("b", 2, 1, 1, 2)]


def test_results_are_delivered_in_order():
    s = scheduler_with("a", "b")
    open_job(s, 2)
    assert done(s, 2, payload="y") == []
    assert done(s, 1, payload="x") == [Deliver(1, 0, 1, "x"), Deliver(1, 1, 1, "y"), FinishJob(1)]


def test_unordered_results_are_delivered_as_they_come():
    s = scheduler_with("a", "b")
    open_job(s, 2, ordered=False)
    assert done(s, 2, payload="y") == [Deliver(1, 1, 1, "y")]
    assert done(s, 1, payload="x") == [Deliver(1, 0, 1, "x"), FinishJob(1)]


def test_items_that_arrive_one_by_one_are_sent_at_once():
    s = scheduler_with("a", "b")
    assert open_job(s, 0, ended=False) == []
    assert sent(s.handle(InputOffered(1, 1), now=0.0)) == [("a", 0, 1)]
    assert sent(s.handle(InputOffered(1, 1), now=0.0)) == [("b", 1, 2)]
    assert delivered(done(s, 2, seconds=0.5)) == []
    assert sent(s.handle(InputOffered(1, 1), now=2.0)) == [("b", 2, 3)]


def test_partial_results_are_delivered_while_the_chunk_runs():
    s = scheduler_with("a")
    open_job(s, 10, chunksize=10)
    assert done(s, 1, count=4, payload="abcd") == [Deliver(1, 0, 4, "abcd")]
    assert done(s, 1, count=6, payload="efghij") == [Deliver(1, 4, 6, "efghij"), FinishJob(1)]


def test_a_job_that_is_not_open_is_ignored():
    s = scheduler_with("a")
    for event in (InputOffered(7, 1), InputEnded(7), ResultsTaken(7, 1), JobClosed(7)):
        assert s.handle(event, now=0.0) == []
    assert (s.window(7), s.completed(7)) == (0, 0)


def test_completed_counts_results_that_wait_for_the_head_too():
    s = scheduler_with("a", "b")
    open_job(s, 3)
    done(s, 2)
    assert s.completed(1) == 1


# --- sizes of chunks


def test_chunks_ramp_up_by_at_most_eight_times():
    s = scheduler_with("a")
    commands = open_job(s, 10**6)
    sizes = []
    for _ in range(5):  # "a" answers, gets a chunk, and one more to hold in waiting
        (_, start, stop), *_ = sent(commands)
        sizes.append(stop - start)
        commands = done(
            s, commands[-1].attempt if len(sizes) == 1 else oldest(s), stop - start, 1e-6
        )
    assert sizes[0] == 1
    assert all(later <= 8 * earlier for earlier, later in pairwise(sizes))
    assert sizes[-1] >= 64


def oldest(s):
    return min(s._attempts)


def test_chunks_shrink_when_the_end_is_near():
    s = scheduler_with("a", "b")
    open_job(s, 400)
    sizes = {}
    pending = {1: 1, 2: 1}
    while pending:
        attempt = min(pending)
        count = pending.pop(attempt)
        for c in done(s, attempt, count, seconds=count * 0.002):
            if isinstance(c, SendChunk):
                pending[c.attempt] = sizes[c.attempt] = c.stop - c.start
    sizes = list(sizes.values())
    top = sizes.index(max(sizes))
    assert sizes[top:] == sorted(sizes[top:], reverse=True)
    assert sizes[-1] == 1
    assert sum(sizes) == 398


def test_fixed_chunksize_is_obeyed():
    s = scheduler_with("a", "b")
    assert sent(open_job(s, 10, chunksize=4)) == [("a", 0, 4), ("b", 4, 8)]
    # 0.01 s an item: one chunk more is kept waiting at a worker
    assert sent(done(s, 1, 4, seconds=0.04)) == [("a", 8, 10)]


def test_two_chunks_at_most_are_kept_at_a_worker():
    s = scheduler_with("a")
    open_job(s, 10, chunksize=1)
    assert sent(done(s, 1, seconds=0.01)) == [("a", 1, 2), ("a", 2, 3)]
    assert s.handle(Wakeup(), now=1.0) == []
    assert sent(done(s, 2, seconds=0.01)) == [("a", 3, 4)]


def test_no_second_chunk_waits_behind_long_items():
    s = scheduler_with("a")
    open_job(s, 10, chunksize=1)
    assert sent(done(s, 1, seconds=0.5)) == [("a", 1, 2)]


def test_a_chunk_is_bounded_by_the_bytes_of_its_results():
    s = scheduler_with("a")
    open_job(s, 10**5, max_ahead_bytes=1 << 40)
    assert sent(done(s, 1, seconds=1e-6, nbytes=1 << 20)) == [("a", 1, 5), ("a", 5, 9)]


def test_the_bytes_of_items_are_learnt_when_they_are_sent():
    s = scheduler_with("a")
    open_job(s, 10**5, max_ahead_bytes=1 << 40)
    assert s.handle(ChunkSent(1, 1 << 20), now=0.5) == []
    assert s.handle(ChunkSent(99, 1 << 60), now=0.5) == []  # an attempt long ended
    assert sent(done(s, 1, seconds=1e-6)) == [("a", 1, 5), ("a", 5, 9)]


# --- bounds


def test_max_ahead_withholds_items_until_results_are_taken():
    s = scheduler_with("a", "b", "c")
    assert sent(open_job(s, 9, max_ahead=2)) == [("a", 0, 1), ("b", 1, 2)]
    assert sent(done(s, 1)) == []
    assert sent(s.handle(ResultsTaken(1, 1), now=2.0)) == [("c", 2, 3)]


def test_max_ahead_of_one_runs_items_one_after_the_other():
    s = scheduler_with("a", "b")
    assert sent(open_job(s, 3, max_ahead=1)) == [("a", 0, 1)]
    for attempt in (1, 2):
        assert delivered(done(s, attempt)) == [(attempt - 1, 1)]
        assert len(sent(s.handle(ResultsTaken(1, 1), now=2.0))) == 1
    assert done(s, 3)[-1] == FinishJob(1)


def test_bytes_withhold_items_until_results_are_taken():
    s = scheduler_with("a")
    open_job(s, 9, max_ahead_bytes=100)
    assert sent(done(s, 1, nbytes=1000)) == []
    assert sent(s.handle(ResultsTaken(1, 1), now=2.0)) == [("a", 1, 2)]


def test_heavy_items_keep_every_worker_busy():
    s = scheduler_with("a", "b", "c", "d")
    open_job(s, 100, max_ahead_bytes=64 << 20)
    for attempt in (1, 2, 3, 4):
        s.handle(ChunkSent(attempt, 40 << 20), now=0.0)
    for attempt in (1, 2, 3, 4):
        assert len(sent(done(s, attempt, seconds=1.0, now=1.0))) == 1
        s.handle(ChunkSent(attempt + 4, 40 << 20), now=1.0)
        s.handle(ResultsTaken(1, 1), now=1.0)


def test_a_lost_head_is_sent_again_beyond_every_bound():
    s = scheduler_with("a", "b")
    open_job(s, 9, max_ahead=2, max_ahead_bytes=10)
    assert done(s, 2, nbytes=1 << 30) == []  # waits for item 0 and fills the bound
    assert sent(s.handle(WorkerLost("a", "gone"), now=2.0)) == [("b", 0, 1)]


def test_window_is_what_the_workers_can_hold_twice_over():
    s = scheduler_with("a", "b")
    open_job(s, 1, ended=False)
    assert s.window(1) == 8
    done(s, 1, seconds=0.01)
    assert s.window(1) == 64  # a chunk may have 8 items now


def test_window_is_bounded_by_the_policy():
    s = scheduler_with("a", "b")
    open_job(s, 1, ended=False, max_ahead=3)
    assert s.window(1) == 3
    open_job(s, 1, job=2, ended=False, chunksize=100)
    assert s.window(2) == 800


def test_window_is_bounded_by_bytes_but_keeps_every_worker_busy():
    s = scheduler_with("a", "b")
    open_job(s, 1, ended=False, max_ahead_bytes=1000)
    done(s, 1, seconds=0.001, nbytes=900)
    assert s.window(1) == 4


def test_max_workers_leaves_the_others_idle():
    s = scheduler_with("a", "b", "c")
    assert sent(open_job(s, 9, max_workers=2)) == [("a", 0, 1), ("b", 1, 2)]
    assert sent(done(s, 1, seconds=0.5)) == [("c", 2, 3)]  # the longest waiting, in its stead
    assert sent(done(s, 3, seconds=0.5)) == [("a", 3, 4)]


def test_nothing_is_recalled_that_max_workers_would_give_to_the_same_worker():
    s = scheduler_with("a", "b")
    open_job(s, 100, max_workers=1)
    assert recalled(done(s, 1, seconds=0.15, now=0.15)) == []
    assert recalled(s.handle(Wakeup(), now=0.2)) == []
    assert s.next_deadline() == PROBE_SECONDS  # nothing but to see whether it is alive


# --- several jobs


def test_two_jobs_share_the_workers():
    s = scheduler_with("a", "b", "c", "d")
    s.handle(JobOpened(1, Policy(chunksize=1)), now=0.0)
    s.handle(JobOpened(2, Policy(chunksize=1)), now=0.0)
    attempts = s.handle(InputOffered(1, 100), now=0.0) + s.handle(InputOffered(2, 100), now=0.0)
    seconds = {1: 0, 2: 0}
    for _ in range(60):
        send = attempts.pop(0)
        spent = {1: 0.6, 2: 0.3}[send.job]
        seconds[send.job] += spent
        attempts += [c for c in done(s, send.attempt, seconds=spent) if isinstance(c, SendChunk)]
    assert seconds[1] == pytest.approx(seconds[2], rel=0.2)


def test_a_later_job_begins_level_with_those_that_run():
    s = scheduler_with("a")
    open_job(s, 100, chunksize=1)
    for attempt in range(1, 20):
        done(s, attempt, seconds=1.0)
    assert open_job(s, 100, job=2, chunksize=1) == []
    jobs = []
    for attempt in range(20, 30):
        jobs += [c.job for c in done(s, attempt, seconds=1.0) if isinstance(c, SendChunk)]
    assert 3 <= jobs.count(1) <= 7


def test_shares_are_equal_whatever_the_sizes_of_chunks():
    s = scheduler_with("a", "b")
    attempts = open_job(s, 10_000, chunksize=100) + open_job(s, 10_000, job=2, chunksize=1)
    seconds = {1: 0.0, 2: 0.0}
    for _ in range(1500):
        send = attempts.pop(0)
        count = send.stop - send.start
        seconds[send.job] += 0.1 * count
        commands = done(s, send.attempt, count, seconds=0.1 * count)
        attempts += [c for c in commands if isinstance(c, SendChunk)]
    assert seconds[1] == pytest.approx(seconds[2], rel=0.2)


def test_a_consumer_that_does_not_read_holds_up_nobody():
    s = scheduler_with("a", "b")
    attempts = open_job(s, 1000, chunksize=5, max_ahead=10)  # nobody takes a result of it
    attempts += open_job(s, 1000, job=2, chunksize=5)
    done_items = {1: 0, 2: 0}
    while attempts:
        send = attempts.pop(0)
        count = send.stop - send.start
        done_items[send.job] += count
        commands = done(s, send.attempt, count, seconds=1.0)
        attempts += [c for c in commands if isinstance(c, SendChunk)]
    assert done_items == {1: 10, 2: 1000}


def test_a_job_that_is_full_leaves_the_workers_to_others():
    s = scheduler_with("a", "b")
    assert sent(open_job(s, 9, max_ahead=1)) == [("a", 0, 1)]
    assert open_job(s, 9, job=2, max_ahead=1) == [SendChunk("b", 2, 2, 0, 1)]


# --- recall


def idle_b_beside_a_full_chunk(n_items=10, now=0.0):
    """Worker "a" runs all items in one chunk; "b" then joins."""
    s = scheduler_with("a")
    open_job(s, n_items, chunksize=n_items)
    return s, s.handle(WorkerJoined("b"), now)


def test_the_rest_is_recalled_when_a_worker_is_idle_and_goes_to_it():
    s, commands = idle_b_beside_a_full_chunk(now=1.0)
    assert commands == [RecallChunk("a", 1)]
    assert delivered(done(s, 1, 5, payload="abcde", now=1.1)) == [(0, 5)]
    assert s.handle(RestReturned(1, kept=6), now=1.1) == [SendChunk("b", 2, 1, 6, 10)]
    assert done(s, 2, 4, payload="ghij", now=2.0) == []
    assert done(s, 1, 1, payload="f", now=2.0) == [
        Deliver(1, 5, 1, "f"),
        Deliver(1, 6, 4, "ghij"),
        FinishJob(1),
    ]


def test_a_recall_is_not_repeated_while_its_answer_is_awaited():
    s, commands = idle_b_beside_a_full_chunk(now=1.0)
    assert commands == [RecallChunk("a", 1)]
    assert s.handle(Wakeup(), now=2.0) == []
    assert s.handle(WorkerJoined("c"), now=3.0) == []


def test_a_worker_that_kept_everything_is_not_asked_again():
    s, _ = idle_b_beside_a_full_chunk(n_items=2, now=5.0)
    assert delivered(done(s, 1, 1, seconds=0.1, now=5.1)) == [(0, 1)]
    assert s.handle(RestReturned(1, kept=2), now=5.1) == []
    assert s.handle(Wakeup(), now=60.0) == []


def test_a_chunk_that_has_only_begun_is_recalled_after_a_pause():
    s, commands = idle_b_beside_a_full_chunk(now=0.0)
    assert commands == []  # for all we know it is done in no time
    assert s.next_deadline() == RECALL_PAUSE
    assert s.handle(Wakeup(), now=RECALL_PAUSE) == [RecallChunk("a", 1)]


def test_work_that_is_nearly_done_is_not_recalled():
    s = scheduler_with("a", "b")
    open_job(s, 40, chunksize=20)
    done(s, 1, 1, seconds=0.0001, now=0.001)
    done(s, 2, 10, seconds=0.001, now=0.001)
    assert recalled(done(s, 2, 10, seconds=0.001, now=0.002)) == []
    assert s.next_deadline() == 0.002 + RECALL_PAUSE


def test_an_item_that_runs_is_not_recalled():
    s = scheduler_with("a", "b")
    open_job(s, 1)
    assert s.handle(Wakeup(), now=1.0) == []
    assert s.next_deadline() == PROBE_SECONDS


def test_the_slowest_is_asked_first_and_one_for_each_idle_worker():
    s = scheduler_with("a", "b", "c")
    s.handle(JobOpened(1, Policy(chunksize=8)), now=0.0)
    s.handle(InputOffered(1, 20), now=0.0)  # 8 for "a", 8 for "b", 4 for "c"
    done(s, 1, 4, seconds=0.4, now=2.0)
    assert recalled(done(s, 3, 4, seconds=0.4, now=2.0)) == [("b", 2)]


def test_waiting_chunks_are_recalled():
    s = scheduler_with("a")
    open_job(s, 3, chunksize=1)
    assert sent(done(s, 1, seconds=0.04, now=0.1)) == [("a", 1, 2), ("a", 2, 3)]
    assert s.handle(WorkerJoined("b"), now=0.1) == [RecallChunk("a", 3)]
    assert sent(s.handle(RestReturned(3, kept=0), now=0.1)) == [("b", 2, 3)]


def test_a_chunk_behind_an_item_that_takes_long_is_recalled():
    s = scheduler_with("a")
    open_job(s, 3, chunksize=1)
    done(s, 1, seconds=0.0001, now=0.1)
    assert recalled(s.handle(WorkerJoined("b"), now=0.1)) == []
    assert recalled(s.handle(Wakeup(), now=0.2)) == [("a", 3)]


def test_a_recall_that_is_not_answered_does_not_keep_others_from_being_asked():
    s = scheduler_with("a", "b")
    open_job(s, 40, chunksize=10)
    done(s, 1, 10, seconds=1.0, now=1.0)
    assert recalled(s.handle(WorkerJoined("c"), now=1.0)) == []
    first = recalled(done(s, 2, 10, seconds=1.0, now=1.0))
    assert len(first) <= 1
    asked = {attempt for _, attempt in first}
    for now in (1.5, 2.0, 2.5, 3.0):
        asked |= {attempt for _, attempt in recalled(s.handle(Wakeup(), now=now))}
    assert len(asked) == 2


def test_a_chunk_returned_untouched_is_not_sent_back_at_once():
    s = scheduler_with("a")
    assert sent(open_job(s, 1)) == [("a", 0, 1)]
    assert s.handle(RestReturned(1, kept=0), now=1.0) == []
    assert s.next_deadline() == 2.0
    assert sent(s.handle(Wakeup(), now=2.0)) == [("a", 0, 1)]


def test_items_measured_as_taking_no_time_are_recalled_when_they_do():
    s = scheduler_with("a")
    open_job(s, 20, chunksize=10)
    done(s, 1, 10, seconds=0.0, now=0.0)
    s.handle(WorkerJoined("b"), now=0.0)
    assert recalled(s.handle(Wakeup(), now=0.5)) == [("a", 2)]


# --- what comes back unasked


def test_a_rest_that_comes_back_unasked_goes_to_others():
    s = scheduler_with("a", "b")
    assert sent(open_job(s, 20, chunksize=10)) == [("a", 0, 10), ("b", 10, 20)]
    assert done(s, 2, 10, seconds=0.1, now=0.9) == [RecallChunk("a", 1)]
    assert sent(s.handle(RestReturned(1, kept=1), now=1.0)) == [("b", 1, 10)]


def test_a_stuck_worker_gets_no_second_chunk_until_it_answers():
    s = scheduler_with("a")
    open_job(s, 50, chunksize=10)
    assert sent(done(s, 1, 10, seconds=0.1, now=0.1)) == [("a", 10, 20), ("a", 20, 30)]
    assert s.handle(RestReturned(2, kept=1), now=1.1) == []
    assert s.handle(RestReturned(3, kept=0), now=1.1) == []
    assert s.handle(Wakeup(), now=5.0) == []
    assert sent(done(s, 2, 1, seconds=0.02, now=9.0)) == [("a", 11, 21), ("a", 21, 30)]


def test_a_returned_rest_of_nothing_changes_nothing():
    s = scheduler_with("a")
    open_job(s, 10, chunksize=10)
    done(s, 1, 4)
    assert s.handle(RestReturned(1, kept=99), now=1.0) == []
    assert done(s, 1, 6, payload="x") == [Deliver(1, 4, 6, "x"), FinishJob(1)]


def test_results_told_before_are_not_given_back():
    s = scheduler_with("a", "b")
    open_job(s, 10, chunksize=10)
    done(s, 1, 4, seconds=4.0)
    assert sent(s.handle(RestReturned(1, kept=0), now=4.0)) == [("b", 4, 10)]


def test_instant_items_followed_by_slow_ones_do_not_pile_up_at_one_worker():
    s = scheduler_with("a", "b")
    commands, size = open_job(s, 4000), {}
    while s.completed(1) < 1000:  # instant items make large chunks
        size.update({c.attempt: c.stop - c.start for c in commands if isinstance(c, SendChunk)})
        attempt = min(size)
        commands = done(s, attempt, size.pop(attempt), seconds=1e-6, now=0.1)
    held = {number: a for number, a in s._attempts.items() if a.worker == "a"}
    first = min(held)
    assert held[first].size > 10
    for number in held:  # the first slow item lasts: "a" gives back all but that one
        kept = 1 if number == first else 0
        commands = s.handle(RestReturned(number, kept), now=1.1)
    assert [a.size for a in s._attempts.values() if a.worker == "a"] == [1]
    assert all(worker != "a" for worker, _, _ in sent(commands))


# --- losses


def test_a_lost_workers_chunk_goes_elsewhere_item_by_item():
    s = scheduler_with("a", "b", "c")
    s.handle(JobOpened(1, Policy(chunksize=3)), now=0.0)
    s.handle(InputOffered(1, 3), now=0.0)
    assert sent(s.handle(WorkerLost("a", "killed"), now=1.0)) == [("b", 0, 1), ("c", 1, 2)]
    assert sent(done(s, 2, seconds=1.0)) == [("b", 2, 3)]


def test_a_waiting_chunk_of_a_lost_worker_is_not_suspected():
    s = scheduler_with("a")
    open_job(s, 30, chunksize=10)
    assert sent(done(s, 1, 10, seconds=0.1)) == [("a", 10, 20), ("a", 20, 30)]
    s.handle(WorkerLost("a", "killed"), now=1.0)
    attempts = s.handle(WorkerJoined("b"), now=1.1)
    spans = []
    while attempts:
        send = attempts.pop(0)
        spans.append((send.start, send.stop))
        commands = done(s, send.attempt, send.stop - send.start, seconds=0.01)
        attempts += [c for c in commands if isinstance(c, SendChunk)]
    assert spans == [*((i, i + 1) for i in range(10, 20)), (20, 30)]


def test_only_items_without_a_result_are_run_again():
    s = scheduler_with("a")
    open_job(s, 10, chunksize=10)
    done(s, 1, 8, seconds=8.0)
    s.handle(WorkerLost("a", "killed"), now=1.0)
    assert sent(s.handle(WorkerJoined("b"), now=1.1)) == [("b", 8, 9)]
    assert sent(s.handle(WorkerJoined("c"), now=1.1)) == [("c", 9, 10)]


def test_an_item_alone_that_loses_workers_is_given_up_after_retries_on_loss():
    s = scheduler_with("a", "b", "c", "d")
    assert sent(open_job(s, 1, retries_on_loss=2)) == [("a", 0, 1)]
    assert sent(s.handle(WorkerLost("a", "SIGSEGV"), now=1.0)) == [("b", 0, 1)]
    assert sent(s.handle(WorkerLost("b", "SIGSEGV"), now=2.0)) == [("c", 0, 1)]
    assert s.handle(WorkerLost("c", "SIGABRT"), now=3.0) == [
        Deliver(1, 0, 1, LostItem("c", "SIGABRT", tries=3)),
        FinishJob(1),
    ]


def test_a_lost_item_is_delivered_in_its_place_and_the_others_finish():
    s = scheduler_with("a", "b")
    open_job(s, 2, retries_on_loss=0)
    assert s.handle(WorkerLost("b", "killed"), now=1.0) == []
    assert done(s, 1, payload="x") == [
        Deliver(1, 0, 1, "x"),
        Deliver(1, 1, 1, LostItem("b", "killed", tries=1)),
        FinishJob(1),
    ]


def test_an_item_that_comes_through_is_not_suspected_any_more():
    s = scheduler_with("a", "b")
    open_job(s, 1, ended=False)
    s.handle(WorkerLost("a", "killed"), now=1.0)
    assert delivered(done(s, 2)) == [(0, 1)]
    assert not s._jobs[1].incidents.losses


def test_the_last_item_of_a_chunk_is_alone_too():
    s = scheduler_with("a")
    open_job(s, 3, chunksize=3, retries_on_loss=0)
    done(s, 1, 2)
    assert s.handle(WorkerLost("a", "killed"), now=1.0) == [
        Deliver(1, 2, 1, LostItem("a", "killed", tries=1)),
        FinishJob(1),
    ]


def test_late_answer_is_ignored():
    s = scheduler_with("a", "b")
    open_job(s, 1)
    assert sent(s.handle(WorkerLost("a", "silent"), now=1.0)) == [("b", 0, 1)]
    assert done(s, 1, payload="late") == []
    assert s.handle(RestReturned(1, kept=0), now=1.5) == []
    assert done(s, 2, payload="x") == [Deliver(1, 0, 1, "x"), FinishJob(1)]


def test_an_answer_that_comes_twice_counts_once():
    s = scheduler_with("a", "b")
    open_job(s, 2)
    assert done(s, 1, payload="x") == [Deliver(1, 0, 1, "x")]
    assert done(s, 1, payload="x") == []


def test_results_beyond_the_chunk_are_cut_off():
    s = scheduler_with("a")
    open_job(s, 4, chunksize=2)
    assert delivered(done(s, 1, count=5)) == [(0, 2)]
    assert done(s, 2, count=0) == []


def test_a_worker_is_lost_once():
    s = scheduler_with("a", "b")
    open_job(s, 1)
    assert sent(s.handle(WorkerLost("a", "killed"), now=1.0)) == [("b", 0, 1)]
    assert s.handle(WorkerLost("a", "killed"), now=1.0) == []
    assert s.n_workers == 1


def test_a_worker_may_come_back_under_its_name():
    s = scheduler_with("a")
    open_job(s, 1)
    s.handle(WorkerLost("a", "killed"), now=1.0)
    assert sent(s.handle(WorkerJoined("a"), now=1.1)) == [("a", 0, 1)]
    assert done(s, 1) == []  # of its former life
    assert done(s, 2, payload="x") == [Deliver(1, 0, 1, "x"), FinishJob(1)]


# --- no worker left


def test_jobs_fail_when_no_worker_comes_within_the_grace_time():
    s = scheduler_with("a", "b", grace=20.0)
    open_job(s, 5)
    done(s, 2, now=1.0)
    assert s.next_deadline() != 22.0
    s.handle(WorkerLost("a", "killed"), now=2.0)
    s.handle(WorkerLost("b", "unplugged"), now=3.0)
    assert s.next_deadline() == 23.0
    assert s.handle(Wakeup(), now=22.9) == []
    assert s.handle(Wakeup(), now=23.0) == [
        FailJob(1, delivered=0, undone=4, losses=("a: killed", "b: unplugged"))
    ]
    assert s.next_deadline() is None
    assert s.handle(Wakeup(), now=99.0) == []


def test_a_job_whose_input_has_not_ended_fails_without_a_count():
    s = Scheduler(grace=20.0)
    open_job(s, 5, ended=False)
    assert s.handle(Wakeup(), now=20.0) == [FailJob(1, 0, None, ())]


def test_a_worker_that_joins_in_time_saves_the_job():
    s = scheduler_with("a", grace=20.0)
    open_job(s, 1)
    s.handle(WorkerLost("a", "killed"), now=1.0)
    assert sent(s.handle(WorkerJoined("b"), now=20.0)) == [("b", 0, 1)]
    assert s.handle(Wakeup(), now=21.5) == []
    assert done(s, 2, payload="x") == [Deliver(1, 0, 1, "x"), FinishJob(1)]


def test_a_job_opened_long_after_the_last_worker_left_has_the_grace_time_too():
    s = scheduler_with("a", grace=20.0)
    s.handle(WorkerLost("a", "killed"), now=1.0)
    assert open_job(s, 1, now=100.0) == []
    assert s.next_deadline() == 120.0
    assert sent(s.handle(WorkerJoined("b"), now=101.0)) == [("b", 0, 1)]


# --- the end


def test_closing_a_job_cancels_what_runs_and_frees_the_workers():
    s = scheduler_with("a", "b", "c")
    open_job(s, 9, max_workers=2)
    assert s.handle(JobClosed(1), now=1.0) == [CancelAttempt("a", 1), CancelAttempt("b", 2)]
    assert done(s, 1) == []
    assert sent(open_job(s, 3, job=2, now=1.0)) == [("c", 0, 1), ("a", 1, 2), ("b", 2, 3)]


def test_closing_a_job_leaves_others_untouched():
    s = scheduler_with("a", "b")
    open_job(s, 1)
    open_job(s, 1, job=2)
    assert s.handle(JobClosed(2), now=1.0) == [CancelAttempt("b", 2)]
    assert done(s, 1, payload="x") == [Deliver(1, 0, 1, "x"), FinishJob(1)]


def test_closing_a_job_twice_is_harmless():
    s = scheduler_with("a")
    open_job(s, 1)
    assert s.handle(JobClosed(1), now=1.0) == [CancelAttempt("a", 1)]
    assert s.handle(JobClosed(1), now=1.0) == []


def test_an_executor_without_calls_outlives_all_workers():
    s = scheduler_with("a")
    s.handle(JobOpened(1, Policy(taken_on_delivery=True)), now=0.0)
    s.handle(WorkerLost("a", "gone"), now=1.0)
    assert s.next_deadline() is None
    assert s.handle(Wakeup(), now=1000.0) == []
    assert s.handle(InputOffered(1, 1), now=1000.0) == []
    assert s.next_deadline() == 1000.0 + s.grace
    assert sent(s.handle(WorkerJoined("b"), now=1010.0)) == [("b", 0, 1)]


def test_results_taken_on_delivery_make_room_at_once():
    s = scheduler_with("a")
    s.handle(JobOpened(1, Policy(max_ahead=2, taken_on_delivery=True)), now=0.0)
    s.handle(InputOffered(1, 4), now=0.0)
    done(s, 1)
    assert sent(done(s, 2)) != []


def test_a_job_like_one_before_begins_with_what_that_has_learned():
    s = scheduler_with("a", "b")
    first = Policy(likeness="square")
    s.handle(JobOpened(1, first), now=0.0)
    s.handle(InputOffered(1, 1000), now=0.0)
    done(s, 1, seconds=1e-5, now=0.1)
    s.handle(JobClosed(1), now=0.2)
    s.handle(JobOpened(2, first), now=0.3)
    sizes = [stop - start for _, start, stop in sent(s.handle(InputOffered(2, 1000), now=0.3))]
    assert sizes == [8, 8, 8, 8]
    s.handle(JobClosed(2), now=0.4)
    s.handle(JobOpened(3, Policy(likeness="other")), now=0.5)
    assert [stop - start for _, start, stop in sent(s.handle(InputOffered(3, 9), now=0.5))] == [
        1,
        1,
    ]


def test_wrong_experience_is_corrected_by_recalls():
    s = scheduler_with("a", "b")
    likeness = Policy(likeness="f")
    s.handle(JobOpened(1, likeness), now=0.0)
    s.handle(InputOffered(1, 4), now=0.0)
    done(s, 1, seconds=1e-6, now=0.1)
    s.handle(JobClosed(1), now=0.2)
    s.handle(JobOpened(2, likeness), now=1.0)
    commands = s.handle(InputOffered(2, 12), now=1.0)
    first = commands[0]
    assert first.stop > 1  # a chunk of items that were instant the last time
    for command in commands[1:]:
        done(s, command.attempt, command.stop - command.start, seconds=1e-6, now=1.0)
    assert recalled(s.handle(Wakeup(), now=2.0)) == [(first.worker, first.attempt)]
