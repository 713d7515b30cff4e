"""When a client's worlds are over."""

from dataclasses import replace

import pytest

from seppo.engines.worlds import KEPT_SECONDS, MOST_IDLE, WorldBook
from seppo.values.function import PackedFunction
from seppo.values.setup import SetupFacts
from seppo.wire.packed import Packed

PLAIN = PackedFunction(b"p" * 32, Packed(b"plain"))
FOREVER = float("inf")


def with_setup(key, **facts):
    return replace(PLAIN, setup=SetupFacts(key=key, **facts))


@pytest.fixture
def worlds():
    return WorldBook()


def run(worlds, job, function, now):
    """Have a job come and go; return its world."""
    world = worlds.open(job, function)
    worlds.close(job, now)
    return world


def test_jobs_that_do_not_contradict_each_other_share_a_world(worlds):
    assert worlds.open(1, PLAIN) == worlds.open(2, replace(PLAIN, digest=b"q" * 32)) == 1
    assert worlds.open(3, with_setup(b"other")) == 2


def test_the_newest_world_is_kept_for_good(worlds):
    run(worlds, 1, PLAIN, 10.0)
    assert worlds.next_deadline() == FOREVER
    assert worlds.over(1e9) == []
    assert worlds.open(2, PLAIN) == 1


def test_an_older_one_is_kept_for_a_while(worlds):
    run(worlds, 1, PLAIN, 10.0)
    run(worlds, 2, with_setup(b"new"), 20.0)
    assert worlds.next_deadline() == 10.0 + KEPT_SECONDS
    assert worlds.over(9.9 + KEPT_SECONDS) == []
    assert worlds.over(10.0 + KEPT_SECONDS) == [1]
    assert worlds.over(1e9) == []
    assert worlds.next_deadline() == FOREVER
    assert worlds.open(3, PLAIN) == 3  # its processes are gone, and so is its number


def test_who_comes_back_in_time_finds_it(worlds):
    run(worlds, 1, PLAIN, 10.0)
    run(worlds, 2, with_setup(b"new"), 20.0)
    assert worlds.open(3, PLAIN) == 1
    assert worlds.over(1e9) == []
    worlds.close(3, 1e9)
    assert worlds.next_deadline() == 1e9 + KEPT_SECONDS


def test_a_world_with_a_job_is_not_over(worlds):
    worlds.open(1, PLAIN)
    worlds.open(2, PLAIN)
    run(worlds, 3, with_setup(b"new"), 20.0)
    worlds.close(1, 10.0)
    assert worlds.over(1e9) == []
    worlds.close(2, 1e9)
    assert worlds.next_deadline() == 1e9 + KEPT_SECONDS


def test_of_many_that_are_idle_the_oldest_are_over_at_once(worlds):
    for n in range(MOST_IDLE + 3):
        run(worlds, n, with_setup(b"%d" % n), float(n))
    assert worlds.next_deadline() <= 10.0
    assert sorted(worlds.over(10.0)) == [1, 2]
    assert worlds.over(10.0) == []


def test_one_with_a_finalizer_is_over_with_its_last_job(worlds):
    once = with_setup(b"once", has_finalizer=True)
    worlds.open(1, once)
    worlds.open(2, once)
    worlds.close(1, 10.0)
    assert worlds.over(10.0) == []
    worlds.close(2, 20.0)
    assert worlds.next_deadline() == 20.0
    assert worlds.over(20.0) == [1]
    assert worlds.open(3, once) == 2


def test_its_processes_get_its_variables(worlds):
    world = worlds.open(1, with_setup(b"env", env=(("NAME", "value"),)))
    assert worlds.env(world) == {"NAME": "value"}
    assert worlds.env(7) == {}


def test_the_end_of_a_job_that_nobody_knows_changes_nothing(worlds):
    worlds.close(1, 10.0)
    assert worlds.next_deadline() == FOREVER


def test_a_world_is_there_until_it_is_over(worlds):
    once = with_setup(b"once", has_finalizer=True)
    assert 1 not in worlds
    run(worlds, 1, once, 10.0)
    assert 1 in worlds
    worlds.over(10.0)
    assert 1 not in worlds
