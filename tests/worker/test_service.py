"""A worker process, leased from a supervisor and spoken to over its data channel."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
from lessee import LeasedWorker, Lessee
from processes import Process, SupervisorProcess, is_running, wait_until

from seppo.host import slot
from seppo.place import current_worker
from seppo.shipping.depends import Depends
from seppo.values.batch import EACH, WHOLE, pack_values
from seppo.values.function import pack_function
from seppo.values.outcome import Failure
from seppo.values.setup import Setup
from seppo.wire.messages import Cancel, Chunk, Recall, Returned, WorkerEnded
from seppo.wire.packed import Batch


@pytest.fixture(scope="module")
def supervisor() -> Iterator[SupervisorProcess]:
    with SupervisorProcess(None, 1, "service", group="lab") as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
def shared(supervisor) -> Iterator[LeasedWorker]:
    """A process for all tests that leave it as it was."""
    with Lessee(supervisor) as client:
        (worker,) = client.lease()
        yield worker


@pytest.fixture
def worker(shared) -> Iterator[LeasedWorker]:
    shared.heard.clear()
    yield shared
    assert is_running(shared.pid)


@pytest.fixture
def client(supervisor) -> Iterator[Lessee]:
    """A client whose process may come to harm."""
    with Lessee(supervisor) as client:
        client.lease()
        yield client


def test_it_greets_with_who_it_is(shared, supervisor):
    info = shared.welcome.info
    assert (info["pid"], info["name"], info["group"]) == (shared.pid, shared.name, "lab")
    assert info["supervisor"] == supervisor.info()["supervisor"]
    assert info["sharing"]


def test_items_run_in_the_main_thread_of_another_process(worker):
    def where(_: int) -> tuple[int, bool, str | None]:
        import threading

        main = threading.current_thread() is threading.main_thread()
        return os.getpid(), main, current_worker()

    worker.run(1, where, [0])
    assert worker.outcomes(1, 1) == [(worker.pid, True, worker.name)]


def test_outcomes_of_many_items_come_back_in_order(worker):
    worker.run(1, lambda x: x + 1, list(range(10_000)))
    assert worker.outcomes(1, 10_000) == list(range(1, 10_001))


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (hostile.fail, "hostile.Oops"),
        (hostile.exit_politely, "builtins.SystemExit"),
        (hostile.stop_iteration, "builtins.StopIteration"),
        (hostile.returns_unpicklable, "seppo.errors.SerializationError"),
    ],
)
def test_what_goes_wrong_in_an_item_costs_the_worker_nothing(worker, func, name):
    worker.run(1, lambda x: func() if x else "fine", [0, 1, 0])
    first, second, third = worker.outcomes(1, 3)
    assert (first, third) == ("fine", "fine")
    assert second.type_name == name


@pytest.mark.parametrize("kind", [hostile.Oops, SystemExit])
def test_a_result_that_raises_when_packed_costs_only_itself(worker, kind):
    worker.run(1, lambda x: hostile.RaisesAtPickling(kind) if x else [x], [0, 1, 0])
    first, second, third = worker.outcomes(1, 3)
    assert (first, third) == ([0], [0])
    assert "the result of item 1" in second.text


def test_a_function_that_cannot_be_loaded_fails_its_items(worker):
    bomb = hostile.RaisesAtUnpickling(SystemExit)
    worker.run(1, lambda x, bomb=bomb: x, [1, 2])
    assert [type(value) for value in worker.outcomes(1, 2)] == [Failure] * 2


def test_a_long_item_gives_back_what_is_behind_it(client):
    (worker,) = client.workers
    worker.run(1, lambda x: time.sleep(60) if x == 3 else x, list(range(10)))
    worker.run(2, lambda x: x, [5])
    returned = worker.wait_for(Returned, 2, seconds=10)
    assert returned == [Returned(1, 4), Returned(2, 0)]
    # What was finished is not held back.
    assert worker.outcomes(1, 3, again=False) == [0, 1, 2]


OWN_MODULE = """
import time

class Slow:
    def __reduce__(self):
        open({path!r}, "w").close()
        time.sleep(60)
"""


def caught(where: str, folder: Path) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return a function and items of which the first never ends, in a place."""
    if where == "function":
        slow = hostile.SleepsAtUnpickling(str(folder / "begun"))
        return lambda x, slow=slow: x, [0, 1, 2]
    if where == "item":
        slow = hostile.SleepsAtUnpickling(str(folder / "begun"))
        return lambda x: hostile and x, [slow, slow, 2]  # which brings the module
    if where == "first result":
        path = str(folder / "begun")
        return lambda x: hostile.SleepsAtPickling(path), [0, 1, 2]

    (folder / "module_of_mine.py").write_text(OWN_MODULE.format(path=str(folder / "begun")))

    def later_result(x: int) -> Any:
        import importlib
        import sys

        if x == 0:
            return [0]  # from now on each result is packed before the next item runs
        if x == 1:
            raise ValueError
        sys.path.append(str(folder))
        try:
            return importlib.import_module("module_of_mine").Slow()
        finally:
            sys.path.pop()

    return later_result, [0, 1, 2, 3]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("where", ["function", "item", "first result", "later result"])
