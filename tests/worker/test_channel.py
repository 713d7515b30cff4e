"""The client's channel on the worker's side, with a fake client at the other end."""

from __future__ import annotations

import socket
from dataclasses import replace

import hostile
import pytest
from processes import wait_until

from seppo.errors import ProtocolError
from seppo.values.batch import EACH, pack_values, pack_whole, unpack_all
from seppo.values.function import PackedFunction, pack_function
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.messages import (
    Cancel,
    Chunk,
    File,
    Message,
    NeedFiles,
    NeedFunction,
    Recall,
    Results,
    Returned,
    Welcome,
)
from seppo.wire.packed import Batch
from seppo.wire.stream import Stream
from seppo.worker import channel as channels
from seppo.worker.channel import Channel
from seppo.worker.world import World

DOUBLE = pack_function(lambda x: 2 * x)


class Client:
    """The other end: sends messages, and has the worker's side receive them."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.stream = Stream(ours)
        self.channel = Channel(theirs)
        self.theirs = theirs

    def send(self, *messages: Message | PackedFunction) -> bool:
        for message in messages:
            if isinstance(message, PackedFunction):  # its files first, so that none is asked for
                for digest, content in message.bundle.contents.items():
                    self.stream.send(*to_parts(File(bytes.fromhex(digest), content)))
                message = message.message
            self.stream.send(*to_parts(message))
        return self.channel.receive()

    def heard(self) -> list[Message]:
        self.channel.flush()
        return [from_frame(frame) for frame in self.stream.receive()]

    def close(self) -> None:
        self.stream.close()
        self.theirs.close()


@pytest.fixture
def client():
    client = Client()
    yield client
    client.close()


def chunk(attempt: int = 1, count: int = 3, index: int = 0, function=DOUBLE) -> Chunk:
    column = pack_whole(range(index, index + count), count)
    return Chunk(attempt, 1, index, count, function.digest, (column,))


def values(message: Message) -> list[object]:
    assert isinstance(message, Results)
    return unpack_all(message.batch, str)


def run(client: Client, bursts: int = 1000) -> None:
    """Do as the worker's main thread does."""
    while bursts and client.channel.has_work:
        bursts -= 1
        current = client.channel.begin_next()
        current.run_burst()
        client.channel.finish_burst(current.run)


def test_a_chunk_is_run_and_answered(client):
    client.send(DOUBLE, chunk(count=3))
    assert client.channel.has_work
    run(client)
    (answer,) = client.heard()
    assert answer.attempt == 1
    assert answer.seconds >= 0
    assert values(answer) == [0, 2, 4]
    assert not client.channel.has_work
    assert client.channel.items_done == 3


def test_files_that_a_cleaner_removes_while_a_chunk_waits_are_asked_for_again(client, monkeypatch):
    client.send(DOUBLE, chunk(count=3))
    answers = [(b"x" * 32,), (), ()]
    monkeypatch.setattr(World, "missing", lambda *_: answers.pop(0))
    assert client.channel.begin_next() is None
    assert client.heard() == [NeedFiles(DOUBLE.digest, (b"x" * 32,))]
    monkeypatch.setattr(World, "add", lambda *_: None)
    client.send(File(b"x" * 32, b"content"))
    run(client)
    assert values(client.heard()[0]) == [0, 2, 4]


def test_chunks_are_run_in_the_order_they_came(client):
    client.send(DOUBLE, chunk(1), chunk(2, index=10), chunk(3, index=20))
    run(client)
    assert [answer.attempt for answer in client.heard()] == [1, 2, 3]


def test_a_function_that_is_missing_is_asked_for_and_the_chunk_waits(client):
    client.send(chunk())
    assert client.heard() == [NeedFunction(1, DOUBLE.digest)]
    assert not client.channel.has_work
    client.send(DOUBLE)
    run(client)
    assert values(client.heard()[0]) == [0, 2, 4]


def test_a_function_is_known_from_then_on(client):
    client.send(DOUBLE, chunk(1), chunk(2, index=10))
    run(client)
    assert [type(message) for message in client.heard()] == [Results, Results]


