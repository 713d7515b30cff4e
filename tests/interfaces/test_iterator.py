"""The object that ``map_parallel`` returns: an iterator like any other, at C speed."""

import collections.abc
import contextlib
import copy
import gc
import io
import itertools
import os
import pickle
import signal
import sys
import threading

import pytest
import userland
from cluster import wait_until
from interrupts import WHERE, Interrupt, deadline
from tqdm import tqdm

import seppo
from seppo.engines.base import Answer
from seppo.interfaces import drivers

pytestmark = pytest.mark.usefixtures("cluster")


# --- one object


@pytest.mark.parametrize("make", [seppo.map_parallel, seppo.map_parallel_serial])
@pytest.mark.parametrize("options", [{}, {"buffersize": 3}, {"progress": lambda *_: None}])
def test_it_is_its_own_iterator(make, options):
    results = make(userland.square, range(20), **options)
    assert iter(results) is results
    assert isinstance(results, collections.abc.Iterator)
    assert next(results) == 0
    for value in results:
        assert value == 1
        break
    assert list(itertools.islice(results, 2)) == [4, 9]
    assert list(results) == [x * x for x in range(4, 20)]
    assert list(results) == []


@pytest.mark.parametrize("make", [seppo.map_parallel, seppo.map_parallel_serial])
def test_it_is_true_as_the_result_of_map_is(make):
    empty = make(abs, [])
    assert len(empty) == 0
    assert empty
    assert make(abs, iter([]))


@pytest.mark.parametrize("make", [seppo.map_parallel, seppo.map_parallel_serial])
def test_it_can_be_neither_copied_nor_pickled(make):
    results = make(abs, [-1, -2])
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            way(results)
    assert list(results) == [1, 2]


def test_a_bar_around_it_knows_its_length():
    bar = tqdm(seppo.map_parallel(userland.square, range(20)), file=io.StringIO())
    assert list(bar) == [x * x for x in range(20)]
    assert bar.total == 20


@pytest.mark.parametrize(
    "consume", [list, tuple, sum, lambda results: list(zip(results, results, strict=False))]
)
@pytest.mark.parametrize("make", [seppo.map_parallel, seppo.map_parallel_serial])
def test_no_function_of_ours_is_called_for_each_result(make, consume):
    def func(x):
        return 1

    expected = consume(map(func, range(20_000)))
    entered = 0

    def look(frame, event, arg):
        nonlocal entered
        entered += event == "call" and frame.f_code.co_filename.startswith(WHERE)

    results = make(func, range(20_000))
    if make is seppo.map_parallel:
        wait_until(lambda: results._results._job.is_over, "all results")
    sys.setprofile(look)
    try:
        found = consume(results)
    finally:
        sys.setprofile(None)
    assert found == expected
    assert entered < 5_000


@pytest.mark.parametrize("way", ["list", "for", "next", "zip"])
@pytest.mark.parametrize("chunksize", [1, 3, 50])
def test_stop_iteration_ends_each_loop_and_not_the_map(way, chunksize):
    def stops(x):
        if x % 4 == 3:
            raise StopIteration
        return x

    def loops(results):
        for _ in range(8):
            if way == "list":
                yield list(results)
            elif way == "for":
                yield [value for value in results]  # noqa: C416
            elif way == "next":
                yield list(iter(lambda: next(results, None), None))
            else:
                yield [value for value, _ in zip(results, itertools.count(), strict=False)]

    expected = list(loops(map(stops, range(22))))
    assert list(loops(seppo.map_parallel(stops, range(22), chunksize=chunksize))) == expected
    iterator = seppo.map_parallel(stops, iter(range(22)), chunksize=chunksize)
    assert list(loops(iterator)) == expected
    assert list(loops(seppo.map_parallel_serial(stops, range(22)))) == expected
    assert list(loops(seppo.map_parallel_serial(stops, range(22), timeout=60))) == expected


def test_a_map_that_goes_on_after_stop_iteration_is_still_the_same_object():
    def stops(x):
        if x == 0:
            raise StopIteration
        return x

    results = seppo.map_parallel(stops, range(6))
    assert list(results) == []
    assert iter(results) is results
    assert isinstance(results, itertools.chain)
    assert len(results) == 6
    assert next(results) == 1
    results.close()
    assert list(results) == []


def test_threads_that_share_an_uneven_map_get_each_result_once():
    def func(x):
        if x % 7 == 0:
            raise ValueError
        return x, str(x)

    results = seppo.map_parallel(func, iter(range(3000)), chunksize=5, return_exceptions=True)
    found = []

    def work():
        for value in results:
            found.append(value)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3000
    assert {x for x, _ in (each for each in found if type(each) is tuple)} == {
        x for x in range(3000) if x % 7
    }


# --- Ctrl-C, and going on


def pairs(x):
    return x, x


def numbers():
    yield from range(4)


WAYS = {
    "sequence": lambda: seppo.map_parallel(userland.square, range(4)),
    "packed": lambda: seppo.map_parallel(pairs, range(4), chunksize=2),
    "generator": lambda: seppo.map_parallel(userland.square, numbers()),
    "buffersize": lambda: seppo.map_parallel(userland.square, range(4), buffersize=1),
    "both": lambda: seppo.map_parallel(pairs, numbers(), buffersize=1),
    "progress": lambda: seppo.map_parallel(pairs, range(4), progress=lambda done, total: None),
}