def test_a_chunk_is_not_over_while_user_code_runs_for_it(client, where, asked, tmp_path):
    """Else the client would not cancel it, and the worker be caught in there for ever."""
    (worker,) = client.workers
    func, items = caught(where, tmp_path)
    if where == "later result":
        worker.run(9, func, [0, 1])  # to have it loaded, and known to be packed each time
        worker.outcomes(9, 2)
    worker.run(1, func, items)
    if asked:
        wait_until((tmp_path / "begun").exists)
        worker.send(Recall(1))
    (returned,) = worker.wait_for(Returned)
    told = 2 if where == "later result" else 0
    assert returned == Returned(1, told + 1)
    assert len(worker.told(1)) == told
    worker.send(Cancel(1))
    worker.run(2, lambda x: x, [7])  # which runs there, unless the process had to end
    wait_until(lambda: worker.has_ended() or worker.told(2) == [7])
    assert len(worker.told(1)) == told


def test_recalling_answers_also_while_an_item_runs(worker):
    worker.run(1, lambda x: time.sleep(0.6), [0, 1, 2])
    worker.send(Recall(1))
    (returned,) = worker.wait_for(Returned, seconds=10)
    assert returned.kept <= 1
    assert worker.outcomes(1, returned.kept, again=False) == [None] * returned.kept


def test_big_arguments_and_results_pass_at_the_same_time(worker):
    items = [bytes([i]) * (8 << 20) for i in range(4)]
    worker.run(1, lambda x: x + b"!", items)
    assert worker.outcomes(1, 4, seconds=30) == [item + b"!" for item in items]


BAD = [
    Batch(EACH, 5, (b"", b"")),
    Batch(9, 5, (b"",)),
    Batch(WHOLE, 5, tuple(pack_values([1, 2], str).parts)),
]


@pytest.mark.parametrize("batch", BAD, ids=range(3))
def test_a_client_that_lies_is_cut_off_and_its_process_ends(client, batch):
    (worker,) = client.workers
    func = pack_function(abs)
    worker.send(func, Chunk(1, 1, 0, 5, func.digest, (batch,)))
    wait_until(worker.has_ended)
    assert client.ended(worker).how == "exit code 0"