def test_a_chunk_that_waits_is_given_back_whole(client):
    client.send(DOUBLE, chunk(1), chunk(2), Recall(2))
    assert client.heard() == [Returned(2, 0)]
    run(client)
    assert [answer.attempt for answer in client.heard()] == [1]


def test_a_chunk_that_waits_for_its_function_is_given_back(client):
    client.send(chunk(1))
    client.send(Recall(1), DOUBLE)
    assert client.heard()[1:] == [Returned(1, 0)]
    assert not client.channel.has_work


def test_the_rest_of_a_running_chunk_is_given_back_after_what_is_done(client):
    client.send(DOUBLE, chunk(1, count=100))
    run(client, bursts=1)
    client.send(Recall(1))
    results, returned = client.heard()
    assert values(results) == [2 * x for x in range(returned.kept)]
    assert 0 < returned.kept < 100
    run(client)
    assert client.heard() == []
    assert not client.channel.has_work


def test_recalling_what_is_over_says_nothing(client):
    client.send(DOUBLE, chunk(1))
    run(client)
    client.heard()
    client.send(Recall(1), Recall(77))
    assert client.heard() == []


def test_a_chunk_that_waits_can_be_cancelled(client):
    client.send(DOUBLE, chunk(1), chunk(2))
    client.channel.begin_next()
    assert client.send(Cancel(2)) is False
    run(client)
    assert [answer.attempt for answer in client.heard()] == [1]


def test_cancelling_what_runs_is_told_and_its_outcome_is_dropped(client):
    client.send(DOUBLE, chunk(1, count=100), chunk(2))
    run(client, bursts=1)
    assert client.send(Cancel(1)) is True
    assert client.channel.running.is_unwanted
    client.channel.drop_running()
    run(client)
    assert [answer.attempt for answer in client.heard()] == [2]


def test_everything_that_has_not_begun_can_be_given_back(client):
    client.send(DOUBLE, chunk(1, count=100), chunk(2), chunk(3))
    run(client, bursts=1)
    client.channel.give_back_all()
    results, first, second, third = client.heard()
    assert first == Returned(1, len(values(results)))
    assert [second, third] == [Returned(2, 0), Returned(3, 0)]
    client.channel.give_back_all()
    assert client.heard() == []


def test_partial_results_are_sent_once_they_are_due(client, monkeypatch):
    monkeypatch.setattr(channels, "PARTIAL_SECONDS", 0.0)
    client.send(DOUBLE, chunk(1, count=10))
    run(client)
    answers = client.heard()
    assert len(answers) > 1
    assert [v for answer in answers for v in values(answer)] == [2 * x for x in range(10)]


def test_results_that_cannot_travel_are_named_by_their_item(client):
    bad = pack_function(hostile.returns_unpicklable)
    client.send(bad, chunk(1, index=40, function=bad))
    run(client)
    assert "the result of item 41" in values(client.heard()[0])[1].text


def test_a_client_that_does_not_read_gets_nothing_more_to_do(client, monkeypatch):
    monkeypatch.setattr(channels, "CONGESTED", 1 << 20)
    big = pack_function(lambda x: bytes(16 << 20))
    client.send(big, chunk(1, count=1, function=big), chunk(2, count=1, function=big))
    run(client)
    assert client.channel.wants_write
    assert not client.channel.has_work
    got: list[Message] = []
    wait_until(lambda: got.extend(client.heard()) or got)
    assert client.channel.has_work


def test_a_client_that_leaves_is_forgotten(client):
    client.send(DOUBLE, chunk(1), chunk(2))
    client.stream.close()
    wait_until(lambda: client.channel.receive() or client.channel.is_closed)
    assert not client.channel.has_work
    assert not client.channel.waiting


def test_leaving_while_a_chunk_runs_is_told(client):
    client.send(DOUBLE, chunk(1, count=100))
    current = client.channel.begin_next()
    current.run_burst()
    client.stream.close()
    assert wait_until(client.channel.receive) is True
    assert current.run.is_unwanted
    client.channel.finish_burst(current.run)  # sends nothing, raises nothing


