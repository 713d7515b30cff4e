import pytest

from seppo.core.crew import SHORT_PAUSE, STUCK_PAUSE, Crew
from seppo.core.events import Policy
from seppo.core.job import Attempt, Job

JOB = Job(1, Policy())


def crew_of(*names):
    crew = Crew()
    for name in names:
        crew.join(name, now=0.0)
    return crew


def give(crew, name, number, now=0.0):
    attempt = Attempt(number, JOB, name, 0, 4, position=0, progress_at=now)
    crew.give(crew.workers[name], attempt)
    return attempt


def queues(crew):
    """Return who is idle, and who is half busy with job 1."""
    return "".join(crew.idle), "".join(crew.half.get(1, {}))


def test_workers_wait_where_their_number_of_chunks_puts_them():
    crew = crew_of("a", "b")
    assert queues(crew) == ("ab", "")
    first = give(crew, "a", 1)
    assert queues(crew) == ("b", "a")
    second = give(crew, "a", 2)
    assert queues(crew) == ("b", "")
    crew.take(crew.workers["a"], first, now=1.0)
    assert queues(crew) == ("b", "a")
    crew.take(crew.workers["a"], second, now=2.0)
    assert queues(crew) == ("ba", "")  # the one that waits longest is first


def test_the_second_chunk_begins_when_the_first_has_ended():
    crew = crew_of("a")
    first, second = give(crew, "a", 1), give(crew, "a", 2)
    crew.take(crew.workers["a"], first, now=5.0)
    assert second.progress_at == 5.0


def test_a_worker_that_drains_or_is_silent_is_in_no_queue():
    crew = crew_of("a", "b", "c")
    give(crew, "b", 1)
    crew.drain("a", now=1.0)
    crew.hush(crew.workers["b"])
    assert queues(crew) == ("c", "")
    assert crew.heard(crew.workers["b"], now=2.0)
    assert queues(crew) == ("c", "b")


def test_a_crew_is_alone_when_nobody_will_take_another_chunk():
    crew = crew_of("a", "b")
    crew.drain("a", now=1.0)
    crew.drain("a", now=2.0)
    assert not crew.is_alone
    crew.lose("b", now=3.0)
    assert (crew.is_alone, crew.alone_since) == (True, 3.0)
    crew.expect(1, now=4.0)
    assert not crew.is_alone
    crew.expect(0, now=5.0)
    assert (crew.is_alone, crew.alone_since) == (True, 5.0)
    crew.lose("a", now=6.0)
    assert crew.alone_since == 5.0  # a worker that drained took nothing anyway


def test_strength_counts_those_who_are_joining():
    crew = crew_of()
    assert crew.strength == 1
    crew.expect(3, now=0.0)
    crew.join("a", now=0.0)
    assert crew.strength == 4


def test_a_worker_that_joins_twice_stays_as_it_is():
    crew = crew_of("a")
    worker = crew.workers["a"]
    crew.join("a", now=1.0)
    assert crew.workers == {"a": worker}


def test_news_of_idle_workers_are_taken_once():
    crew = crew_of("a")
    assert [crew.take_news(), crew.take_news()] == [True, False]
    attempt = give(crew, "a", 1)
    assert not crew.take_news()
    crew.take(crew.workers["a"], attempt, now=1.0)
    assert crew.take_news()


def test_the_echo_of_an_ended_attempt_tells_that_a_silent_worker_is_back():
    crew = crew_of("a")
    worker, attempt = crew.workers["a"], give(crew, "a", 1)
    worker.ask(1, now=1.0)
    crew.hush(worker)
    crew.take(worker, attempt, now=2.0)
    assert crew.echo(1) is worker
    assert crew.heard(worker, now=3.0)
    assert crew.echo(1) is None
    assert not crew.heard(worker, now=4.0)  # it was not silent


@pytest.mark.parametrize(("ended", "is_due"), [(1, False), (2, True)])
def test_an_answer_about_an_ended_attempt_is_not_waited_for(ended, is_due):
    crew = crew_of("a")
    worker, attempts = crew.workers["a"], {n: give(crew, "a", n) for n in (1, 2)}
    worker.ask(1, now=1.0)
    worker.ask(2, now=2.0)  # the first answer is the one that is due
    assert worker.asked_at == 1.0
    crew.take(worker, attempts[ended], now=3.0)
    assert (worker.asked_at is not None) == is_due


def test_a_worker_that_gives_back_the_rest_is_stuck_until_an_item_is_done():
    crew = crew_of("a")
    worker = crew.workers["a"]
    give(crew, "a", 1)
    worker.give_back(1.0, is_untouched=False)
    assert (worker.is_stuck, worker.paused_until) == (True, 0.0)
    worker.move_on()
    assert not worker.is_stuck


@pytest.mark.parametrize(("interrupted_at", "pause"), [(-9.0, STUCK_PAUSE), (0.9, SHORT_PAUSE)])
def test_a_worker_that_gives_back_all_of_its_only_chunk_pauses(interrupted_at, pause):
    crew = crew_of("a")
    worker = crew.workers["a"]
    give(crew, "a", 1)
    worker.interrupt(interrupted_at)
    worker.give_back(1.0, is_untouched=True)
    assert (worker.is_stuck, worker.paused_until) == (False, 1.0 + pause)


def test_a_second_chunk_that_comes_back_untouched_says_nothing():
    crew = crew_of("a")
    give(crew, "a", 1)
    give(crew, "a", 2)
    crew.workers["a"].give_back(1.0, is_untouched=True)
    assert crew.workers["a"].paused_until == 0.0
