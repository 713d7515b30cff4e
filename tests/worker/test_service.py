"""A worker process, spoken to over data channels."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
from processes import CREDENTIALS, PATIENCE, is_running, wait_until

from seppo.payload.batch import EACH, WHOLE, Batch, pack_values, unpack_all
from seppo.payload.function import PackedFunction, pack_function
from seppo.payload.outcome import Failure
from seppo.payload.place import current_worker
from seppo.payload.protocol import (
    Cancel,
    Chunk,
    File,
    Function,
    Message,
    Recall,
    Results,
    Returned,
    Welcome,
    from_frame,
    to_parts,
)
from seppo.transport.address import Address
from seppo.transport.proxy import attach, call
from seppo.transport.stream import Stream
from seppo.worker.launcher import Ended, SpawnLauncher
from seppo.worker.process import WorkerConfig
from seppo.worker.service import WorkerService


class Worker:
    """A worker process without a supervisor."""

    def __init__(self) -> None:
        self.launcher = SpawnLauncher()
        config = WorkerConfig(
            name="test.worker", group="lab", host="127.0.0.1", supervisor="PYRO:none@127.0.0.1:1",
            threads=1, ns_host="127.0.0.1", ns_port=1,
        )  # fmt: skip
        self.line = self.launcher.start(0, config)
        self.line.settimeout(PATIENCE)
        with self.line.makefile() as lines:
            ready = json.loads(lines.readline())
        self.address = Address.parse(ready["uri"])
        self.pid = int(ready["facts"]["pid"])

    def info(self) -> dict[str, Any]:
        return call(CREDENTIALS, self.address, "info", timeout=PATIENCE)

    def stop(self) -> None:
        self.line.close()
        wait_until(lambda: any(isinstance(item, Ended) for item in self.launcher.news()))
        self.launcher.close()
        self.line.close()


class Client:
    """One client of a worker."""

    def __init__(self, worker: Worker) -> None:
        self.stream = Stream(attach(CREDENTIALS, worker.address, PATIENCE))
        self.heard: list[Message] = []
        self.wait_for(Welcome)

    def send(self, *messages: Message) -> None:
        for message in messages:
            if isinstance(message, Function):  # its files first, so that none is asked for
                for digest, content in message.function.bundle.contents.items():
                    self.stream.send(*to_parts(File(bytes.fromhex(digest), content)))
            self.stream.send(*to_parts(message))

    def run(self, attempt: int, func: Callable[[Any], Any], items: list[Any]) -> None:
        """Send a chunk with its function."""
        packed = pack_function(func)
        self.send(Function(packed), chunk(attempt, packed, items))

    def wait_for(self, kind: type, count: int = 1) -> list[Any]:
        """Return messages of a kind, once there are so many."""

        def enough() -> list[Any]:
            self.stream.flush()
            self.heard += map(from_frame, self.stream.receive())
            found = [message for message in self.heard if isinstance(message, kind)]
            return found if len(found) >= count else []

        return wait_until(enough, lambda: str(self.heard))

    def outcomes(self, attempt: int, count: int) -> list[Any]:
        """Return the outcomes of an attempt, once there are so many."""

        def enough() -> list[Any]:
            self.stream.flush()
            self.heard += map(from_frame, self.stream.receive())
            found = [
                value
                for message in self.heard
                if isinstance(message, Results) and message.attempt == attempt
                for value in unpack_all(message.batch, str)
            ]
            return found if len(found) >= count else []

        return wait_until(enough, lambda: str(self.heard))

    def close(self) -> None:
        self.stream.close()


def chunk(attempt: int, packed: PackedFunction, items: list[Any]) -> Chunk:
    column = pack_values(items, lambda i: f"item {i}")
    return Chunk(attempt, 1, 0, len(items), packed.digest, (column,))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


@pytest.fixture
def connect(worker) -> Iterator[Callable[[], Client]]:
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(worker))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    wait_until(lambda: worker.info()["clients"] == 0, what="clients are forgotten")
    assert is_running(worker.pid)


def test_it_greets_with_who_it_is(connect, worker):
    (welcome,) = connect().wait_for(Welcome)
    assert welcome.info["pid"] == worker.pid
    assert welcome.info["group"] == "lab"
    assert call(CREDENTIALS, worker.address, "ping", timeout=PATIENCE) == "pong"


def test_items_run_in_the_main_thread_of_another_process(connect, worker):
    def where(_: int) -> tuple[int, bool, str | None]:
        import threading

        main = threading.current_thread() is threading.main_thread()
        return os.getpid(), main, current_worker()

    client = connect()
    client.run(1, where, [0])
    assert client.outcomes(1, 1) == [(worker.pid, True, "test.worker")]


def test_outcomes_of_many_items_come_back_in_order(connect):
    client = connect()
    client.run(1, lambda x: x + 1, list(range(10_000)))
    assert client.outcomes(1, 10_000) == list(range(1, 10_001))


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (hostile.fail, "hostile.Oops"),
        (hostile.exit_politely, "builtins.SystemExit"),
        (hostile.stop_iteration, "builtins.StopIteration"),
        (hostile.returns_unpicklable, "seppo.errors.SerializationError"),
    ],
)
def test_what_goes_wrong_in_an_item_costs_the_worker_nothing(connect, func, name):
    client = connect()
    client.run(1, lambda x: func() if x else "fine", [0, 1, 0])
    first, second, third = client.outcomes(1, 3)
    assert (first, third) == ("fine", "fine")
    assert second.type_name == name


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit])
def test_a_result_that_raises_when_packed_costs_only_itself(connect, kind):
    client = connect()
    client.run(1, lambda x: hostile.RaisesAtPickling(kind) if x else [x], [0, 1, 0])
    first, second, third = client.outcomes(1, 3)
    assert (first, third) == ([0], [0])
    assert "the result of item 1" in second.text


def test_a_function_that_cannot_be_loaded_fails_its_items(connect):
    client = connect()
    bomb = hostile.RaisesAtUnpickling(SystemExit)
    client.run(1, lambda x, bomb=bomb: x, [1, 2])
    assert [type(value) for value in client.outcomes(1, 2)] == [Failure] * 2


def test_two_clients_share_the_worker(connect, worker):
    slow, quick = connect(), connect()
    slow.run(1, lambda x: time.sleep(0.02), list(range(10_000)))
    wait_until(lambda: worker.info()["busy"])
    quick.run(1, lambda x: x, [1, 2, 3])
    assert quick.outcomes(1, 3) == [1, 2, 3]
    slow.send(Cancel(1))


def test_a_long_item_gives_back_what_is_behind_it(connect):
    client = connect()
    client.run(1, lambda x: time.sleep(60) if x == 3 else x, list(range(10)))
    client.run(2, lambda x: x, [5])
    returned = client.wait_for(Returned, 2)
    assert returned == [Returned(1, 4), Returned(2, 0)]
    assert client.outcomes(1, 3) == [0, 1, 2]  # what was finished is not held back
    client.send(Cancel(1))


def test_a_running_item_can_be_cancelled_and_the_next_one_runs(connect, worker):
    client = connect()
    client.run(1, lambda x: time.sleep(600), [0])
    wait_until(lambda: worker.info()["busy"])
    client.send(Cancel(1))
    client.run(2, lambda x: x, [7])
    assert client.outcomes(2, 1) == [7]
    assert not [m for m in client.heard if isinstance(m, Results) and m.attempt == 1]


OWN_MODULE = """
import hostile
class Slow(hostile.SleepsAtPickling):
    pass
