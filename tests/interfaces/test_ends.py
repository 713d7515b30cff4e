"""Every wait ends, and nothing is lost on the way: interruptions, threads, forks, exits."""

import os
import signal
import threading
import time

import numpy
import pytest
import userland
from cluster import is_alive

import seppo

pytestmark = pytest.mark.usefixtures("cluster")


class RaisesWhenPickled:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class RaisesWhenUnpickled:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return raise_it, (self.error,)


def raise_it(error):
    raise error


class StrangeError(Exception):
    def __getattr__(self, name):
        raise ValueError(name)


# --- another thread


def test_close_from_another_thread_ends_a_waiting_next(cluster):
    results = seppo.map_parallel(time.sleep, [60, 60, 60])

    def close_when_busy():
        cluster.wait_until_busy()
        results.close()

    thread = threading.Thread(target=close_when_busy)
    thread.start()
    with pytest.raises(StopIteration):
        next(results)
    thread.join()


def test_threads_that_share_a_map_get_each_result_once():
    results = seppo.map_parallel(userland.square, range(20_000))
    found = []
    threads = [threading.Thread(target=lambda: found.extend(results)) for _ in range(2)]
    threads += [
        threading.Thread(target=lambda: found.extend(iter(results.__next__, None)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(found) == [x * x for x in range(20_000)]


# --- Ctrl-C


INTERRUPTED = """
import os, random, signal, sys, seppo

where = os.path.dirname(seppo.__file__)
as_iterator, packed = sys.argv[1] == "iterator", sys.argv[2] == "packed"

def again():
    # Now and then long enough for a part to be unpacked in between.
    signal.setitimer(signal.ITIMER_REAL, random.choice([0.0003, 0.001, 0.005, 0.05]))

def interrupt(_, frame):
    again()
    # Only inside of seppo: between next() and the append below nobody can help.
    if frame.f_code.co_filename.startswith(where):
        interrupt.count += 1
        raise KeyboardInterrupt

interrupt.count = 0
func = (lambda x: (x,)) if packed else (lambda x: x)
expected = list(map(func, range(20_000)))
found = []
results = seppo.map_parallel(
    func, iter(range(20_000)) if as_iterator else range(20_000), fallback="error"
)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0003)
while True:
    try:
        found.append(next(results))
    except KeyboardInterrupt:
        continue
    except StopIteration:
        break
signal.setitimer(signal.ITIMER_REAL, 0)
print(found == expected, interrupt.count > 0)
"""


@pytest.mark.parametrize("inputs", ["iterator", "sequence"])
@pytest.mark.parametrize("results", ["plain", "packed"])
def test_interrupts_lose_no_result(cluster, tmp_path, inputs, results):
    """A timer stands for the person who presses Ctrl-C over and over."""
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    assert cluster.run(script, inputs, results).stdout == "True True\n"


def test_ctrl_c_in_next_raises_and_the_map_can_be_continued(cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, seppo, signal, sys, threading, time\n"
        "def wait(path):\n"
        "    while not os.path.exists(path):\n"
        "        time.sleep(0.01)\n"
        "results = seppo.map_parallel(wait, [sys.argv[1], '/'], fallback='error')\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    next(results)\n"
        "except KeyboardInterrupt:\n"
        "    open(sys.argv[1], 'w').close()\n"
        "    print('interrupted', list(results))\n"
    )
    path = tmp_path / "go on"
    assert cluster.run(script, path).stdout == "interrupted [None, None]\n"


# --- what user code raises where it should not


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, SystemExit, BaseException])
@pytest.mark.parametrize("cls", [RaisesWhenPickled, RaisesWhenUnpickled])
@pytest.mark.parametrize("as_iterator", [False, True])
def test_any_exception_of_packing_costs_one_item(kind, cls, as_iterator):
    items = [1, cls(kind("mine")), 3]
    if as_iterator and cls is RaisesWhenPickled and kind is KeyboardInterrupt:
        pytest.skip("in the caller's thread that is Ctrl-C")
    found = list(
        seppo.map_parallel(
            lambda x: 5, iter(items) if as_iterator else items, return_exceptions=True
        )
    )
    assert found[::2] == [5, 5]
    assert isinstance(found[1], seppo.SerializationError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_any_exception_of_packing_a_result_costs_one_item(kind):
    def make(x):
        return RaisesWhenPickled(kind("mine")) if x == 1 else [x]

    found = list(seppo.map_parallel(make, range(3), chunksize=3, return_exceptions=True))
    assert found[::2] == [[0], [2]]
    assert isinstance(found[1], seppo.SerializationError)


@pytest.mark.parametrize("kind", [GeneratorExit, SystemExit, ValueError])
def test_any_exception_of_unpacking_a_result_costs_one_item(kind):
    def make(x):
        return RaisesWhenUnpickled(kind("mine")) if x == 1 else [x]

    found = list(seppo.map_parallel(make, range(3), chunksize=3, return_exceptions=True))
    assert found[::2] == [[0], [2]]
    assert isinstance(found[1], seppo.SerializationError)


def test_a_future_whose_result_raises_when_it_is_unpacked():
    with seppo.Executor() as executor:
        bad = executor.submit(RaisesWhenUnpickled, SystemExit("mine"))
        good = executor.submit(tuple, [1])
        assert isinstance(bad.exception(20), seppo.SerializationError)
        assert good.result(20) == (1,)


def test_an_exception_that_answers_no_question_arrives():
    def fail(x):
        if x == 1:
            raise StrangeError
        return x

    results = seppo.map_parallel(fail, range(20), chunksize=10, return_exceptions=True)
    found = list(results)
    assert isinstance(found[1], StrangeError)
    assert found[2:] == list(range(2, 20))


def test_a_future_settled_by_somebody_else_harms_nobody():
    with seppo.Executor() as executor:
        futures = [executor.submit(userland.pid_after, 0.1) for _ in range(8)]
        for future in futures:
            future.set_result("mine")
        assert executor.submit(userland.square, 3).result(20) == 9
    assert list(seppo.map_parallel(userland.square, [2])) == [4]


# --- input and progress that raise


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, ValueError])
def test_whatever_the_input_raises_comes_after_the_results_before_it(kind):
    def numbers():
        yield from range(10)
        raise kind("no more")

    results = seppo.map_parallel(userland.square, numbers())
    assert [next(results) for _ in range(10)] == [x * x for x in range(10)]
    with pytest.raises(kind, match="no more"):
        next(results)


