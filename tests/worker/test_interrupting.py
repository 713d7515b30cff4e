"""What an attendant does about an item that nobody wants, without a process to lose."""

from __future__ import annotations

import importlib
import signal
import socket
import sys
import threading
import time
from types import ModuleType

import pytest
from processes import wait_until

from seppo.payload.batch import pack_whole
from seppo.payload.function import pack_function
from seppo.payload.outcome import Interrupted
from seppo.payload.protocol import (
    Cancel,
    Chunk,
    Function,
    Message,
    Recall,
    Returned,
    from_frame,
    to_parts,
)
from seppo.transport.stream import Stream
from seppo.worker import service as services
from seppo.worker.channel import Channel
from seppo.worker.functions import FunctionCache, Known
from seppo.worker.service import EXIT_STUCK, SWALLOWED, WorkerService

FUNC = pack_function(abs)
CHUNK = Chunk(1, 1, 0, 10, FUNC.digest, (pack_whole(range(10), 10),))


class Ended(Exception):
    """Stands for the end of the process."""


class Scene:
    """A service whose main thread seems to be inside an item, and the channel's two ends."""

    def __init__(self) -> None:
        self.service = WorkerService({})
        ours, self.theirs = socket.socketpair()
        self.client = Stream(ours)
        self.channel = Channel(self.theirs, FunctionCache())
        self.signals: list[int] = []
        self.exits: list[int] = []

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.client.send(*to_parts(message))

    def begin(self, channel: Channel, seconds_ago: float) -> None:
        """Pretend that an item began so long ago."""
        run = channel.begin_next()
        assert run is not None
        run.burst_at = time.perf_counter() - seconds_ago
        run.interruptible = True
        self.run = self.service._current = run

    def look(self) -> None:
        self.service._look_after(self.channel)

    def close(self) -> None:
        self.service._current = None
        self.service.leave_to_parent()  # closes what it holds
        self.client.close()
        self.theirs.close()


@pytest.fixture
def scene(monkeypatch):
    scene = Scene()

    def end(status: int) -> None:
        scene.exits.append(status)
        raise Ended

    monkeypatch.setattr(services.os, "_exit", end)
    monkeypatch.setattr(signal, "pthread_kill", lambda _, number: scene.signals.append(number))
    yield scene
    scene.close()


def test_an_item_that_has_run_for_long_gets_its_time_to_end(scene):
    scene.send(Function(FUNC), CHUNK)
    scene.channel.receive()
    scene.begin(scene.channel, seconds_ago=10 * SWALLOWED)
    scene.send(Cancel(1))
    scene.look()
    scene.look()
    assert scene.signals == [services.INTERRUPT] * 2
    assert scene.exits == []
    scene.run.unwanted_at -= SWALLOWED
    with pytest.raises(Ended):
        scene.look()
    assert scene.exits == [EXIT_STUCK]


def test_the_time_before_the_item_began_does_not_count(scene):
    """While another client's items ran, this one could not end."""
    scene.send(Function(FUNC), CHUNK)
    scene.channel.receive()
    scene.begin(scene.channel, seconds_ago=0.0)
    scene.run.abandon()
    scene.run.unwanted_at -= 10 * SWALLOWED
    scene.look()
    assert scene.exits == []
    assert scene.signals == [services.INTERRUPT]


def test_the_process_ends_even_if_nothing_can_be_logged(scene, monkeypatch):
    """The item may hold the lock of a handler."""
    go_on = threading.Event()
    tellers: list[int] = []

    def never_log(_: str) -> None:
        tellers.append(threading.get_ident())
        go_on.wait(20)

    monkeypatch.setattr(services.log, "error", never_log)
    scene.send(Function(FUNC), CHUNK)
    scene.channel.receive()
    scene.begin(scene.channel, seconds_ago=2 * SWALLOWED)
    scene.run.abandon()
    scene.run.unwanted_at -= SWALLOWED
    try:
        with pytest.raises(Ended):
            scene.look()
    finally:
        go_on.set()
    assert scene.exits == [EXIT_STUCK]
    wait_until(lambda: tellers)
    assert threading.get_ident() not in tellers


def test_a_recall_is_answered_while_an_item_runs(scene, monkeypatch):
    monkeypatch.setattr(services, "LONG_ITEM", float("inf"))
    scene.send(Function(FUNC), CHUNK)
    scene.channel.receive()
    scene.begin(scene.channel, seconds_ago=3.0)
    scene.look()
    assert scene.client.receive() == []  # not unasked
    scene.send(Recall(1))
    scene.look()
    (frame,) = scene.client.receive()
    assert from_frame(frame) == Returned(1, 0)


def test_what_comes_behind_a_cancelled_item_is_not_given_back(scene):
    scene.send(Function(FUNC), CHUNK)
    scene.channel.receive()
    scene.begin(scene.channel, seconds_ago=3.0)
    scene.send(Cancel(1), Chunk(2, 1, 0, 10, FUNC.digest, CHUNK.columns))
    scene.look()
    assert [waiting.attempt for waiting, _ in scene.channel.waiting] == [2]


def test_an_attendant_whose_looking_fails_goes_on_and_interrupts(scene, monkeypatch):
    """Nobody else would interrupt what runs for its client."""
    look = scene.service._look_after
    failed: list[Channel] = []

    def fail_first(channel: Channel) -> None:
        if failed:
            look(channel)
            return
        failed.append(channel)
        channel.waiting.append((CHUNK, Known(FUNC)))
        scene.begin(channel, seconds_ago=0.0)
        raise ZeroDivisionError

    monkeypatch.setattr(scene.service, "_look_after", fail_first)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=scene.service.attach, args=(theirs,))
    thread.start()
    try:
        wait_until(lambda: scene.signals)
        assert failed[0].is_closed
        assert scene.run.is_unwanted
    finally:
        scene.service._current = None  # nothing more to look after
        for channel in failed:
            channel.is_released.set()
        thread.join(20)
        ours.close()
        theirs.close()
    assert not thread.is_alive()


def test_an_import_is_not_interrupted_in_the_middle(scene, tmp_path, monkeypatch):
    """numpy, for one, could never be imported again in that process."""
    scene.send(Function(FUNC), CHUNK)
    scene.channel.receive()
    scene.begin(scene.channel, seconds_ago=0.0)
    scene.run.abandon()
    (tmp_path / "asked_while_imported.py").write_text("import ask\nask.ask()\nis_whole = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    helper = ModuleType("ask")
    helper.ask = lambda: scene.service._on_interrupt(0, sys._getframe())
    monkeypatch.setitem(sys.modules, "ask", helper)
    try:
        assert importlib.import_module("asked_while_imported").is_whole
    finally:
        sys.modules.pop("asked_while_imported", None)
    with pytest.raises(Interrupted):  # once it is over
        helper.ask()
