"""Dialogues about even shares of the workers' time."""

import pytest
from dialogue import done, open_job, scheduler_with

from seppo.core.commands import SendChunk
from seppo.core.events import InputOffered, JobOpened, Policy, RestReturned, Wakeup

EXECUTOR = Policy(ordered=False, taken_on_delivery=True)


class Workers:
    """Workers that run their chunks one after the other; ``seconds`` tells how long."""

    def __init__(self, *names, seconds):
        self.s = scheduler_with(*names)
        self.now = 0.0
        self.seconds = seconds  # by job
        self.had = dict.fromkeys(seconds, 0.0)
        self._until = {}  # when the first chunk of a worker is done

    def run(self, until):
        """Let time pass, and answer; return what each job had meanwhile."""
        before = dict(self.had)
        while True:
            self._begin()
            attempt, self.now = min(self._until.items(), key=lambda pair: pair[1])
            if self.now > until:
                self.now = until
                return {job: self.had[job] - before[job] for job in self.had}
            del self._until[attempt]
            chunk = self.s._attempts[attempt]
            job, size = chunk.job.number, chunk.size
            seconds = size * self.seconds[job]
            self.had[job] += seconds
            done(self.s, attempt, size, seconds, self.now)

    def _begin(self):
        for worker in self.s._workers.values():
            first = worker.first
            if first is not None and first.number not in self._until:
                seconds = first.size * self.seconds[first.job.number]
                self._until[first.number] = self.now + seconds


def test_jobs_with_items_of_all_kinds_have_the_same_time():
    workers = Workers("a", "b", seconds={1: 0.001, 2: 0.03, 3: 0.4, 4: 2.0})
    for job in workers.seconds:
        open_job(workers.s, 10**6, job=job)
    workers.run(until=10.0)
    had = workers.run(until=50.0)
    assert list(had.values()) == pytest.approx([20.0] * 4, abs=3.0)


def test_an_estimate_that_was_wrong_is_put_right_by_what_it_took():
    workers = Workers("a", "b", seconds={1: 0.001, 2: 0.1})
    open_job(workers.s, 10**6, job=1)
    workers.run(until=1.0)
    open_job(workers.s, 10**6, job=2, now=1.0)
    workers.run(until=5.0)
    workers.seconds[1] = 0.02  # chunks are of 100 items, which were charged with 0.1 s
    had = workers.run(until=25.0)
    assert had[1] == pytest.approx(had[2], rel=0.2)


def test_what_is_given_back_is_given_back_at_the_price_that_was_charged():
    s = scheduler_with("a")
    open_job(s, 10**6, chunksize=50_000)
    done(s, 1, 50_000, seconds=0.05, now=0.1)
    first, second = s._attempts
    charged = s._jobs[1].account.served
    done(s, first, 1, seconds=2.0, now=2.1)  # a cost of 1 s an item now
    assert s._jobs[1].cost.seconds > 0.5
    s.handle(RestReturned(first, kept=2), now=2.2)
    s.handle(RestReturned(second, kept=0), now=2.2)
    # Two chunks were charged with 0.05 s each; the item that runs is what is left of them.
    assert s._jobs[1].account.served == pytest.approx(charged + 2.0 - 0.1, abs=0.001)


def test_a_new_job_begins_level_with_those_that_run_not_with_an_idle_one():
    workers = Workers("a", "b", seconds={1: 0.0, 2: 0.1, 3: 0.1})
    workers.s.handle(JobOpened(1, EXECUTOR), now=0.0)
    open_job(workers.s, 10**6, job=2)
    workers.run(until=100.0)
    open_job(workers.s, 10**6, job=3, now=100.0)
    had = workers.run(until=104.0)
    assert had[2] == pytest.approx(had[3], abs=0.6)


def test_an_executor_that_was_idle_has_saved_nothing_up():
    workers = Workers("a", "b", seconds={1: 0.1, 2: 0.1})
    workers.s.handle(JobOpened(1, EXECUTOR), now=0.0)
    open_job(workers.s, 10**6, job=2)
    workers.run(until=100.0)
    workers.s.handle(InputOffered(1, 1000), now=100.0)
    had = workers.run(until=104.0)
    assert had[1] == pytest.approx(had[2], abs=0.6)


