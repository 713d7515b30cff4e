"""``map_parallel`` on real workers: the same as builtin ``map``."""

import functools
import io
import itertools
import math
import os
import pickle
import sys
import threading
import time
import urllib.error

import numpy
import pytest
import userland
from cluster import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

import seppo

pytestmark = pytest.mark.usefixtures("cluster")


def outcomes(results):
    """Return values and exceptions, as ``next()`` gives them, until the end."""
    found = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Exception as error:
            found.append((type(error), error.args))


# --- the oracle

FUNCTIONS = [userland.square, userland.fails_on_odd, lambda x: (x, [x]), str, math.sqrt, float]
INTEGERS = st.lists(st.integers(-50, 1000), max_size=60)
INPUTS = st.one_of(
    INTEGERS,
    INTEGERS.map(tuple),
    st.integers(0, 300).map(range),
    INTEGERS.map(lambda xs: numpy.array(xs, dtype=int)),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "chunksize": st.integers(1, 20),
        "buffersize": st.integers(1, 20),
        "return_exceptions": st.booleans(),
    },
)


@given(func=st.sampled_from(FUNCTIONS), xs=INPUTS, options=OPTIONS, as_iterator=st.booleans())
@settings(max_examples=150, deadline=None)
def test_equals_builtin_map(func, xs, options, as_iterator):
    expected = outcomes(map(func, xs))
    if options.get("return_exceptions"):
        expected = [(e if not is_failure(e) else ("value", *e)) for e in expected]
    found = outcomes(seppo.map_parallel(func, iter(xs) if as_iterator else xs, **options))
    if options.get("return_exceptions"):
        found = [("value", type(e), e.args) if isinstance(e, Exception) else e for e in found]
    assert found == expected


def is_failure(outcome):
    return type(outcome) is tuple and len(outcome) == 2 and isinstance(outcome[0], type)


@given(columns=st.lists(INTEGERS, min_size=2, max_size=3), iterators=st.booleans())
@settings(max_examples=40, deadline=None)
def test_several_iterables_equal_builtin_map(columns, iterators):
    inputs = [iter(c) for c in columns] if iterators else columns
    assert list(seppo.map_parallel(max, *inputs)) == list(map(max, *columns))


@given(xs=INTEGERS)
@settings(max_examples=30, deadline=None)
def test_unordered_gives_each_result_once(xs):
    found = list(seppo.map_parallel(userland.square, xs, ordered=False))
    assert sorted(found) == sorted(map(userland.square, xs))


# --- functions

TRIPLE = userland.Scaler(3)


def nested():
    offset = 5

    def inner(x):
        return x + offset

    return inner


@pytest.mark.parametrize(
    "func",
    [
        userland.square,
        userland.with_offset,
        lambda x: x - 1,
        nested(),
        functools.partial(userland.add, 10),
        TRIPLE,
        TRIPLE.times,
        math.sqrt,
        abs,
    ],
)
def test_any_callable_travels(func):
    assert list(seppo.map_parallel(func, range(20))) == list(map(func, range(20)))


def test_method_of_a_builtin_type_travels():
    assert list(seppo.map_parallel(str.upper, ["a", "b"])) == ["A", "B"]


def test_function_of_main_travels(cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import seppo\n"
        "class Thing:\n"
        "    def __init__(self, x): self.x = x\n"
        "def make(x): return Thing(x + HIDDEN)\n"
        "HIDDEN = 40\n"
        "if __name__ == '__main__':\n"
        "    things = list(seppo.map_parallel(make, [1, 2], fallback='error'))\n"
        "    print([t.x for t in things], all(type(t) is Thing for t in things))\n"
    )
    assert cluster.run(script).stdout == "[41, 42] True\n"


def test_class_of_the_callers_module_comes_back_as_the_callers_own():
    points = list(seppo.map_parallel(userland.move, [userland.Point(1, 2)] * 3))
    assert points == [userland.Point(2, 3)] * 3
    assert all(type(point) is userland.Point for point in points)


