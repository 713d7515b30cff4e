"""Signals that end a supervisor, whichever thread the kernel gives them to."""

import os
import selectors
import signal
import threading

import pytest
from cluster import wait_until

from seppo.host.signals import signals_caught
from seppo.wire.stream import Waker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_another_thread_gets_wakes_the_main_thread(number):
    waker, heard = Waker(), []
    is_waiting = threading.Event()

    def get_it():
        is_waiting.wait()
        signal.pthread_kill(threading.get_ident(), number)

    thread = threading.Thread(target=get_it)
    thread.start()
    with (
        signals_caught(lambda: heard.append("end"), lambda: heard.append("stop"), waker.signal_fd),
        selectors.DefaultSelector() as selector,
    ):
        selector.register(waker, selectors.EVENT_READ)
        is_waiting.set()
        assert selector.select(20)
        wait_until(lambda: heard)
    thread.join()
    assert heard == ["end" if number == signal.SIGTERM else "stop"]
    assert signal.set_wakeup_fd(-1) == -1
    waker.close()


def test_other_threads_catch_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def catch():
        with signals_caught(os.abort, os.abort, -1):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    assert seen == [before]