"""


def caught(where: str, folder: Path, path: str) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return a function and items of which the first never ends, in a place."""
    if where == "function":
        slow = hostile.SleepsAtUnpickling(path)
        return lambda x, slow=slow: x, [0, 1, 2]
    if where == "item":
        slow = hostile.SleepsAtUnpickling(path)
        return lambda x, its_module=hostile.sleep: x, [slow, slow, 2]
    if where == "first result":
        return lambda x: hostile.SleepsAtPickling(path), [0, 1, 2]
    (folder / "module_of_mine.py").write_text(OWN_MODULE)

    def later_result(x: int) -> Any:
        import importlib
        import sys

        if x == 0:
            return [0]  # from now on each result is packed before the next item runs
        if x == 1:
            raise ValueError
        sys.path.append(str(folder))
        try:
            return importlib.import_module("module_of_mine").Slow(path)
        finally:
            sys.path.pop()

    return later_result, [0, 1, 2, 3]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("where", ["function", "item", "first result", "later result"])
def test_a_chunk_is_not_over_while_user_code_runs_for_it(connect, worker, where, asked, tmp_path):
    """Else the client would not cancel it, and the worker be caught in there for ever."""
    client = connect()
    path = tmp_path / "caught"
    client.run(1, *caught(where, tmp_path, str(path)))
    if asked:
        wait_until(path.exists, "it is caught")
        client.send(Recall(1))
    (returned,) = client.wait_for(Returned)
    assert path.exists()
    told = len(client.outcomes(1, 2)) if where == "later result" else 0
    assert returned == Returned(1, told + 1)
    client.send(Cancel(1))
    client.run(2, lambda x: x, [7])
    assert client.outcomes(2, 1) == [7]
    assert sum(m.batch.count for m in client.heard if isinstance(m, Results)) == told + 1
    assert is_running(worker.pid)