def test_a_map_that_begins_beside_an_executor_of_long_ago_does_not_wait_nor_rule():
    workers = Workers("a", "b", seconds={1: 0.1, 2: 0.1})
    workers.s.handle(JobOpened(1, EXECUTOR), now=0.0)
    workers.s.handle(InputOffered(1, 1000), now=0.0)
    workers.run(until=49.95)
    workers.s.handle(Wakeup(), now=50.0)
    while workers.s._attempts:
        done(workers.s, next(iter(workers.s._attempts)), seconds=0.1, now=50.0)
    workers._until.clear()
    open_job(workers.s, 10**6, job=2, now=50.0)
    workers.run(until=60.0)
    workers.s.handle(InputOffered(1, 1000), now=60.0)
    had = workers.run(until=64.0)
    assert had[1] == pytest.approx(had[2], abs=0.6)


def test_a_job_that_begins_is_level_with_what_others_have_used_not_with_what_they_will():
    s = scheduler_with("a")
    open_job(s, 10**5, chunksize=1000)
    done(s, 1, 1000, seconds=100.0, now=100.0)  # the next chunk is charged with 100 s
    open_job(s, 9, job=2, now=101.0)
    assert s._jobs[2].account.served == pytest.approx(101.0)


def test_a_limit_does_not_save_up_either():
    workers = Workers("a", "b", "c", "d", seconds={1: 0.1, 2: 0.1, 3: 0.1})
    open_job(workers.s, 10**6, job=1, max_workers=1, chunksize=1)
    open_job(workers.s, 10**6, job=2, chunksize=1)
    workers.run(until=100.0)
    open_job(workers.s, 10**6, job=3, now=100.0, chunksize=1)
    had = workers.run(until=110.0)
    assert had[1] == pytest.approx(10.0, abs=1.0)  # all that one worker can do
    assert had[2] == pytest.approx(had[3], rel=0.2)


def test_an_item_that_runs_for_long_is_charged_meanwhile():
    s = scheduler_with("a", "b", "c", "d")
    open_job(s, 100, chunksize=1)
    for attempt in (1, 2, 3, 4):
        done(s, attempt, seconds=0.1, now=0.1)
    open_job(s, 100, job=2, now=0.1)
    attempt = next(n for n, a in s._attempts.items() if a.worker == "a")
    assert [c.job for c in done(s, attempt, seconds=0.1, now=0.2) if type(c) is SendChunk] == [2]
    # It runs, and runs; the others' items take 0.1 s each.
    now = 0.2
    while now < 3.0:
        now += 0.1
        for number, a in list(s._attempts.items()):
            if a.job.number == 1:
                done(s, number, seconds=0.1, now=now)
    others = [a.worker for a in s._attempts.values() if a.job.number == 2]
    assert len(others) < 4  # without that each worker would run one by now


def test_a_job_of_which_nothing_is_known_does_not_take_every_worker():
    workers = Workers("a", "b", "c", "d", seconds={1: 0.1, 2: 60.0})
    open_job(workers.s, 10**6, job=1)
    workers.run(until=10.0)
    open_job(workers.s, 10**6, job=2, now=10.0)
    workers.run(until=20.0)
    running = [worker.first.job.number for worker in workers.s._workers.values()]
    assert 1 in running


def test_time_in_which_the_client_stood_still_is_nobodys():
    s = scheduler_with("a", "b")
    open_job(s, 100, chunksize=1)
    done(s, 1, seconds=0.1, now=0.1)
    done(s, 2, seconds=0.1, now=0.1)
    open_job(s, 100, job=2, now=0.15, chunksize=1)
    s.handle(Wakeup(), now=3600.0)
    assert all(job.account.served < 2.0 for job in s._jobs.values())


def test_a_lost_worker_and_a_silent_one_give_back_what_was_charged():
    s = scheduler_with("a")
    open_job(s, 1000, chunksize=1000)
    done(s, 1, 1, seconds=1.0, now=1.0)
    for _ in range(3):  # asked, and then silent
        s.handle(Wakeup(), now=s.next_deadline())
    assert s._workers["a"].is_silent
    assert s._jobs[1].account.served == pytest.approx(1.0)
    s.handle(RestReturned(1, kept=2), now=9.0)  # it is back
    assert 1.0 < s._jobs[1].account.served < 4.0
