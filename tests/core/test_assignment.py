"""Dialogues about who gets the next chunk when several jobs have work."""

from dialogue import done, open_job, scheduler_with

from seppo.core.commands import SendChunk
from seppo.core.events import JobClosed, WorkerJoined


def jobs_sent(commands):
    return [(c.worker, c.job) for c in commands if isinstance(c, SendChunk)]


def busy_with_short_items(*workers, seconds=0.01, **policy):
    """Job 1 keeps two chunks of one short item at each worker."""
    s = scheduler_with(*workers)
    open_job(s, 1000, chunksize=1, **policy)
    for attempt, _ in enumerate(workers, 1):
        done(s, attempt, seconds=seconds, now=seconds)
    assert [len(w.attempts) for w in s._workers.values()] == [2] * len(workers)
    return s


def test_a_job_that_knows_nothing_yet_gets_its_turn_beside_short_items():
    s = busy_with_short_items("a")
    assert open_job(s, 9, job=2, now=0.015) == []
    assert jobs_sent(done(s, 2, seconds=0.01, now=0.02)) == [("a", 2)]


def test_a_job_with_long_items_gets_its_turn_beside_short_ones():
    s = scheduler_with("a")
    open_job(s, 9, job=2, chunksize=1)
    done(s, 1, seconds=0.2, now=0.2)  # 0.2 s an item
    open_job(s, 9000, job=1, now=0.2, chunksize=1)
    turns, attempt, now = [], 2, 0.2
    while len(turns) < 60:
        seconds = 0.2 if s._attempts[attempt].job.number == 2 else 0.01
        now += seconds
        turns += jobs_sent(done(s, attempt, seconds=seconds, now=now))
        attempt = s._workers["a"].first.number
    assert 2 <= turns.count(("a", 2)) <= 4  # as much time as 20 times as many of the others


def test_no_chunk_waits_behind_a_long_item_of_another_job():
    s = scheduler_with("a")
    open_job(s, 9, job=2, chunksize=1)
    done(s, 1, seconds=0.2, now=0.2)
    assert s._workers["a"].first.job.number == 2
    assert open_job(s, 9, job=3, now=0.2) == []
    s = busy_with_short_items("a")
    open_job(s, 9, job=2, now=0.015)
    done(s, 2, seconds=0.01, now=0.02)
    assert jobs_sent(done(s, 3, seconds=0.01, now=0.03)) == []  # nobody knows how long it takes


def test_a_job_whose_items_may_begin_once_waits_for_a_worker_that_is_idle():
    s = busy_with_short_items("a")
    open_job(s, 9, job=2, now=0.015, retries_on_loss=0, duplicate=False)
    assert jobs_sent(done(s, 2, seconds=0.01, now=0.02)) == []  # and nobody gets before it
    assert jobs_sent(done(s, 3, seconds=0.01, now=0.03)) == [("a", 2)]


def test_a_job_at_its_limit_leaves_the_second_place_to_others():
    s = busy_with_short_items("a", "b", max_workers=2)
    open_job(s, 9, job=2, now=0.015, max_workers=1)
    assert jobs_sent(done(s, 3, seconds=0.01, now=0.02)) == [("a", 2)]
    assert jobs_sent(done(s, 4, seconds=0.01, now=0.02)) == [("b", 1)]


def test_no_queue_is_kept_of_a_job_that_is_over():
    s = busy_with_short_items("a", "b")
    s.handle(WorkerJoined("c"), now=1.0)
    s.handle(JobClosed(1), now=1.0)
    assert not s._ledger.crew.half
    assert len(s._ledger.crew.idle) == 3