def test_recalling_answers_also_while_an_item_runs(connect, worker):
    client = connect()
    client.run(1, lambda x: time.sleep(600), [0, 1, 2])
    wait_until(lambda: worker.info()["busy"])
    client.send(Recall(1))
    assert client.wait_for(Returned) == [Returned(1, 1)]
    client.send(Cancel(1))


def test_a_client_that_vanishes_frees_the_worker(connect, worker):
    gone, other = connect(), connect()
    gone.run(1, lambda x: time.sleep(600), list(range(10)))
    wait_until(lambda: worker.info()["busy"])
    gone.close()
    other.run(1, lambda x: x, [7])
    assert other.outcomes(1, 1) == [7]


def test_a_client_that_lies_is_cut_off_and_the_worker_lives(connect, worker):
    func = pack_function(abs)
    two = pack_values([1, 2], str).parts
    for batch in (Batch(EACH, 5, (b"", b"")), Batch(9, 5, (b"",)), Batch(WHOLE, 5, two)):
        liar, honest = connect(), connect()
        liar.send(Function(func), Chunk(1, 1, 0, 5, func.digest, (batch,)))
        with pytest.raises((EOFError, OSError)):
            liar.wait_for(Results)
        honest.run(1, abs, [-1])
        assert honest.outcomes(1, 1) == [1]
        liar.close()
        honest.close()
    assert is_running(worker.pid)


def test_big_arguments_and_results_pass_at_the_same_time(connect):
    client = connect()
    items = [bytes([i]) * (8 << 20) for i in range(4)]
    client.run(1, lambda x: x + b"!", items)
    assert client.outcomes(1, 4) == [item + b"!" for item in items]


def test_it_ends_with_its_supervisors_line():
    worker = Worker()
    worker.stop()
    assert not is_running(worker.pid)


# --- in this process, without a main loop


@pytest.fixture
def attached():
    """A service whose main thread is inside a long item, and a client that has just come."""
    service = WorkerService({"name": "test"})
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=service.attach, args=(theirs,))
    thread.start()
    stream = Stream(ours)
    welcome = from_frame(stream.receive_one(PATIENCE))
    yield service, stream, welcome
    stream.close()
    wait_until(lambda: (service._poll(0.0), not thread.is_alive())[1], what="the attendant ends")
    theirs.close()
    service.leave_to_parent()


def test_a_client_learns_its_number(attached):
    _, _, welcome = attached
    assert welcome.info == {"name": "test", "channel": 1}


def test_a_client_that_was_not_welcomed_yet_can_be_dropped(attached):
    service, _, _ = attached
    service.drop(7)
    assert not service._attached[1].is_closed
    service.drop(1)
    assert service._attached[1].is_closed


def test_a_client_that_was_not_welcomed_yet_gets_its_chunks_back_when_the_worker_drains(attached):
    service, stream, _ = attached
    service.drain()
    func = pack_function(abs)
    for part in (Function(func), chunk(3, func, [1, 2])):
        stream.send(*to_parts(part))
    service._poll(0.0)
    service._poll(1.0)
    assert from_frame(stream.receive_one(PATIENCE)) == Returned(3, 0)


def test_it_is_busy_once_an_item_has_begun_and_until_its_chunk_is_over(attached, monkeypatch):
    """Who waits for a busy worker, to drain it or to kill it, waits for an item that runs."""
    service, stream, _ = attached
    told: list[tuple[str, bool, int]] = []

    def tell(when: str) -> None:
        info = service.info()
        told.append((when, info["busy"], info["waiting"]))

    enter = service._code.enter

    def slow_enter(*args: Any) -> None:
        tell("before")
        enter(*args)

    monkeypatch.setattr(service._code, "enter", slow_enter)
    monkeypatch.setattr(service._code, "load", lambda known: (tell("loading"), tell)[1])
    service._poll(0.0)  # it is welcomed
    func = pack_function(abs)
    for part in (Function(func), chunk(3, func, ["item 1", "item 2"])):
        stream.send(*to_parts(part))
    wait_until(lambda: (service._poll(0.0), service.info()["waiting"])[1])
    tell("received")
    service._turn()
    tell("between")
    service._turn()
    tell("after")
    assert told == [
        ("received", False, 1),
        ("before", False, 1),
        ("loading", True, 0),
        ("item 1", True, 0),
        ("between", True, 0),
        ("before", True, 0),
        ("item 2", True, 0),
        ("after", False, 0),
    ]


def test_a_worker_that_drains_takes_no_client():
    service = WorkerService({})
    service.drain()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        service.attach(theirs)  # returns at once
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    service.leave_to_parent()