def test_unpicklable_function_is_named_at_the_call():
    lock = threading.Lock()

    def guarded(x):
        with lock:
            return x

    with pytest.raises(seppo.SerializationError, match=r"function .*guarded.*lock"):
        seppo.map_parallel(guarded, [1])


# --- exceptions


def test_exception_is_the_items_own_with_traceback_and_note():
    results = seppo.map_parallel(userland.fails_on_odd, [0, 1, 2])
    assert next(results) == 0
    with pytest.raises(ValueError, match="odd: 1") as caught:
        next(results)
    assert isinstance(caught.value.__cause__, seppo.RemoteTraceback)
    assert "fails_on_odd" in str(caught.value.__cause__)
    assert any("item 1" in note and "worker" in note for note in caught.value.__notes__)
    assert next(results) == 2


def test_exception_of_the_callers_module_can_be_caught():
    with pytest.raises(userland.OwnError):
        list(seppo.map_parallel(userland.raises_own, [1]))


@pytest.mark.parametrize(
    "error", [ConnectionError, EOFError, TimeoutError, BrokenPipeError, KeyError, SystemExit]
)
def test_any_exception_is_the_items_and_the_item_runs_once(error, tmp_path):
    def fail(x):
        userland.appends(tmp_path / "runs", x)
        raise error(x)

    results = seppo.map_parallel(fail, [7])
    with pytest.raises(error):
        next(results)
    assert list(results) == []
    assert (tmp_path / "runs").read_text() == "7\n"


def test_pyro_errors_of_an_item_are_the_items():
    from Pyro5.errors import ConnectionClosedError

    def fail(x):
        raise ConnectionClosedError("mine")

    with pytest.raises(ConnectionClosedError, match="mine"):
        list(seppo.map_parallel(fail, [1]))


