"""What the attendant does about an item that must end, without a process to lose."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from processes import wait_until

from seppo.values.batch import pack_whole
from seppo.values.function import pack_function
from seppo.values.outcome import Interrupted
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.lastgasp import NOTHING, LastGasp
from seppo.wire.line import Line
from seppo.wire.messages import (
    Cancel,
    Chunk,
    Message,
    Results,
    Returned,
)
from seppo.wire.stream import Stream, Waker
from seppo.worker import attendant as attendants
from seppo.worker import run as runs
from seppo.worker.attendant import EXIT_INTERRUPTED, FINALIZER, GRACE, PATIENCE, Attendant
from seppo.worker.channel import Channel

FUNC = pack_function(abs)
CHUNK = Chunk(1, 1, 0, 10, FUNC.digest, (pack_whole(range(10), 10),))
LIMITED = replace(CHUNK, task_timeout=5.0)


class Ended(Exception):
    """Stands for the end of the process."""


class Clock:
    """Stands for the module ``time``; its time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic
    sleep = staticmethod(time.sleep)


class Scene:
    """An attendant whose main thread seems to be inside an item, and what is at the other ends."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.client = Stream(ours)
        self.memory = LastGasp()
        self.channel = Channel(self.theirs, self.memory)
        line, self.supervisor = socket.socketpair()
        self.line = Line(line)
        self.waker = Waker()
        self.attendant = Attendant(self.channel, self.line, self.memory, self.waker)
        self.clock = Clock()
        self.signals: list[int] = []
        self.exits: list[int] = []

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.client.send(*to_parts(message))

    def heard(self) -> list[Message]:
        return [from_frame(frame) for frame in self.client.receive()]

    def begin(self, chunk: Chunk, seconds_ago: float) -> None:
        """Pretend that an item of a chunk began so long ago."""
        self.send(FUNC.message, chunk)
        self.channel.receive()
        runner = self.channel.begin_next()
        assert runner is not None
        self.run = runner.run
        self.attendant.watch(self.run)
        self.run.begin_burst()
        assert self.run.begin_one()
        self.clock.now += seconds_ago

    def look(self) -> None:
        self.attendant.look()

    def close(self) -> None:
        self.memory.close()
        self.line.close()
        self.waker.close()
        self.client.close()
        self.theirs.close()
        self.supervisor.close()


@pytest.fixture
def scene(monkeypatch):
    scene = Scene()

    def end(status: int) -> None:
        scene.exits.append(status)
        raise Ended

    monkeypatch.setattr(attendants, "time", scene.clock)
    monkeypatch.setattr(runs, "time", scene.clock)
    monkeypatch.setattr(attendants.os, "_exit", end)
    monkeypatch.setattr(signal, "pthread_kill", lambda _, number: scene.signals.append(number))
    yield scene
    scene.close()


def test_an_unwanted_item_may_end_by_itself_for_a_while(scene):
    scene.begin(CHUNK, seconds_ago=100.0)
    scene.send(Cancel(1))
    scene.look()
    scene.look()
    assert scene.run.is_unwanted
    assert scene.signals == []
    scene.clock.now += PATIENCE
    scene.look()
    assert scene.signals == [signal.SIGTERM]
    assert scene.memory.read() == NOTHING  # nobody is to be blamed
    scene.look()
    assert scene.signals == [signal.SIGTERM]  # once: its finally clauses are to run
    assert scene.exits == []
    scene.clock.now += GRACE
    with pytest.raises(Ended):
        scene.look()
    assert scene.exits == [EXIT_INTERRUPTED]


def test_an_unwanted_item_that_has_just_ended_costs_nothing(scene):
    scene.begin(CHUNK, seconds_ago=100.0)
    scene.run.abandon()
    scene.clock.now += PATIENCE
    scene.channel.drop_running()  # by the main thread, before the attendant had the lock
    scene.look()
    assert scene.signals == []


def test_what_waits_behind_an_unwanted_item_goes_back_only_when_the_process_ends(scene):
    scene.begin(CHUNK, seconds_ago=3.0)
    scene.send(Cancel(1), replace(CHUNK, attempt=2))
    scene.look()
    assert [waiting.attempt for waiting, _ in scene.channel.waiting] == [2]
    assert scene.heard() == []
    scene.clock.now += PATIENCE
    scene.look()
    assert scene.heard() == [Returned(2, 0)]
    scene.send(replace(CHUNK, attempt=3))
    scene.channel.receive()
    assert scene.heard() == [Returned(3, 0)]
    assert not scene.channel.waiting


def test_an_item_over_its_time_is_told_before_it_is_interrupted(scene):
    scene.begin(LIMITED, seconds_ago=4.9)
    scene.send(replace(CHUNK, attempt=2))
    scene.look()
    assert scene.signals == []
    scene.heard()
    scene.clock.now += 0.2
    scene.look()
    results, returned = scene.heard()
    assert isinstance(results, Results)
    assert (results.attempt, results.batch.count) == (1, 1)
    assert returned == Returned(1, 1)
    assert scene.signals == [signal.SIGTERM]
    assert scene.memory.read() == NOTHING
    scene.look()
    assert scene.heard() == []  # exactly once


def test_a_client_that_has_left_ends_what_runs_at_once(scene):
    scene.begin(CHUNK, seconds_ago=0.0)
    scene.client.close()

    def attend() -> None:
        with suppress(Ended):
            scene.attendant.attend()

    thread = threading.Thread(target=attend)
    thread.start()
    try:
        wait_until(lambda: scene.signals)
        assert scene.run.is_unwanted
        assert scene.channel.is_closed
    finally:
        scene.supervisor.close()  # which ends the attendant, too
        thread.join(20)
    assert scene.exits
    assert not thread.is_alive()


@pytest.mark.parametrize("words", [b'{"end": true}\n', b'{"drain": true}\n'])
def test_what_the_supervisor_says_is_done(scene, words):
    scene.begin(CHUNK, seconds_ago=0.0)
    scene.supervisor.send(words)
    scene.attendant.obey()
    assert scene.signals == [signal.SIGTERM] * (b"end" in words)
    assert scene.heard() == [Returned(1, 1)]
    assert not scene.run.is_unwanted


@pytest.mark.parametrize("is_rubbish", [True, False])
def test_without_a_supervisor_the_process_ends(scene, is_rubbish):
    if is_rubbish:
        scene.supervisor.send(b"rubbish\n")
    else:
        scene.supervisor.close()
    with pytest.raises(Ended):
        scene.attendant.obey()
    assert scene.exits == [0]


def test_a_finalizer_gets_its_time_and_no_more(scene):
    scene.attendant.begin_finalizers()
    scene.clock.now += FINALIZER - 1
    scene.look()
    assert scene.supervisor.recv(100) == b'{"finalizer": true}\n'
    assert scene.exits == []
    scene.clock.now += 1
    with pytest.raises(Ended):
        scene.look()
    assert scene.exits == [EXIT_INTERRUPTED]


def test_a_finalizer_has_its_own_time_after_an_item_that_was_slow_to_end(scene):
    scene.begin(CHUNK, seconds_ago=0.0)
    scene.supervisor.send(b'{"end": true}\n')
    scene.attendant.obey()
    scene.clock.now += GRACE - 0.01  # its finally clauses
    scene.attendant.watch(None)
    scene.attendant.begin_finalizers()
    scene.clock.now += 0.02
    scene.look()
    assert scene.exits == []
    scene.clock.now += FINALIZER
    with pytest.raises(Ended):
        scene.look()


def test_the_process_ends_even_if_nothing_can_be_logged(scene, monkeypatch):
    """The item may hold the lock of a handler."""
    go_on = threading.Event()
    tellers: list[int] = []

    def never_log(_: str) -> None:
        tellers.append(threading.get_ident())
        go_on.wait(20)

    monkeypatch.setattr(attendants.log, "warning", never_log)
    try:
        with pytest.raises(Ended):
            scene.attendant.exit("because")
    finally:
        go_on.set()
    assert scene.exits == [EXIT_INTERRUPTED]
    wait_until(lambda: tellers)
    assert threading.get_ident() not in tellers


def test_an_attendant_that_fails_ends_the_process(scene, monkeypatch):
    """Nobody else would end what is to end."""

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(scene.attendant, "look", fail)
    with pytest.raises(Ended):
        scene.attendant.attend()
    assert scene.exits == [EXIT_INTERRUPTED]


def test_a_signal_that_we_have_ordered_raises_in_an_item_alone(scene):
    scene.begin(CHUNK, seconds_ago=0.0)
    scene.supervisor.send(b'{"end": true}\n')
    scene.attendant.obey()
    scene.attendant.watch(None)
    scene.attendant.on_sigterm(signal.SIGTERM, None)  # between items: nothing
    scene.attendant.watch(scene.run)
    with pytest.raises(Interrupted):
        scene.attendant.on_sigterm(signal.SIGTERM, None)


def test_a_signal_that_nobody_has_ordered_has_its_usual_effect(scene, monkeypatch):
    killed: list[tuple[int, int]] = []
    handlers: list[object] = []
    monkeypatch.setattr(attendants.os, "kill", lambda *what: killed.append(what))
    monkeypatch.setattr(signal, "signal", lambda _, handler: handlers.append(handler))
    scene.begin(CHUNK, seconds_ago=0.0)
    scene.attendant.on_sigterm(signal.SIGTERM, None)
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert handlers == [signal.SIG_DFL]
