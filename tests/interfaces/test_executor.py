"""``seppo.Executor``: what ``concurrent.futures`` promises."""

import concurrent.futures
import itertools
import threading
import time
import weakref

import pytest
import userland
from cluster import wait_until
from interrupts import Interrupt, deadline

import seppo


@pytest.fixture
def executor(cluster):
    with seppo.Executor() as made:
        yield made


def test_submit_gives_the_result(executor):
    assert executor.submit(userland.add, 2, y=3).result(20) == 5


def test_submit_gives_the_original_exception(executor):
    error = executor.submit(userland.raises_own, 7).exception(20)
    assert type(error) is userland.OwnError
    assert error.args == (7,)


def test_a_returned_exception_is_a_result(executor):
    assert isinstance(executor.submit(ValueError, "mine").result(20), ValueError)


def test_as_completed_and_wait(executor):
    futures = {executor.submit(userland.square, x): x for x in range(200)}
    for future in concurrent.futures.as_completed(futures, timeout=30):
        assert future.result() == futures[future] ** 2
    done, not_done = concurrent.futures.wait(futures, timeout=0)
    assert len(done) == 200
    assert not not_done


def test_map_is_in_order_and_raises_in_place(executor):
    results = executor.map(userland.fails_on_odd, [0, 2, 3])
    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(ValueError, match="odd: 3"):
        next(results)


def test_waiting_future_can_be_cancelled_and_the_call_does_not_run(executor, tmp_path):
    go_on = tmp_path / "go on"
    naps = [executor.submit(userland.pid_once, go_on) for _ in range(4)]
    path = tmp_path / "runs"
    path.touch()
    late = [executor.submit(userland.appends, path, i) for i in range(50)]
    assert late[-1].cancel()
    assert late[-1].cancelled()
    go_on.touch()
    assert len({nap.result(20) for nap in naps}) == 2
    concurrent.futures.wait(late, timeout=20)
    assert sorted(map(int, path.read_text().split())) == list(range(49))


def test_running_future_cannot_be_cancelled(executor):
    future = executor.submit(userland.pid_after, 0.5)
    wait_until(future.running, "the running call")
    assert not future.cancel()
    assert future.result(20) > 0


def test_call_that_cannot_be_packed_fails_alone(executor):
    bad = executor.submit(userland.square, threading.Lock())
    good = executor.submit(userland.square, 3)
    assert isinstance(bad.exception(20), seppo.SerializationError)
    assert good.result(20) == 9


def test_arguments_are_those_at_the_time_of_submit(executor):
    items = [1]
    futures = []
    for _ in range(20):
        futures.append(executor.submit(list, items))
        items.append(1)
    assert [len(future.result(20)) for future in futures] == list(range(1, 21))