def test_results_for_a_client_that_left_harm_nobody(client):
    client.send(DOUBLE, chunk(1))
    client.stream.close()
    run(client)
    assert client.channel.is_closed
    client.channel.send(Welcome({}))
    client.channel.flush()


@pytest.mark.parametrize(
    "message", [Welcome({}), Returned(1, 0), NeedFunction(1, DOUBLE.digest)], ids=repr
)
def test_what_a_client_does_not_send_cuts_it_off(client, message):
    client.send(message)
    assert client.channel.is_closed


def test_junk_cuts_the_client_off(client):
    client.stream.sock.send(b"GET / HTTP/1.1\r\n\r\n and so on")
    client.channel.receive()
    assert client.channel.is_closed


def test_a_chunk_that_lies_is_refused_where_it_begins(client):
    lying = Chunk(1, 1, 0, 5, DOUBLE.digest, (Batch(EACH, 5, (b"", b"")),))
    client.send(DOUBLE, lying)
    with pytest.raises(ProtocolError):
        client.channel.begin_next()


def test_items_that_do_not_arrive_are_answered_as_failures(client):
    column = pack_values([[1], hostile.RaisesAtUnpickling(SystemExit), [3]], str)
    client.send(DOUBLE, Chunk(1, 1, 0, 3, DOUBLE.digest, (column,)))
    run(client)
    got = [value for answer in client.heard() for value in values(answer)]
    assert (got[0], got[2]) == ([1, 1], [3, 3])
    assert "at unpickling" in got[1].text


def test_a_chunk_that_was_cancelled_between_two_bursts_runs_no_further(client):
    client.send(DOUBLE, chunk(1, count=100), chunk(2))
    run(client, bursts=1)
    client.send(Cancel(1))
    assert client.channel.begin_next().run.chunk.attempt == 2


# --- draining, limits, alone


def test_a_channel_that_drains_keeps_only_what_runs(client):
    other = pack_function(lambda x: -x)
    client.send(DOUBLE, chunk(1, count=100), chunk(2), chunk(3, function=other))
    run(client, bursts=1)
    client.heard()
    client.channel.drain()
    heard = client.heard()
    assert [m.attempt for m in heard if isinstance(m, Returned)] == [1, 2, 3]
    client.send(chunk(4))
    assert client.heard() == [Returned(4, 0)]
    assert not client.channel.has_work or client.channel.running is not None


def test_a_channel_that_leaves_sends_nothing_more_and_still_reads(client):
    client.send(DOUBLE, chunk(1))
    run(client)
    client.channel.drain()
    client.channel.leave()
    client.send(chunk(2))
    (answer,) = client.heard()
    assert values(answer) == [0, 2, 4]
    with pytest.raises(EOFError):
        client.heard()
    client.stream.close()
    client.channel.receive()
    assert client.channel.is_closed


def test_an_item_that_is_given_up_is_told_as_a_failure_and_the_rest_returned(client, monkeypatch):
    seen = []

    def func(x):
        if x == 2:
            client.channel.give_up_item(client.channel.running)
            seen.extend(client.heard())
        return x

    function = pack_function(abs)
    limited = replace(chunk(1, count=5, function=function), task_timeout=1e-9)
    client.send(function, limited)
    monkeypatch.setattr(World, "load", lambda *_: func)
    current = client.channel.begin_next()
    while not seen:
        current.run_burst()
        client.channel.finish_burst(current.run)
    results, returned = seen
    found = values(results)
    assert found[:2] == [0, 1]
    assert found[2].type_name == "seppo.errors.TaskTimeoutError"
    assert returned == Returned(1, 3)


def test_alone_each_result_is_told_at_once(client):
    client.send(DOUBLE, replace(chunk(1, count=3), alone=True))
    run(client)
    assert [values(answer) for answer in client.heard()] == [[0], [2], [4]]


def test_a_chunk_that_nobody_can_count_cuts_its_client_off(client):
    client.send(DOUBLE, replace(chunk(1), index=1 << 63))
    with pytest.raises(ProtocolError):
        client.channel.begin_next()