@pytest.mark.parametrize("make", [seppo.map_parallel, seppo.map_parallel_serial])
def test_progress_that_raises_loses_no_result(make):
    calls = 0

    def progress(done, total):
        nonlocal calls
        calls += 1
        if calls > 1 and calls % 3 == 0:
            raise ZeroDivisionError

    results = make(userland.square, range(20), progress=progress)
    found = []
    while len(found) < 20:
        try:
            found.append(next(results))
        except ZeroDivisionError:
            continue
    assert found == [x * x for x in range(20)]


def test_an_input_whose_length_raises_is_read_all_the_same():
    class Odd:
        def __len__(self):
            raise NotImplementedError

        def __iter__(self):
            return iter([1, 2])

    assert list(seppo.map_parallel(userland.square, Odd())) == [1, 4]


def test_a_range_longer_than_len_can_say():
    results = seppo.map_parallel(userland.square, range(10**30))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    results.close()


def test_a_list_that_grows_is_not_cut_in_silence():
    todo = [1, 2]
    results = seppo.map_parallel(userland.square, todo)
    assert next(results) == 1
    todo.append(3)
    assert next(results) == 4
    with pytest.raises(RuntimeError, match="grown by 1"):
        next(results)


def test_a_result_buffer_that_is_filled_over_and_over():
    buffer = numpy.zeros(5000)

    def fill(x):
        buffer[:] = x
        return buffer

    sums = [float(result[0]) for result in seppo.map_parallel(fill, range(3000))]
    assert sums == [float(x) for x in range(3000)]


@pytest.mark.parametrize("plain", [0, 1, 50, 900])
def test_a_result_list_that_is_filled_again_after_plain_results(plain):
    filled = []

    def fill(x):
        if x < plain:
            return x
        filled[:] = [x]
        return filled

    expected = [x if x < plain else [x] for x in range(1000)]
    assert list(seppo.map_parallel(fill, range(1000), chunksize=1000)) == expected


# --- forks and processes on the worker


def test_a_child_forked_by_an_item_ends_with_it(cluster, tmp_path):
    def fork(x):
        pid = os.fork()
        if pid == 0:
            with open(tmp_path / f"child{x}", "w") as file:
                file.write(str(os.getpid()))
            return None
        os.waitpid(pid, 0)
        return x

    assert list(seppo.map_parallel(fork, range(6))) == list(range(6))
    for x in range(6):
        assert not is_alive(int((tmp_path / f"child{x}").read_text()))
    assert list(seppo.map_parallel(userland.square, range(50))) == [x * x for x in range(50)]


