"""Tasks in threads of their own."""

from __future__ import annotations

import threading

import pytest
from processes import wait_until

from seppo.engines.connectors import CONNECTORS, Connectors


@pytest.fixture
def connectors():
    connectors = Connectors()
    yield connectors
    wait_until(lambda: not connectors.is_working, what="the end of the threads")


def test_tasks_are_done_side_by_side_and_the_threads_end(connectors):
    together = threading.Barrier(5)
    done = []
    for n in range(5):
        connectors.submit(lambda n=n: (together.wait(20), done.append(n)))
    wait_until(lambda: sorted(done) == [0, 1, 2, 3, 4])


def test_what_a_task_raises_is_logged_and_the_next_one_is_done(connectors, caplog):
    done = threading.Event()

    def fail():
        raise ValueError("a strange peer")

    connectors.submit(fail)
    connectors.submit(done.set)
    assert done.wait(20)
    wait_until(lambda: "a strange peer" in caplog.text)


def test_more_threads_help_where_all_wait_for_the_dead(connectors):
    dead, done = threading.Event(), threading.Event()
    try:
        for _ in range(CONNECTORS):
            connectors.submit(dead.wait)
        connectors.submit(done.set)
        assert connectors.is_held_up
        connectors.hire_more()
        assert done.wait(20)
        assert not connectors.is_held_up
    finally:
        dead.set()


def test_what_waits_is_done_when_threads_start_again(connectors, no_new_threads):
    done = threading.Event()
    connectors.submit(done.set)
    assert not connectors.is_working
    no_new_threads.undo()
    connectors.resume()
    assert done.wait(20)
