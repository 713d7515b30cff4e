"""Dialogues about chunks that are called back because items of other jobs wait."""

from dialogue import done, open_job, recalled, scheduler_with, wait

from seppo.core.commands import RecallChunk, SendChunk
from seppo.core.events import InputOffered, ItemsDone, JobOpened, Policy, RestReturned, Wakeup

EXECUTOR = Policy(ordered=False, taken_on_delivery=True)


def behind_long_chunks(*workers, size=50_000):
    """Items of job 1 turn slow at 0.1 s; each worker has two chunks of them."""
    s = scheduler_with(*workers)
    s.handle(JobOpened(2, EXECUTOR), now=0.0)
    open_job(s, 100 * size, chunksize=size)
    for attempt, _ in enumerate(workers, 1):
        done(s, attempt, size, seconds=0.05, now=0.1)
    return s


def recalls(said):
    return [(command.worker, command.attempt) for _, command in said if is_recall(command)]


def is_recall(command):
    return isinstance(command, RecallChunk)


def test_chunks_that_turned_out_long_are_called_back_for_another_jobs_item():
    s = behind_long_chunks("a")
    first, second = s._attempts
    s.handle(InputOffered(2, 1), now=0.3)
    assert recalls(wait(s, 0.3, until=1.0)) == [("a", first), ("a", second)]
    s.handle(ItemsDone(first, 4, 0.8, 0, "abcd"), now=1.0)
    assert s.handle(RestReturned(first, kept=5), now=1.0) == []
    s.handle(RestReturned(second, kept=0), now=1.0)
    commands = done(s, first, 1, seconds=0.2, now=1.2)
    assert [(c.worker, c.job) for c in commands if type(c) is SendChunk] == [("a", 2)]


def test_one_worker_is_enough_for_one_item():
    s = behind_long_chunks("a", "b", "c")
    s.handle(InputOffered(2, 1), now=0.3)
    said = recalls(wait(s, 0.3, until=0.9))
    assert len(said) == 2
    assert len({worker for worker, _ in said}) == 1


def test_chunks_of_ordinary_length_are_left_alone():
    s = scheduler_with("a")
    open_job(s, 10_000, chunksize=100)
    now, attempt = 0.1, 1
    commands = done(s, 1, 100, seconds=0.1, now=now)
    open_job(s, 10_000, job=2, now=now)
    for _ in range(100):
        attempt = s._workers["a"].first.number
        size = s._attempts[attempt].size
        now += size * 0.001
        commands += done(s, attempt, size, seconds=size * 0.001, now=now)
        commands += s.handle(Wakeup(), now)
    assert recalled(commands) == []


def test_nothing_is_called_back_for_a_job_that_has_had_more():
    s = scheduler_with("a")
    open_job(s, 100, chunksize=50)  # nobody else has items
    done(s, 1, 1, seconds=1.0, now=1.0)
    open_job(s, 9, job=2, now=1.0)
    s._jobs[2].account.raise_to(1000.0)
    assert recalls(wait(s, 1.0, until=1.9)) == []


def test_a_job_does_not_call_its_own_chunks_back():
    s = behind_long_chunks("a")
    assert recalls(wait(s, 0.3, until=1.9)) == []


def test_chunks_of_a_size_that_was_asked_for_take_turns_without_haste():
    """Two jobs with chunks of 10 s share a worker: each turn lasts a while."""
    s = scheduler_with("a")
    for job in (1, 2):
        open_job(s, 10**6, job=job, chunksize=100)
    n_recalls, now, n_done = 0, 0.0, {1: 0, 2: 0}
    while now < 60.0:
        now += 0.1
        first = s._workers["a"].first
        n_done[first.job.number] += 1
        commands = done(s, first.number, 1, seconds=0.1, now=now)
        commands += s.handle(Wakeup(), now)
        while found := [c for c in commands if is_recall(c)]:
            n_recalls += len(found)
            commands = []
            for c in found:
                attempt = s._attempts[c.attempt]
                kept = attempt.position - attempt.start + 1
                commands += s.handle(RestReturned(c.attempt, kept), now)
    assert abs(n_done[1] - n_done[2]) < 30
    assert n_recalls < 200
