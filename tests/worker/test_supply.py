"""What chunks wait for, and who has them back when it has come."""

from __future__ import annotations

import pytest

from seppo.values.outcome import Failure
from seppo.values.serialize import dump
from seppo.wire.codec import FUNCTION
from seppo.wire.frames import Frame
from seppo.wire.messages import (
    Chunk,
    File,
    Function,
    FunctionAt,
    NeedFiles,
    NeedFunction,
)
from seppo.worker.supply import Supply

ABS, LEN = bytes(32), b"l" * 32
FRAME = Frame(FUNCTION, ())
X, Y = b"x" * 32, b"y" * 32


class Files:
    """A world that only keeps files."""

    def __init__(self):
        self.absent = ()
        self.fails = False

    def missing(self, known):
        return self.absent if known.problem is None else ()

    def add(self, digest, content):
        if self.fails:
            raise OSError("the disk is full")
        self.absent = tuple(each for each in self.absent if each != digest)

    def refuse(self, known, what, reason):
        known.refuse(Failure("SetupError", f"{what}: {reason}"))

    def differences(self, known):
        return {}


@pytest.fixture
def world():
    return Files()


@pytest.fixture
def sent():
    return []


@pytest.fixture
def supply(world, sent):
    return Supply(world, sent.append)


def chunk(attempt, digest=ABS):
    return Chunk(attempt, 1, 0, 1, digest, ())


def function(digest=ABS):
    return Function(digest, dump({ABS: abs, LEN: len}[digest]))


def test_a_function_is_asked_for_once_and_all_its_chunks_come_back(supply, sent):
    assert supply.admit(chunk(1)) is None
    assert supply.admit(chunk(2)) is None
    assert supply.admit(chunk(3, LEN)) is None
    assert sent == [NeedFunction(1, ABS), NeedFunction(3, LEN)]
    assert supply.take_function(function(), FRAME) == [chunk(1), chunk(2)]
    assert supply.admit(chunk(1)) is supply.admit(chunk(2)) is not None


def test_a_shared_function_that_is_gone_is_asked_for_again(supply, sent):
    supply.admit(chunk(1))
    assert supply.map_function(FunctionAt(ABS, "{}")) == []
    assert sent == [NeedFunction(1, ABS), NeedFunction(0, ABS)]
    assert supply.take_function(function(), FRAME) == [chunk(1)]


def test_chunks_wait_for_all_files_of_their_function(supply, sent, world):
    for each in (ABS, LEN):
        supply.take_function(function(each), FRAME)
    world.absent = (X, Y)
    assert supply.admit(chunk(1)) is None
    assert supply.admit(chunk(2)) is None
    world.absent = (Y,)
    assert supply.admit(chunk(3, LEN)) is None
    assert sent == [NeedFiles(ABS, (X, Y)), NeedFiles(LEN, (Y,))]
    assert supply.take_file(File(b"z" * 32, b"")) == []
    assert supply.take_file(File(Y, b"")) == [chunk(3, LEN)]
    assert supply.take_file(File(X, b"")) == [chunk(1), chunk(2)]


def test_a_function_that_comes_again_leaves_chunks_waiting_for_files(supply, sent, world):
    supply.take_function(function(), FRAME)
    world.absent = (X,)
    supply.admit(chunk(1))
    assert supply.take_function(function(), FRAME) == []
    assert supply.take_file(File(X, b"")) == [chunk(1)]
    assert len(sent) == 1


@pytest.mark.parametrize("problem", ["the caller cannot read it", ""])
def test_a_file_that_cannot_be_had_fails_its_functions_at_once(supply, world, problem):
    supply.take_function(function(), FRAME)
    world.absent, world.fails = (X, Y), True
    supply.admit(chunk(1))
    assert supply.take_file(File(X, b"", problem)) == [chunk(1)]
    known = supply.admit(chunk(1))
    assert (problem or "disk is full") in known.take_problem().text
    assert known.take_problem() is None


def test_what_nobody_waits_for_is_asked_for_again(supply, sent):
    supply.admit(chunk(1))
    supply.admit(chunk(2))
    assert supply.forget(1)
    assert not supply.forget(1)
    supply.admit(chunk(3))
    assert len(sent) == 1
    assert supply.clear() == [chunk(2), chunk(3)]
    supply.admit(chunk(4))
    assert supply.forget(4)
    supply.admit(chunk(5))
    assert sent[1:] == [NeedFunction(4, ABS), NeedFunction(5, ABS)]
