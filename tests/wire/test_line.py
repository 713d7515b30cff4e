"""The control line: whatever user code writes into it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seppo.wire.line import LONGEST, MOST, Line


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    line = Line(ours)
    yield line, theirs
    line.close()
    theirs.close()


def test_messages_come_as_they_were_said(ends):
    line, theirs = ends
    other = Line(theirs)
    other.say(ready=True)
    other.say(lease={"token": "x"})
    assert line.hear() == [{"ready": True}, {"lease": {"token": "x"}}]
    assert line.hear() == []


def test_half_a_message_waits_for_the_rest(ends):
    line, theirs = ends
    theirs.send(b'{"a": 1}\n{"b"')
    assert line.hear() == [{"a": 1}]
    theirs.send(b": 2}\n")
    assert line.hear() == [{"b": 2}]


def test_a_closed_line_is_an_end(ends):
    line, theirs = ends
    theirs.close()
    with pytest.raises((EOFError, OSError)):
        line.hear()


@pytest.mark.parametrize(
    "rubbish",
    [b"\n", b"[1]\n", b"hello\n", b"\xff\xfe\n", b"[" * 3000 + b"\n", b"x" * (LONGEST + 1),
     b"1" * 4096 + b"\n", b"{}\n" * (MOST + 1)],
    ids=range(8),
)  # fmt: skip
def test_rubbish_is_told_as_such(ends, rubbish):
    line, theirs = ends
    theirs.send(rubbish)
    with pytest.raises(ValueError, match=r"."):
        line.hear()


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_messages_or_rubbish(data):
    ours, theirs = socket.socketpair()
    with theirs:
        line = Line(ours)
        theirs.send(data)
        try:
            assert all(type(message) is dict for message in line.hear())
        except ValueError:
            pass
        line.close()


def test_who_does_not_read_holds_nobody_up(ends):
    line, _ = ends
    with pytest.raises(BlockingIOError):
        say_much(line)


def say_much(line: Line) -> None:
    for _ in range(100_000):
        line.say(end=True)