def test_a_child_that_lives_on_does_not_hide_the_death_of_its_worker(own_cluster, tmp_path):
    own_cluster(2)

    def fork_and_die(x):
        if x == 1:
            pid = os.fork()
            if pid == 0:
                time.sleep(120)
                os._exit(0)
            userland.appends(tmp_path / "children", pid)
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    try:
        found = list(seppo.map_parallel(fork_and_die, range(4), return_exceptions=True))
        assert found[0] == 0
        assert isinstance(found[1], seppo.WorkerLostError)
        assert found[2:] == [2, 3]
    finally:
        for pid in (tmp_path / "children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_a_process_that_an_item_starts_maps_serially(cluster):
    def start(x):
        import subprocess
        import sys

        code = "import seppo; print(sum(seppo.map_parallel(abs, range(10))))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return done.stdout

    assert list(seppo.map_parallel(start, range(4))) == ["45\n"] * 4


def test_a_worker_runs_items_in_its_main_thread():
    def where(x):
        import threading

        return threading.current_thread() is threading.main_thread()

    assert all(seppo.map_parallel(where, range(4)))


# --- cancelling where user code runs outside of the call


class SleepsWhenUnpickled:
    def __reduce__(self):
        return time.sleep, (60,)


def sleeps_when_its_result_is_packed(x):
    class Slow:
        def __reduce__(self):
            time.sleep(60)

    return Slow()


@pytest.mark.parametrize("where", ["function", "item", "items", "result", "swallowed", "sigurg"])
def test_a_map_that_is_left_frees_its_workers_wherever_they_are(cluster, where):
    def swallows(x):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                time.sleep(60)
            except BaseException:
                if x == "once":
                    x = "again"
                    continue
                raise

    def takes_the_signal(x):
        signal.signal(signal.SIGURG, signal.SIG_IGN)

    slow = SleepsWhenUnpickled()
    if where == "function":
        results = seppo.map_parallel(lambda x: slow, range(8))
    elif where == "item":
        results = seppo.map_parallel(str, [SleepsWhenUnpickled() for _ in range(8)])
    elif where == "items":  # all with one worker, which is asked for them by the other
        results = seppo.map_parallel(str, [SleepsWhenUnpickled() for _ in range(8)], chunksize=8)
    elif where == "result":
        results = seppo.map_parallel(sleeps_when_its_result_is_packed, range(8))
    elif where == "swallowed":
        results = seppo.map_parallel(swallows, ["once"] * 8)
    else:
        list(seppo.map_parallel(takes_the_signal, range(8)))
        results = seppo.map_parallel(time.sleep, [60] * 8)
    cluster.wait_until_busy()
    results.close()
    cluster.wait_until_idle()
    assert list(seppo.map_parallel(userland.square, [1, 2])) == [1, 4]


# --- the end of the process


@pytest.mark.parametrize(
    ("text", "output", "error"),
    [
        (
            "import atexit, itertools\n"
            "atexit.register(lambda: print(sum(it)))\n"
            "import seppo\n"
            "it = seppo.map_parallel(abs, itertools.count(), fallback='error')\n"
            "next(it)\n",
            "",
            "the process is ending",
        ),
        (
            "import seppo\n"
            "class Late:\n"
            "    def __del__(self): print(sum(seppo.map_parallel(abs, range(10))))\n"
            "late = Late()\n"
            "list(seppo.map_parallel(abs, [1], fallback='error'))\n",
            "45\n",
            "",
        ),
        (
            "import seppo, threading, itertools\n"
            "begun = threading.Event()\n"
            "def loop():\n"
            "    for _ in seppo.map_parallel(abs, itertools.count(), fallback='error'):\n"
            "        begun.set()\n"
            "threading.Thread(target=loop, daemon=True).start()\n"
            "begun.wait()\n",
            "",
            "",
        ),
        (
            "import seppo\npool = seppo.Executor()\npool.submit(abs, -1)\nraise SystemExit(0)\n",
            "",
            "",
        ),
    ],
    ids=["atexit", "del", "thread", "executor"],
)
def test_the_process_can_always_end(cluster, tmp_path, text, output, error):
    script = tmp_path / "script.py"
    script.write_text(text)
    done = cluster.run(script)
    assert done.stdout == output
    assert error in done.stderr


ELSEWHERE = """
import seppo, signal, sys, threading, time

def interrupt():
    time.sleep(0.5)  # no matter how long: the main thread waits for a minute
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

results = seppo.map_parallel(time.sleep, [60, 60], fallback="error")
threading.Thread(target=interrupt).start()
began = time.monotonic()
try:
    next(results)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 40)
"""


def test_ctrl_c_that_another_thread_gets_is_noticed(cluster):
    assert cluster.run("-c", ELSEWHERE).stdout == "interrupted True\n"