class OddConstructor(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.b = b


class NotFound(KeyError):
    def __init__(self, name):
        super().__init__(f"{name} not found")


class NeedsItsLock(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()

    def __str__(self):
        return f"{self.args[0]}, locked: {self.lock.locked()}"


class Unread(io.BytesIO):
    def __reduce_ex__(self, protocol):
        raise TypeError("cannot pickle what a socket brings")


@pytest.mark.parametrize(
    "make",
    [
        lambda x: OddConstructor(x, 2),
        lambda x: NotFound(x),
        lambda x: urllib.error.HTTPError(f"http://{x}", 404, "Gone", {}, Unread()),
    ],
)
def test_exceptions_come_home_as_map_raises_them(make):
    def fail(x):
        raise make(x)

    results = seppo.map_parallel(fail, [1, 2])
    for x in (1, 2):
        expected = make(x)
        with pytest.raises(type(expected)) as caught:
            next(results)
        assert type(caught.value) is type(expected)
        assert str(caught.value) == str(expected)
        for name in ("b", "code", "url"):
            assert getattr(expected, name, None) == vars(caught.value).get(name)
        assert "raise make(x)" in str(caught.value.__cause__)


def test_what_an_exception_leaves_behind_is_named():
    def fail(x):
        error = ValueError("bad")
        error.lock, error.x = threading.Lock(), x
        raise error

    with pytest.raises(ValueError, match="bad") as caught:
        next(seppo.map_parallel(fail, [5]))
    assert caught.value.x == 5
    assert "lock was left out: TypeError" in caught.value.__notes__[0]


def test_exceptions_as_values_and_as_items_come_home():
    errors = [OddConstructor(1, 2), NotFound("x")]
    for error, home in zip(errors, seppo.map_parallel(lambda e: e, errors), strict=True):
        assert (type(home), str(home), vars(home)) == (type(error), str(error), vars(error))


def test_exception_that_cannot_travel_arrives_as_text():
    def fail(x):
        raise NeedsItsLock(x)

    results = seppo.map_parallel(fail, [1, 2])
    with pytest.raises(seppo.RemoteError, match=r"NeedsItsLock: 1, locked: False") as caught:
        next(results)
    assert "raise NeedsItsLock" in caught.value.traceback


def test_stop_iteration_of_an_item_ends_a_loop_as_with_map():
    def stop_at_three(x):
        if x == 3:
            raise StopIteration
        return x

    for chunksize in (1, 2, 6):
        results = seppo.map_parallel(stop_at_three, range(6), chunksize=chunksize)
        assert list(results) == [0, 1, 2]
        assert list(results) == [4, 5]
        results = seppo.map_parallel(stop_at_three, range(6), chunksize=chunksize)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert next(results, "ended") == "ended"
        assert next(results) == 4


def test_return_exceptions_gives_values():
    found = list(seppo.map_parallel(userland.fails_on_odd, range(4), return_exceptions=True))
    assert found[::2] == [0, 2]
    assert [str(error) for error in found[1::2]] == ["odd: 1", "odd: 3"]


def test_unpicklable_item_costs_only_itself():
    items = [1, threading.Lock(), 3]
    found = list(seppo.map_parallel(str, items, return_exceptions=True))
    assert (found[0], found[2]) == ("1", "3")
    assert isinstance(found[1], seppo.SerializationError)
    assert "item 1" in str(found[1])


@pytest.mark.parametrize("as_iterator", [False, True])
def test_unpicklable_result_costs_only_itself(as_iterator):
    def make(x):
        return threading.Lock() if x == 1 else x

    items = range(3)
    found = list(
        seppo.map_parallel(
            make, iter(items) if as_iterator else items, chunksize=3, return_exceptions=True
        )
    )
    assert found[::2] == [0, 2]
    assert isinstance(found[1], seppo.SerializationError)
    assert "result of item 1" in str(found[1])


# --- input


def test_arguments_are_checked_at_the_call():
    with pytest.raises(TypeError):
        seppo.map_parallel(str)
    with pytest.raises(TypeError):
        seppo.map_parallel(str, 5)
    with pytest.raises(TypeError):
        seppo.map_parallel(None, [1])
    with pytest.raises(ValueError, match="chunksize"):
        seppo.map_parallel(str, [1], chunksize=0)
    with pytest.raises(TypeError, match="buffersize"):
        seppo.map_parallel(str, [1], buffersize="many")
    with pytest.raises(ValueError, match="fallback"):
        seppo.map_parallel(str, [1], fallback="maybe")
    with pytest.raises(ValueError, match="progress"):
        seppo.map_parallel(str, [1], progress=3)


def test_work_starts_at_the_call(tmp_path):
    path = tmp_path / "runs"
    results = seppo.map_parallel(functools.partial(userland.appends, path), [1])
    wait_until(path.exists, "the item's trace")
    assert list(results) == [1]


def test_iterator_is_advanced_only_in_the_callers_thread():
    threads = set()

    def numbers():
        for i in range(200):
            threads.add(threading.get_ident())
            yield i

    assert list(seppo.map_parallel(userland.square, numbers())) == [i * i for i in range(200)]
    assert threads == {threading.get_ident()}


def test_infinite_input_is_read_a_little_ahead():
    taken = 0

    def numbers():
        nonlocal taken
        for i in itertools.count():
            taken = i + 1
            yield i

    with seppo.map_parallel(userland.square, numbers()) as results:
        first = list(itertools.islice(results, 1000))
    assert first == [i * i for i in range(1000)]
    assert taken < 1000 + 4 * (1 << 17)


def test_buffersize_one_never_reads_ahead_of_a_result():
    results = []

    def fed_by_results():
        value = 1
        for _ in range(6):
            yield value
            value = results[-1] + 1

    for result in seppo.map_parallel(userland.square, fed_by_results(), buffersize=1):
        results.append(result)
    assert results == [1, 4, 25, 676, 458329, 210066388900]


@pytest.mark.parametrize("buffersize", [1, 3, 10])
def test_buffersize_bounds_what_is_taken_from_the_input(buffersize):
    taken = handed_out = 0
    most = 0

    def numbers():
        nonlocal taken, most
        for i in range(50):
            taken += 1
            most = max(most, taken - handed_out)
            yield i

    for _ in seppo.map_parallel(userland.square, numbers(), buffersize=buffersize):
        handed_out += 1
    assert handed_out == 50
    assert most <= buffersize


def test_generator_that_reuses_one_buffer():
    buffer = numpy.zeros(5000)

    def frames():
        for i in range(30):
            buffer[:] = i
            yield buffer

    sums = list(seppo.map_parallel(numpy.sum, frames()))
    assert sums == [5000.0 * i for i in range(30)]


def test_items_of_a_slow_producer_are_worked_on_as_they_come(tmp_path):
    path = tmp_path / "runs"
    path.touch()

    def numbers():
        for i in range(4):
            if i:
                wait_until(lambda i=i: len(path.read_text().split()) >= i, "the item before")
            yield i

    func = functools.partial(userland.appends, path)
    assert list(seppo.map_parallel(func, numbers())) == [0, 1, 2, 3]


def test_error_of_the_input_comes_after_the_results_before_it():
    def numbers():
        yield from range(5)
        raise RuntimeError("no more input")

    results = seppo.map_parallel(userland.square, numbers())
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    with pytest.raises(RuntimeError, match="no more input"):
        next(results)
    assert list(results) == []


def test_array_blocks_arrive_as_writable_rows():
    rows = numpy.arange(3000.0).reshape(30, 100)

    def double(row):
        row *= 2
        return row

    results = list(seppo.map_parallel(double, rows))
    assert numpy.array_equal(results, rows * 2)
    assert all(result.flags.writeable for result in results)


def test_array_of_objects():
    objects = numpy.array([1, "two", None, (3,)], dtype=object)
    assert list(seppo.map_parallel(repr, objects)) == ["1", "'two'", "None", "(3,)"]


def test_input_that_shrinks_raises_instead_of_hanging():
    items = list(range(100_000))
    results = seppo.map_parallel(userland.square, items, chunksize=10, buffersize=20)
    assert next(results) == 0
    del items[100:]
    with pytest.raises(RuntimeError, match="shrunk"):
        list(results)
    results.close()


# --- the iterator


def test_len_is_that_of_the_shortest_input():
    assert len(seppo.map_parallel(max, [1, 2, 3], (1, 2))) == 2
    assert len(seppo.map_parallel(abs, {1, 2, 3})) == 3
    with pytest.raises(TypeError):
        len(seppo.map_parallel(abs, iter([1])))


def test_loops_can_be_left_and_continued():
    results = seppo.map_parallel(userland.square, range(100), chunksize=7)
    found = [next(results)]
    for value in results:
        found.append(value)
        if len(found) == 10:
            break
    found.extend(itertools.islice(results, 5))
    found.extend(results)
    assert found == [i * i for i in range(100)]


def test_two_iterators_over_one_map_share_it():
    results = seppo.map_parallel(userland.square, range(10), chunksize=4)
    assert list(zip(results, results, strict=True)) == [
        (i * i, (i + 1) ** 2) for i in range(0, 10, 2)
    ]


def test_loop_goes_on_after_an_exception_in_an_item():
    results = seppo.map_parallel(userland.fails_on_odd, range(6), chunksize=6)
    loop = iter(results)
    assert next(loop) == 0
    with pytest.raises(ValueError, match="odd: 1"):
        next(loop)
    assert next(loop) == 2
    with pytest.raises(ValueError, match="odd: 3"):
        list(loop)
    assert next(results) == 4


@pytest.mark.parametrize("way", ["close", "del", "with", "exception"])
def test_abandoned_map_frees_the_workers(cluster, way, tmp_path):
    def nap(x):
        time.sleep(60)

    results = seppo.map_parallel(nap, [1, 2, 3, 4])
    cluster.wait_until_busy()
    if way == "close":
        results.close()
    elif way == "with":
        with results:
            pass
    elif way == "exception":
        with pytest.raises(KeyError), results:
            raise KeyError
    del results
    cluster.wait_until_idle()
    assert list(seppo.map_parallel(userland.square, [1, 2])) == [1, 4]


def test_closed_map_gives_nothing_more():
    results = seppo.map_parallel(userland.square, range(10))
    assert next(results) == 0
    results.close()
    results.close()
    assert list(results) == []


def test_map_parallel_is_picklable():
    assert pickle.loads(pickle.dumps(seppo.map_parallel)) is seppo.map_parallel


def test_maps_in_threads_do_not_disturb_each_other():
    expected = [x * x for x in range(2000)]
    wrong = []

    def work():
        if list(seppo.map_parallel(userland.square, range(2000))) != expected:
            wrong.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_map_within_the_loop_of_another_map():
    pairs = [
        (a, b)
        for a in seppo.map_parallel(userland.square, range(30), buffersize=4)
        for b in seppo.map_parallel(userland.square, range(3))
    ]
    assert pairs == [(a * a, b * b) for a in range(30) for b in range(3)]


def test_nested_map_runs_serially_on_the_worker():
    def outer(n):
        import os

        import seppo

        inner = seppo.map_parallel(lambda x: (x * n, os.getpid()), range(3))
        return os.getpid(), list(inner)

    for n, (pid, found) in enumerate(seppo.map_parallel(outer, range(4))):
        assert found == [(x * n, pid) for x in range(3)]


def test_slow_items_do_not_hold_back_quick_ones():
    times = [3.0, *[0.01] * 20]
    pids = list(seppo.map_parallel(userland.pid_after, times))
    assert pids[0] not in pids[1:]


def test_quick_first_items_do_not_lock_slow_ones_to_one_worker(cluster):
    def slow_after_1000(x):
        if x >= 1000:
            time.sleep(0.1)
        return os.getpid()

    cluster.wait_until_idle()  # a copy of another test's item may still be ending
    pids = list(seppo.map_parallel(slow_after_1000, range(1020)))
    counts = [pids[1000:].count(pid) for pid in set(pids[1000:])]
    assert len(counts) == 2
    assert max(counts) <= 15


def test_forked_child_starts_its_own_connections(cluster, tmp_path):
    script = tmp_path / "fork.py"
    script.write_text(
        "import os, seppo\n"
        "results = seppo.map_parallel(abs, range(-50, 0), chunksize=1)\n"
        "first = next(results)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n"
        "        list(results)\n"
        "    except RuntimeError as error:\n"
        "        assert 'fork' in str(error)\n"
        "    print(list(seppo.map_parallel(abs, [-1, -2], fallback='error')), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "print(first, len(list(results)), list(seppo.map_parallel(abs, [-3])))\n"
    )
    assert cluster.run(script).stdout == "[1, 2]\n50 49 [3]\n"


def test_interpreter_ends_with_an_endless_map_abandoned(cluster, tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(
        "import itertools, seppo\n"
        "results = seppo.map_parallel(abs, itertools.count(), fallback='error')\n"
        "print(next(results))\n"
    )
    assert cluster.run(script).stdout == "0\n"
    cluster.wait_until_idle()


def test_memory_stays_bounded_over_an_endless_input(cluster, tmp_path):
    script = tmp_path / "count.py"
    script.write_text(
        "import itertools, re, seppo\n"
        "results = seppo.map_parallel(abs, itertools.count(), fallback='error')\n"
        "for i, value in enumerate(itertools.islice(results, 10_000)): assert i == value\n"
        # not ru_maxrss, which a child inherits from the process that started it
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    assert int(cluster.run(script).stdout) < 100 * 1024


def test_slow_consumer_does_not_pile_up_results(cluster):
    made = 0

    def numbers():
        nonlocal made
        for i in range(10_000):
            made += 1
            yield i

    with seppo.map_parallel(lambda x: bytes(1 << 20), numbers()) as results:
        for _ in range(3):
            next(results)
        cluster.wait_until_idle()
        assert made < 300  # of 1 MiB each; 64 MiB are allowed


def test_python_version_is_told():
    assert all(
        version == sys.version
        for version in seppo.map_parallel(lambda _: __import__("sys").version, range(2))
    )
