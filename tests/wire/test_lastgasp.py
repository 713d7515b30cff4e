"""The mark of what runs: what is read when its writer has ended, also in mid-write."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from processes import wait_until

from seppo.wire.lastgasp import FUNCTION, INITIALIZER, NOTHING, LastGasp, Mark


@pytest.fixture
def memory():
    memory = LastGasp()
    yield memory
    memory.close()


def test_nothing_is_marked_at_first(memory):
    assert memory.read() == NOTHING
    assert not memory.has_begun


def test_the_last_mark_is_read(memory):
    memory.set(7, 10, 11)
    assert memory.read() == Mark(7, 10, 11, 0.0)
    memory.set(8, 20, 25, 99.5)
    assert memory.read() == Mark(8, 20, 25, 99.5)
    assert memory.has_begun


def test_a_mark_that_is_cleared_is_nothing_and_yet_something_ran(memory):
    memory.set(7, 10, 11)
    memory.clear()
    assert memory.read() == NOTHING
    assert memory.has_begun


def test_what_is_done_before_the_items_is_marked_with_them(memory):
    memory.set(7, 10, 15)
    assert memory.read().setup == ""
    memory.enter(INITIALIZER)
    assert memory.read() == Mark(7, 10, 15, 0.0, INITIALIZER)
    assert memory.read().setup == "the initializer"
    memory.enter(FUNCTION)
    assert memory.read().setup == "unpickling the function"
    memory.set(7, 10, 11)
    assert memory.read() == Mark(7, 10, 11, 0.0)
    memory.set(7, 10, 11, 0.0, 1 << 63)  # user code may write anything
    assert memory.read().setup == ""


def test_another_process_writes_what_this_one_reads(memory):
    pid = os.fork()
    if pid == 0:
        LastGasp(os.dup(memory.fd)).set(2, 3, 4, 5.0)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert memory.read() == Mark(2, 3, 4, 5.0)


def test_the_memory_stays_without_its_descriptor(memory):
    memory.close()
    memory.set(2, 3, 4, 5.0)
    assert memory.read() == Mark(2, 3, 4, 5.0)
    memory.close()  # again does no harm


def test_a_forked_child_marks_nothing_any_more(memory):
    memory.set(2, 3, 4)
    pid = os.fork()
    if pid == 0:
        memory.abandon()
        memory.set(9, 9, 9)
        os._exit(0)
    os.waitpid(pid, 0)
    assert memory.read() == Mark(2, 3, 4, 0.0)


def test_a_writer_killed_at_any_moment_leaves_a_whole_mark():
    for attempt in range(20):
        memory = LastGasp()
        pid = os.fork()
        if pid == 0:
            n = 0
            while True:
                n += 1
                memory.set(n, n, n, float(n))
        deadline = time.monotonic() + 20
        while memory.read().attempt <= 1000 * attempt and time.monotonic() < deadline:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        mark = memory.read()
        assert mark.attempt == mark.first == mark.stop == mark.deadline > 0
        memory.close()


def test_reading_while_another_thread_writes_never_mixes_two_marks(memory):
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            memory.set(n, n, n, float(n))

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    try:
        for _ in range(20_000):
            mark = memory.read()
            assert mark.attempt == mark.first == mark.stop == mark.deadline
            seen.add(mark)
        wait_until(lambda: memory.read() not in seen, "another mark")
    finally:
        stop.set()
        thread.join()