def test_shutdown_waits_and_takes_no_more(cluster):
    executor = seppo.Executor()
    futures = [executor.submit(userland.pid_after, 0.05) for _ in range(6)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(userland.square, 1)
    executor.shutdown()


def test_shutdown_can_cancel_what_waits(cluster):
    executor = seppo.Executor()
    futures = [executor.submit(userland.pid_after, 0.3) for _ in range(40)]
    wait_until(futures[0].running, "the running call")
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    assert futures[-1].cancelled()
    assert not futures[0].cancelled()


def test_max_workers_bounds_the_workers_at_once(cluster):
    with seppo.Executor(max_workers=1) as executor:
        futures = [executor.submit(userland.span_of_nap, 0.05) for _ in range(6)]
        spans = sorted(future.result(20) for future in futures)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    with pytest.raises(ValueError, match="max_workers"):
        seppo.Executor(max_workers=0)


def test_callbacks_run(executor):
    called = threading.Event()
    executor.submit(userland.square, 2).add_done_callback(lambda future: called.set())
    assert called.wait(20)


def test_call_begins_at_once_while_others_are_long(executor, tmp_path):
    go_on = tmp_path / "go on"
    long = executor.submit(userland.pid_once, go_on)
    wait_until(long.running, "the running call")
    short = [executor.submit(userland.pid_after, 0.0) for _ in range(10)]
    pids = {future.result(20) for future in short}
    go_on.touch()
    assert pids.isdisjoint({long.result(20)})


def test_without_workers_there_is_no_executor():
    with pytest.raises(seppo.NoWorkersError, match="seppo worker"):
        seppo.Executor(group="nobody")


def test_inside_a_worker_there_is_no_executor(executor):
    def nested():
        import seppo

        seppo.Executor()

    assert "another group" in str(executor.submit(nested).exception(20))


def test_pending_futures_are_finished_at_the_end_of_the_process(cluster, tmp_path):
    path = tmp_path / "runs"
    script = tmp_path / "script.py"
    script.write_text(
        "import seppo, time\n"
        "def note(x):\n"
        "    time.sleep(0.1)\n"
        f"    open({str(path)!r}, 'a').write(f'{{x}}\\n')\n"
        "executor = seppo.Executor()\n"
        "for x in range(6):\n"
        "    executor.submit(note, x)\n"
        "del executor\n"
    )
    cluster.run(script)
    assert sorted(path.read_text().split()) == list("012345")


def test_forgotten_executor_lets_its_thread_end(cluster):
    before = threading.enumerate()
    executor = seppo.Executor()
    assert executor.submit(userland.square, 2).result(20) == 4
    started = [thread for thread in threading.enumerate() if thread not in before]
    (collector,) = [thread for thread in started if thread.name == "seppo-collector"]
    del executor
    collector.join(20)
    assert not collector.is_alive()


def test_many_submits_over_time(executor):
    end = time.monotonic() + 0.3
    futures = []
    while time.monotonic() < end:
        futures.append(executor.submit(userland.square, len(futures)))
    assert [future.result(30) for future in futures] == [x * x for x in range(len(futures))]


def test_callbacks_may_wait_for_other_futures(executor):
    """The driver's thread, which brings those others, must not be the one that waits."""
    found = []

    def chain(future):
        found.append(executor.submit(userland.square, future.result()).result(20))

    for _ in range(20):
        executor.submit(userland.square, 2).add_done_callback(chain)
    wait_until(lambda: found == [16] * 20, "the chained results")


# --- what arguments and callbacks do


class Submits:
    """Submits a call while it is pickled, here or in another thread, and waits for it."""

    def __init__(self, executor, in_thread):
        self.executor = executor
        self.in_thread = in_thread

    def __reduce__(self):
        found = []

        def submit():
            found.append(self.executor.submit(userland.square, 3).result(20))

        if self.in_thread:
            thread = threading.Thread(target=submit)
            thread.start()
            thread.join(20)
        else:
            submit()
        return int, tuple(found)


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_argument_may_submit_while_it_is_pickled(executor, in_thread):
    with deadline():
        future = executor.submit(userland.add, Submits(executor, in_thread), 1)
        assert future.result(20) == 10


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
@pytest.mark.parametrize("value", [2, [2]], ids=["plain", "packed"])
def test_a_callback_that_raises_anything_harms_nobody(executor, error, value, caplog):
    def fails(future):
        raise error("mine")

    def late(x):
        time.sleep(0.1)
        return x

    called = []
    future = executor.submit(late, value)
    future.add_done_callback(fails)
    future.add_done_callback(called.append)
    assert future.result(20) == value
    wait_until(lambda: called, "the callback after it")
    assert executor.submit(userland.square, 4).result(20) == 16
    assert "exception calling callback" in caplog.text


@pytest.mark.parametrize("value", [2, [2]], ids=["plain", "packed"])
def test_what_was_submitted_is_let_go_of_when_it_is_done(executor, value):
    class Thing:
        def method(self, *args):
            return value

    def calls(x, thing):
        return value

    thing, other = Thing(), Thing()
    references = [weakref.ref(each) for each in (thing, other, calls)]
    futures = [executor.submit(thing.method, [other]), executor.submit(calls, 1, other)]
    assert [future.result(20) for future in futures] == [value, value]
    del thing, other, calls
    wait_until(lambda: not any(each() for each in references), "the end of all that was sent")


# --- arguments that make no sense


def test_messages_are_those_of_the_standard_library(executor):
    with concurrent.futures.ProcessPoolExecutor(1) as standard:
        for chunksize in (0, -1):
            with pytest.raises(ValueError, match="chunksize") as expected:
                standard.map(abs, [1], chunksize=chunksize)
            with pytest.raises(ValueError, match="chunksize") as found:
                executor.map(abs, [1], chunksize=chunksize)
            assert str(found.value) == str(expected.value)
    for max_workers in (0, -3):
        with pytest.raises(ValueError, match="max_workers") as expected:
            concurrent.futures.ThreadPoolExecutor(max_workers)
        with pytest.raises(ValueError, match="max_workers") as found:
            seppo.Executor(max_workers)
        assert str(found.value) == str(expected.value)


# --- Ctrl-C


def test_ctrl_c_anywhere_in_shutdown_is_made_good_by_the_next_one(cluster):
    for n in itertools.count(1):
        executor = seppo.Executor()
        future = executor.submit(userland.square, 3)
        with deadline(), Interrupt(n) as interrupt:
            try:
                executor.shutdown()
            except KeyboardInterrupt:
                pass
        with deadline():
            executor.shutdown()
        assert future.result(0) == 9
        if interrupt.is_due:
            break