def test_a_process_that_has_another_version_makes_way_for_a_fresh_one(
    client, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "module_that_changes.py"
    file.write_text("VERSION = 'old'\ndef version(_): return VERSION\n")
    module = importlib.import_module("module_that_changes")
    try:
        (worker,) = client.workers
        worker.run(1, module.version, [0])
        assert worker.outcomes(1, 1) == ["old"]
        file.write_text("VERSION = 'edited'\ndef version(_): return VERSION\n")
        importlib.reload(module)
        worker.run(2, module.version, [0])
        assert client.ended(worker).how == "exit code 0"
        wait_until(worker.has_ended)
        assert worker.of_kind(Returned) == [Returned(2, 0)]
        (successor,) = client.attach()
        successor.run(4, module.version, [0])
        assert successor.outcomes(4, 1) == ["edited"]
    finally:
        del sys.modules["module_that_changes"]


# --- items that must end


def test_an_unwanted_item_that_ends_soon_costs_nothing(tmp_path):
    patient = "import seppo.worker.attendant as a; a.PATIENCE = 60"
    path = tmp_path / "begun"

    def until_asked(path: str) -> None:
        Path(path).touch()
        while not Path(path + ".end").exists():
            time.sleep(0.01)

    with SupervisorProcess(None, 1, "patient", first=patient) as host, Lessee(host) as client:
        (worker,) = client.lease()
        worker.run(1, until_asked, [str(path)])
        worker.run(2, lambda x: x, [7])
        wait_until(path.exists)
        worker.send(Cancel(1), Recall(2))
        worker.wait_for(Returned)
        (tmp_path / "begun.end").touch()
        assert worker.outcomes(2, 1) == [7]
        assert worker.told(1) == []
        worker.run(3, lambda x: os.getpid(), [0])
        assert worker.outcomes(3, 1) == [worker.pid]


def cleaning(path: str) -> None:
    """Last long, and clean up in the end."""
    try:
        Path(path).touch()
        time.sleep(60)
    finally:
        Path(path + ".clean").touch()


def swallow(path: str) -> None:
    """Refuse to end."""
    Path(path).touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@pytest.mark.parametrize("item", [cleaning, swallow])
def test_an_unwanted_item_that_goes_on_ends_with_its_process(client, tmp_path, item):
    (worker,) = client.workers
    path = tmp_path / "begun"
    worker.run(1, lambda x: x, [5])
    assert worker.outcomes(1, 1) == [5]
    worker.run(2, item, [str(path)])
    wait_until(path.exists)
    worker.run(3, lambda x: x, [6])
    worker.send(Cancel(2))
    ended = client.ended(worker)
    assert ended == WorkerEnded(worker.name, "exit code 75", 0, 0, 0, False)  # nobody is blamed
    wait_until(worker.has_ended)
    assert Returned(3, 0) in worker.heard
    assert worker.told(2) == []
    assert (tmp_path / "begun.clean").exists() == (item is cleaning)
    (successor,) = client.attach()
    assert successor.pid != worker.pid


@pytest.mark.parametrize("item", [cleaning, swallow])
def test_when_the_client_leaves_its_process_ends_and_items_clean_up(client, tmp_path, item):
    (worker,) = client.workers
    path = tmp_path / "begun"
    worker.run(1, item, [str(path)])
    wait_until(path.exists)
    worker.close()
    wait_until(lambda: not is_running(worker.pid), seconds=10)
    assert (tmp_path / "begun.clean").exists() == (item is cleaning)


def test_user_code_that_ends_its_process_does_so(client):
    (worker,) = client.workers
    worker.run(7, lambda x: os.kill(os.getpid(), signal.SIGTERM), [0], alone=True)
    assert client.ended(worker) == WorkerEnded(worker.name, "SIGTERM", 7, 0, 1, False)


def test_a_signal_that_raises_outside_of_items_ends_the_process(client):
    def alarm(x: int) -> None:
        def ring(*_: object) -> None:
            raise ZeroDivisionError

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.5)

    (worker,) = client.workers
    worker.run(1, alarm, [0])
    assert client.ended(worker).how == "exit code 1"
    assert worker.outcomes(1, 1) == [None]


def test_a_child_that_an_item_forks_serves_nobody(client, tmp_path):
    def fork(path: str) -> int:
        pid = os.fork()
        if pid == 0:
            os.setsid()  # else it would end with the worker
            time.sleep(60)
        while os.getsid(pid) != pid:
            time.sleep(0.01)
        Path(path).write_text(str(pid))
        return pid

    (worker,) = client.workers
    worker.run(1, fork, [str(tmp_path / "pid")])
    (child,) = worker.outcomes(1, 1)
    try:
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(worker.has_ended)  # though the child has copies of everything
        client.ended(worker)
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


# --- finalizers


HURRY = "import seppo.worker.attendant as a; a.FINALIZER = 0.1"


def finalizing(client: Lessee, finalizer: Callable[[], object]) -> tuple[LeasedWorker, Path]:
    """Return a process that has a finalizer to call, and its own folder."""
    (worker,) = client.lease()
    setup = Setup(Depends.of(()), finalizer=finalizer)
    worker.run(1, lambda x: os.getcwd(), [0], setup=setup)
    (folder,) = worker.outcomes(1, 1)
    return worker, Path(folder)


def test_a_finalizer_is_given_its_time(tmp_path):
    """More than a process has for ending otherwise."""
    done = tmp_path / "done"

    def slow() -> None:
        time.sleep(slot.ENDING + 1)
        done.touch()

    with SupervisorProcess(None, 1, "slow") as host, Lessee(host) as client:
        worker, folder = finalizing(client, slow)
        client.close()
        wait_until(lambda: not is_running(worker.pid))
        assert done.exists()
        assert not folder.exists()


def test_a_finalizer_that_hangs_ends_with_its_process(tmp_path):
    with SupervisorProcess(None, 1, "hangs", first=HURRY) as host, Lessee(host) as client:
        worker, folder = finalizing(client, lambda: time.sleep(1000))
        worker.close()
        assert client.ended(worker).how == "exit code 75"
        wait_until(lambda: not folder.exists(), what="its folder is removed")
        (successor,) = client.attach()
        successor.run(2, lambda x: x, [7])
        assert successor.outcomes(2, 1) == [7]


def test_a_worker_process_does_without_pyro():
    """It is imported where nobody needs it: in each spare that is no fork."""
    code = "import seppo.worker.process, sys; assert 'Pyro5' not in sys.modules"
    with Process("-c", code) as process:
        assert process.wait() == 0, process.output
