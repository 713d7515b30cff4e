"""Worker processes in the hands of a supervisor, with a launcher that starts none."""

import selectors
import socket
from dataclasses import replace

import pytest

from seppo.host.events import (
    HelperAnswered,
    HelperEnded,
    LineBroken,
    ProcessEnded,
    SpareReady,
)
from seppo.host.launcher import Ended, HelperLost, Killed, Started
from seppo.host.processes import Processes
from seppo.wire.config import WorkerConfig
from seppo.wire.line import Line

CONFIG = WorkerConfig("w.1", "lab", "localhost", "w", 1, "localhost", 9090, "", False, (), 0, 0, 0)


class FakeLauncher:
    """Keeps the other ends of control lines, and tells what it is given."""

    def __init__(self):
        self.reader, self.writer = socket.socketpair()
        self.lines = {}
        self.killed = []
        self.told = []

    def fileno(self):
        return self.reader.fileno()

    def start(self, number, config, mark):
        if config.group == "nowhere":
            raise OSError("too many processes")
        ours, theirs = socket.socketpair()
        self.lines[number] = Line(theirs)
        return ours

    def kill(self, number):
        self.killed.append(number)

    def news(self):
        return self.told


@pytest.fixture
def launcher():
    launcher = FakeLauncher()
    yield launcher
    launcher.reader.close()
    launcher.writer.close()
    for line in launcher.lines.values():
        line.close()


@pytest.fixture
def processes(launcher):
    with selectors.DefaultSelector() as selector:
        processes = Processes(launcher, selector)
        yield processes
        for process in processes.by_number.values():
            process.line.close()


def test_a_process_is_heard_until_its_line_is_broken(processes, launcher):
    assert processes.start(1, CONFIG)
    launcher.lines[1].say(ready=True)
    process = processes.by_number[1]
    assert list(processes.hear(process)) == [SpareReady(1)]
    launcher.lines[1].close()
    assert list(processes.hear(process)) == [LineBroken(1)]
    assert not process.is_heard
    process.say(end=True)  # nobody hears it, and nothing happens


def test_a_process_that_cannot_be_started_is_not_there(processes):
    assert not processes.start(1, replace(CONFIG, group="nowhere"))
    assert not processes.by_number


def test_the_launcher_tells_of_starts_ends_and_its_helper(processes, launcher):
    processes.start(1, CONFIG)
    processes.kill(1, "for a test")
    assert launcher.killed == [1]
    launcher.told = [Started(1, 4711), Killed(1), HelperLost(-9), Ended(1, -9)]
    events = processes.hear_launcher()
    assert next(events) == HelperAnswered(1)
    assert next(events) == HelperAnswered(1)
    assert processes.by_number[1].pid == 4711
    assert next(events) == HelperEnded()
    assert 1 in processes.by_number  # what follows from the event may still concern it
    (end,) = events
    assert isinstance(end, ProcessEnded)
    assert (end.number, end.status, end.has_worked) == (1, -9, False)
    assert not processes.by_number


def test_the_end_of_a_process_that_nobody_knows_is_no_news(processes, launcher):
    launcher.told = [Ended(7, 0)]
    assert list(processes.hear_launcher()) == []
