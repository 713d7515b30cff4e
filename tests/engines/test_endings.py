"""What is told of a worker that ends: a dialogue without sockets, clocks or waiting."""

from __future__ import annotations

from seppo.core.events import Verdict, WorkerLost
from seppo.engines.endings import LAST_WORDS, VERDICT_WAIT, Endings

GUILTY = Verdict("SIGSEGV", 7, 3, 4)


def test_the_socket_first_and_then_the_verdict():
    losses = Endings()
    assert losses.socket_ended("a", "closed", 1.0, expects=True) is None
    assert "a" in losses
    assert losses.process_ended("a", GUILTY, 1.1, is_open=False) == WorkerLost(
        "a", "SIGSEGV", GUILTY
    )
    assert "a" not in losses
    assert losses.next_deadline() == float("inf")


def test_the_verdict_first_and_then_the_socket():
    losses = Endings()
    assert losses.process_ended("a", GUILTY, 1.0, is_open=True) is None
    assert losses.socket_ended("a", "closed", 1.1, expects=True) == WorkerLost(
        "a", "SIGSEGV", GUILTY
    )


def test_nobody_waits_for_a_verdict_that_cannot_come():
    losses = Endings()
    assert losses.socket_ended("a", "closed", 1.0, expects=False) == WorkerLost("a", "closed")


def test_the_wait_for_a_verdict_ends():
    losses = Endings()
    losses.socket_ended("a", "closed", 1.0, expects=True)
    assert losses.next_deadline() == 1.0 + VERDICT_WAIT
    assert losses.due(1.0 + VERDICT_WAIT / 2) == ([], [])
    assert losses.due(1.0 + VERDICT_WAIT) == ([WorkerLost("a", "closed")], [])
    assert losses.due(99.0) == ([], [])


def test_a_socket_that_outlives_its_process_is_to_be_closed():
    losses = Endings()
    losses.process_ended("a", GUILTY, 1.0, is_open=True)
    losses.heard("a", 1.2)  # data that was on its way
    assert losses.due(1.0 + LAST_WORDS) == ([], [])
    assert losses.due(1.2 + LAST_WORDS) == ([], ["a"])
    assert losses.socket_ended("a", "closed by us", 2.0, expects=True).verdict == GUILTY


def test_who_waits_for_a_supervisor_that_left_waits_no_longer():
    losses = Endings()
    losses.socket_ended("a", "closed", 1.0, expects=True)
    losses.process_ended("b", GUILTY, 1.0, is_open=True)
    losses.socket_ended("c", "closed", 1.0, expects=True)
    assert losses.nobody_knows(["a", "b", "x"]) == [WorkerLost("a", "closed")]
    assert "b" in losses
    assert "c" in losses


def test_hearing_from_others_changes_nothing():
    losses = Endings()
    losses.heard("a", 1.0)
    losses.socket_ended("b", "closed", 1.0, expects=True)
    losses.heard("b", 1.5)
    assert losses.next_deadline() == 1.0 + VERDICT_WAIT


def test_a_second_verdict_leaves_nothing_behind():
    losses = Endings()
    losses.socket_ended("a", "closed", 1.0, expects=True)
    assert losses.process_ended("a", GUILTY, 1.1, is_open=False) is not None
    assert losses.process_ended("a", GUILTY, 1.1, is_open=False) is None
    assert "a" not in losses
    assert losses.next_deadline() == float("inf")
