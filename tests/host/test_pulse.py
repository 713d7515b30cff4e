"""A process that uses the processor is not frozen; one that is stopped, or never runs, is."""

from __future__ import annotations

import os
import signal

from processes import Process, wait_until

from seppo.host.pulse import Pulse, is_stopped


def test_a_busy_process_is_not_frozen():
    pulse = Pulse()
    pulse.is_frozen(os.getpid())
    before = sum(os.times()[:2])
    while sum(os.times()[:2]) < before + 0.05:
        pass
    assert not pulse.is_frozen(os.getpid())


def test_a_stopped_process_is_frozen_at_the_first_look():
    with Process("-c", "while True: pass") as process:
        process.kill(signal.SIGSTOP)
        wait_until(lambda: Pulse().is_frozen(process.pid))
        assert is_stopped(process.pid)
        process.kill(signal.SIGCONT)
        wait_until(lambda: not Pulse().is_frozen(process.pid))
        assert not is_stopped(process.pid)


def test_a_process_that_has_not_run_between_two_looks_is_frozen():
    with Process("-c", "import time; time.sleep(600)") as process:
        pulse = Pulse(still=0.2)
        assert not pulse.is_frozen(process.pid)
        wait_until(lambda: pulse.is_frozen(process.pid))


def test_of_one_that_is_gone_nobody_can_tell():
    assert Pulse().is_frozen(1 << 30)
    assert not is_stopped(1 << 30)