@pytest.mark.parametrize(
    ("loop", "event"), [("next", "call"), ("for", "call"), ("for", "c_return")]
)
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_anywhere_loses_nothing_and_hangs_nowhere(way, loop, event):
    expected = list(
        map(pairs if way in ("packed", "both", "progress") else userland.square, range(4))
    )
    for n in itertools.count(1):
        results, found = WAYS[way](), []
        with deadline(), Interrupt(n, event) as interrupt:
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    if loop == "for":
                        for value in results:
                            found.append(value)
                        break
                    value = next(results, None)
                    if value is None:
                        break
                    found.append(value)
        assert found == expected, n
        if interrupt.is_due:
            break
    assert n > 10


def test_ctrl_c_anywhere_hides_no_error_of_the_input():
    def fails():
        yield from range(3)
        raise ValueError("no more")

    for n in itertools.count(1):
        results, found = seppo.map_parallel(userland.square, fails()), []
        with deadline(), Interrupt(n) as interrupt:
            while True:
                try:
                    found.append(next(results))
                except KeyboardInterrupt:
                    continue
                except (ValueError, StopIteration) as end:
                    found.append(type(end))
                    break
        assert found == [0, 1, 4, ValueError], n
        if interrupt.is_due:
            break


def jobs():
    return [job for each in drivers._drivers.values() for job in each._jobs]


@pytest.mark.parametrize("way", ["sequence", "generator", "progress"])
def test_ctrl_c_anywhere_in_the_call_leaves_no_job(way):
    wait_until(lambda: not jobs(), "the end of earlier jobs")
    for n in itertools.count(1):
        results = kept = None
        with deadline(), Interrupt(n) as interrupt:
            try:
                results = WAYS[way]()
            except KeyboardInterrupt as error:
                kept = error  # as at a prompt, with all that its frames refer to
        if results is not None:
            results.close()
        if interrupt.is_due:
            break
        wait_until(lambda: not jobs(), f"the end of the job of call {n}")
        del kept


@pytest.mark.parametrize("way", ["sequence", "generator", "both"])
def test_ctrl_c_anywhere_in_close_is_made_good_by_the_next_close(way):
    wait_until(lambda: not jobs(), "the end of earlier jobs")
    for n in itertools.count(1):
        results = WAYS[way]()
        with deadline(), Interrupt(n) as interrupt, contextlib.suppress(KeyboardInterrupt):
            results.close()
        results.close()
        wait_until(lambda: not jobs(), f"the end of the job of call {n}")
        assert list(results) == []
        if interrupt.is_due:
            break


# --- calls that fail, maps that are closed


class Refuses:
    def __init__(self, **keywords):
        raise ZeroDivisionError

    def update(self, n):
        pass


def refuses(done, total):
    raise ZeroDivisionError


@pytest.mark.parametrize("progress", [{"nonsense": 1}, Refuses, refuses])
@pytest.mark.parametrize("as_iterator", [False, True])
def test_a_call_that_fails_leaves_no_job(progress, as_iterator):
    wait_until(lambda: not jobs(), "the end of earlier jobs")
    items = [60] * 4
    with pytest.raises((KeyError, ZeroDivisionError)) as kept:
        seppo.map_parallel(
            userland.pid_after, iter(items) if as_iterator else items, progress=progress
        )
    assert kept.value.__traceback__ is not None
    wait_until(lambda: not jobs(), "the end of the job")


def test_ctrl_c_in_an_input_during_the_call_leaves_no_job():
    wait_until(lambda: not jobs(), "the end of earlier jobs")

    def interrupted():
        yield 60
        os.kill(os.getpid(), signal.SIGINT)
        yield 60

    with pytest.raises(KeyboardInterrupt) as kept:
        seppo.map_parallel(userland.pid_after, interrupted())
    assert kept.value.__traceback__ is not None
    wait_until(lambda: not jobs(), "the end of the job")


def test_closed_maps_let_go_of_what_has_come():
    def answers():
        return sum(type(each) is Answer for each in gc.get_objects())

    gc.collect()
    before = answers()
    kept = []
    for as_iterator in (False, True) * 2:
        items = [b"x" * 10_000] * 100
        results = seppo.map_parallel(
            lambda x: [x], iter(items) if as_iterator else items, chunksize=10
        )
        next(results)
        wait_until(results._results._mailbox.first, "another part")
        results.close()
        kept.append(results)
    wait_until(lambda: not jobs(), "the end of the jobs")
    wait_until(lambda: answers() <= before, "the end of the parts")
    assert [list(results) for results in kept] == [[]] * 4


def test_closed_maps_let_go_of_the_items_that_were_read():
    items = (b"x" * 10_000 for _ in range(1000))
    results = seppo.map_parallel(lambda x: [x], items, buffersize=50)
    next(results)
    source = results._results._job.source
    assert source._items
    results.close()
    wait_until(lambda: not source._items, "the end of the items")
