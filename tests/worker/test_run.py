"""One chunk where it runs: bursts, failures in the middle, pauses and giving back."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import hostile
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import wait_until

from seppo import place
from seppo.values.batch import EACH, WHOLE, pack_values, pack_whole
from seppo.values.outcome import Failure, Interrupted
from seppo.values.serialize import load
from seppo.wire.messages import Chunk
from seppo.wire.packed import Batch, Packed
from seppo.worker import run as run_module
from seppo.worker import runner as runner_module
from seppo.worker.pace import LARGEST_BURST, Pace
from seppo.worker.run import ChunkRun
from seppo.worker.runner import Runner


class Run(ChunkRun):
    """A chunk being run, with what runs it."""

    def __init__(self, load, chunk, pace, mark=None):
        super().__init__(chunk, mark)
        self.run_burst = Runner(self, load, pace).run_burst


def running(func, chunk, pace):
    return Run(lambda: func, chunk, pace)


def unpacked(outcomes):
    return [load(each) if type(each) is Packed else each for each in outcomes]


DIGEST = bytes(32)


def chunk_of(*columns: object, index: int = 0) -> Chunk:
    batches = tuple(
        pack_whole(column, len(column))
        if isinstance(column, range)
        else pack_values(column, lambda i: f"item {index + i}")
        for column in columns
    )
    return Chunk(1, 1, index, len(columns[0]), DIGEST, batches)


def run_all(run: Run) -> list[object]:
    while not run.is_finished:
        run.run_burst()
    return unpacked(run.take_outcomes()[0])


def plain(outcomes: list[object]) -> list[object]:
    """Return outcomes with failures as text, so that they compare."""
    return [f"{v.type_name}: {v.text}" if type(v) is Failure else v for v in outcomes]


paces = pytest.mark.parametrize("items", [1, 3, 1000])


@paces
@pytest.mark.parametrize("column", [range(10), list(range(10)), [[i] for i in range(10)]])
def test_outcomes_are_those_of_map(items, column):
    run = running(lambda x: [x], chunk_of(column), Pace(items))
    assert run_all(run) == [[x] for x in column]
    assert run.done == 10


@paces
def test_several_columns_are_several_arguments(items):
    run = running(lambda *args: args, chunk_of(range(4), "abcd", [[0]] * 4), Pace(items))
    assert run_all(run) == [(0, "a", [0]), (1, "b", [0]), (2, "c", [0]), (3, "d", [0])]


@paces
def test_exceptions_in_the_middle_cost_only_their_items(items):
    run = running(lambda x: 12 // (x - 2), chunk_of(range(5)), Pace(items))
    got = run_all(run)
    assert plain(got[:2] + got[3:]) == [-6, -12, 12, 6]
    assert got[2].type_name == "builtins.ZeroDivisionError"
    assert "seppo/worker" not in got[2].traceback  # our own frames are left out


@paces
@pytest.mark.parametrize("where", [{0}, {9}, {3, 4}, set(range(10))], ids=str)
@pytest.mark.parametrize("kind", [StopIteration, ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_is_raised_is_an_outcome_and_the_next_item_runs(items, where, kind):
    def func(x: int) -> int:
        if x in where:
            raise kind
        return x

    got = run_all(running(func, chunk_of(range(10)), Pace(items)))
    assert [v.type_name if type(v) is Failure else v for v in got] == [
        f"builtins.{kind.__name__}" if x in where else x for x in range(10)
    ]


@paces
def test_stop_iteration_in_several_columns_does_not_shift_them(items):
    def func(x: int, y: int) -> int:
        if x % 2:
            raise StopIteration
        return 10 * x + y

    got = run_all(running(func, chunk_of(range(6), list(range(6))), Pace(items)))
    assert got[::2] == [0, 22, 44]


@paces
def test_items_that_do_not_arrive_cost_only_themselves(items):
    bad = hostile.RaisesAtUnpickling()
    chunk = chunk_of([bad, [1], [2], bad, bad, [5]], list("abcdef"), index=100)
    got = run_all(running(lambda x, y: (x, y), chunk, Pace(items)))
    assert got[1:3] + got[5:] == [([1], "b"), ([2], "c"), ([5], "f")]
    assert [f"item {100 + i}" in got[i].text for i in (0, 3, 4)] == [True] * 3


@paces
def test_a_bad_second_argument_costs_only_its_item(items):
    chunk = chunk_of([0, 1, 2], [[0], hostile.RaisesAtUnpickling(SystemExit), [2]])
    got = run_all(running(lambda x, y: (x, y), chunk, Pace(items)))
    assert (got[0], type(got[1]), got[2]) == ((0, [0]), Failure, (2, [2]))


@paces
def test_a_function_that_did_not_arrive_fails_every_item(items):
    failure = Failure("ImportError", "no module named x")
    assert run_all(running(failure, chunk_of(range(5)), Pace(items))) == [failure] * 5


def test_outcomes_can_be_taken_as_they_come():
    run = running(lambda x: x, chunk_of(range(7)), Pace(2))
    taken = []
    while not run.is_finished:
        run.run_burst()
        outcomes, seconds = run.take_outcomes()
        taken.append(outcomes)
        assert seconds > 0.0
    assert [value for values in taken for value in values] == list(range(7))
    assert len(taken) > 1
    assert run.take_outcomes() == ([], 0.0)


def test_a_block_with_fewer_values_than_promised_is_not_run():
    chunk = Chunk(1, 1, 0, 5, DIGEST, (Batch(WHOLE, 5, pack_values([1, 2], str).parts),))
    with pytest.raises(runner_errors()):
        run_all(running(abs, chunk, Pace()))
    with pytest.raises(runner_errors()):
        running(abs, Chunk(1, 1, 0, 5, DIGEST, (Batch(EACH, 5, (b"", b"")),)), Pace())


def runner_errors() -> type[Exception]:
    from seppo.errors import ProtocolError

    return ProtocolError


# --- giving back, in one thread: the function does what another thread would do


@given(
    count=st.integers(1, 20),
    burst=st.integers(1, 25),
    at=st.integers(0, 19),
    how=st.sampled_from(["give_back", "pause", "abandon"]),
    raising=st.sets(st.integers(0, 19)),
    kind=st.sampled_from([StopIteration, ValueError]),
)
def test_giving_back_within_an_item_keeps_exactly_what_began(count, burst, at, how, raising, kind):
    begun: list[int] = []
    kept: list[int | None] = []

    def func(x: int) -> int:
        begun.append(x)
        if x == at:
            kept.append(getattr(run, how)())
        if x in raising:
            raise kind
        return x

    run = running(func, chunk_of(range(count)), Pace(burst))
    got = run_all(run)
    assert begun == list(range(len(begun)))
    assert len(got) == len(begun) == run.done
    if at < count and how != "pause":
        assert len(begun) == at + 1
        assert run.was_given_back
        if how == "give_back":
            assert kept == [at + 1]
    else:
        assert len(begun) == count
    assert run.is_unwanted == (how == "abandon" and at < count)
    assert [v if type(v) is not Failure else None for v in got] == [
        None if x in raising else x for x in begun
    ]


def test_giving_back_between_bursts_keeps_what_is_done():
    run = running(lambda x: x, chunk_of(range(10)), Pace(3))
    run.run_burst()
    done = run.done
    assert run.give_back() == done == 3
    assert run.is_finished
    run.run_burst()
    assert run.take_outcomes()[0] == [0, 1, 2]


def test_giving_back_twice_says_the_same():
    run = running(lambda x: x, chunk_of(range(10)), Pace(3))
    run.run_burst()
    assert run.give_back() == run.give_back() == 3


def test_giving_back_at_the_end_keeps_all():
    run = running(lambda x: x, chunk_of(range(3)), Pace())
    run_all(run)
    assert run.give_back() == 3


_run_of_loading: list[Run] = []


class AsksWhenUnpacked:
    """Stands for another thread that asks something just while an item is unpacked."""

    def __init__(self, how: str, fails: bool = False) -> None:
        self.asks = how, fails

    def __reduce__(self):
        return _ask, self.asks


def _ask(how: str, fails: bool) -> int:
    import sys

    module = sys.modules["seppo_test_runs"]
    module.answers.append(getattr(module.run, how)())
    if fails:
        raise ValueError("no item")
    return 1


@pytest.fixture
def loading(monkeypatch):
    """Make a run known to what is unpacked; it travels by value, so through a module."""
    import sys
    import types

    module = types.ModuleType("seppo_test_runs")
    module.answers = []
    monkeypatch.setitem(sys.modules, "seppo_test_runs", module)
    return module


@paces
@pytest.mark.parametrize("fails", [False, True])
def test_an_item_that_is_being_unpacked_has_begun_and_is_kept(loading, items, fails):
    """Else nobody would cancel a chunk that is caught in there: it would seem to be over."""
    column = [AsksWhenUnpacked("give_back", fails), AsksWhenUnpacked("give_back"), 3]
    run = loading.run = running(lambda x, y: x, chunk_of(column, column), Pace(items))
    got = run_all(run)
    assert set(loading.answers) == {1}
    assert len(loading.answers) == 2  # of both arguments: the next item is not unpacked
    assert (type(got[0]) is Failure) if fails else (got == [1])
    assert len(got) == run.done == 1


@paces
def test_what_is_given_back_while_a_second_argument_is_unpacked_does_not_begin(loading, items):
    chunk = chunk_of([[0], [1], [2]], [AsksWhenUnpacked("give_back"), [1], [2]])
    run = loading.run = running(lambda x, y: [x, y], chunk, Pace(items))
    assert run_all(run) == [[[0], 1]]
    assert loading.answers == [1]


@pytest.mark.parametrize("how", ["give_back", "abandon"])
def test_loading_the_function_is_part_of_the_first_item(how):
    ran = []

    def load_function():
        kept.append(getattr(run, how)())
        return ran.append

    kept = []
    run = Run(load_function, chunk_of(range(5)), Pace())
    run.run_burst()
    assert run.is_finished
    assert (kept, ran) == (([1], [0]) if how == "give_back" else ([None], []))


@pytest.mark.parametrize("how", ["give_back", "pause", "abandon"])
def test_an_item_that_has_begun_does_not_wait_again_before_it_is_called(monkeypatch, how):
    """Whoever was told that it has begun may rely on it, whenever the rest is given back."""
    answers = []

    def func(x):
        return x

    def late_map(called, *columns):
        if called is func:
            answers.append(getattr(run, how)())
        return map(called, *columns)

    monkeypatch.setattr(runner_module, "map", late_map, raising=False)
    run = running(func, chunk_of(range(5)), Pace(5))
    run.run_burst()
    assert run.take_outcomes()[0] == ([] if how == "abandon" else [0])
    assert answers == [1 if how == "give_back" else None]
    assert run.is_finished == (how != "pause")


def test_an_item_that_is_not_wanted_does_not_begin_once_it_is_unpacked(loading):
    ran = []
    chunk = chunk_of([AsksWhenUnpacked("abandon"), 2])
    run = loading.run = running(ran.append, chunk, Pace(5))
    run.run_burst()
    assert ran == []
    assert run.is_finished


def test_a_failing_function_does_not_count_items_that_were_given_back(loading):
    chunk = chunk_of([AsksWhenUnpacked("give_back"), 2])
    failure = Failure("X", "x")
    run = loading.run = running(failure, chunk, Pace(5))
    run.run_burst()
    assert loading.answers == [1]
    assert run.take_outcomes()[0] == [failure]


def test_outcomes_that_are_to_be_packed_are_not_handed_over_before():
    """Packing runs user code, which is for the running thread alone."""
    taken: list[object] = []

    def take(x: int) -> object:
        taken.append(run.take_outcomes()[0])
        return TakesWhenPacked() if x == 2 else x

    class TakesWhenPacked:
        def __reduce__(self):
            taken.append(run.take_outcomes()[0])
            return int, ()

    run = running(take, chunk_of(range(6)), Pace(5))
    run.run_burst()
    assert taken == [[], [0], [1], []]  # [] in the packing of 2, which ends the burst
    assert run.done == 3
    assert unpacked(run.take_outcomes()[0]) == [0]


@given(
    count=st.integers(1, 40),
    burst=st.integers(1, 50),
    plain=st.integers(0, 40),
    kinds=st.lists(st.sampled_from([int, str, float, lambda x: None]), min_size=1),
    raising=st.sets(st.integers(0, 40)),
    columns=st.integers(1, 2),
)
def test_a_result_that_is_filled_again_is_kept_as_it_was(
    count, burst, plain, kinds, raising, columns
):
    def of(x: int, reused: list[int]) -> object:
        if x in raising:
            return ValueError
        if x < plain:
            return kinds[x % len(kinds)](x)
        reused.append(x)
        return list(reused) if reused is expected_list else reused

    def func(x: int, *_: object) -> object:
        found = of(x, filled)
        if found is ValueError:
            raise ValueError
        return found

    filled: list[int] = []
    expected_list: list[int] = []
    expected = [of(x, expected_list) for x in range(count)]
    got = run_all(running(func, chunk_of(*[range(count)] * columns), Pace(burst)))
    assert [ValueError if type(each) is Failure else each for each in got] == expected


class _Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other


class _Raising(type):
    def __hash__(cls) -> int:
        raise hostile.Oops


@pytest.mark.parametrize("metaclass", [_Unhashable, _Raising])
def test_a_result_of_a_type_that_cannot_be_looked_up_is_one_that_is_not_plain(metaclass):
    cls = metaclass("OfOddType", (), {})
    run = running(lambda x: x if x < 2 else cls(), chunk_of(range(5)), Pace(5))
    run.run_burst()
    assert run.done == 3
    while not run.is_finished:
        run.run_burst()
    outcomes = run.take_outcomes()[0]
    assert outcomes[:2] == [0, 1]
    assert {type(each) for each in outcomes[2:]} == {Packed}


def test_interrupting_drops_the_burst_and_leaves_the_run_consistent():
    def func(x: int) -> int:
        if x == 5:
            raise Interrupted
        return x

    run = running(func, chunk_of(range(10)), Pace(100))
    with pytest.raises(Interrupted):
        run.run_burst()
    assert run.burst_at is None
    assert run.take_outcomes()[0] == [0, 1, 2, 3, 4]


# --- with threads


class WrongPace(Pace):
    def learn(self, items, seconds):
        pass


@pytest.mark.parametrize("seed", range(3))
def test_no_item_is_lost_or_run_twice_when_another_thread_gives_back(seed):
    # The rest that is given back becomes the next chunk, as with a real scheduler.
    draw = random.Random(seed)
    total = 60_000
    begun: list[int] = []
    delivered: list[object] = []
    current: list[Run | None] = [None]
    stopping = threading.Event()
    returns: dict[int, int] = {}

    def func(x: int) -> int:
        begun.append(x)
        if x % 4999 == 0:
            raise StopIteration
        return x

    def disturb() -> None:
        while not stopping.is_set():
            run = current[0]
            if run is not None:
                choice = draw.random()
                if choice < 0.4:
                    run.pause()
                elif choice < 0.8:
                    values, _ = run.take_outcomes()
                    delivered.extend(values)
                elif run.chunk.index not in returns and run.done >= 10:
                    returns[run.chunk.index] = run.give_back()
            time.sleep(draw.random() * 0.0002)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        at = 0
        pace = WrongPace(LARGEST_BURST)
        while at < total:
            run = running(func, chunk_of(range(at, total), index=at), pace)
            current[0] = run
            while not run.is_finished:
                run.run_burst()
            current[0] = None
            if at in returns:
                assert run.done == returns[at]
            delivered.extend(run.take_outcomes()[0])
            at += run.done
    finally:
        stopping.set()
        thread.join(20)
    assert begun == list(range(total))
    got = sorted(v for v in delivered if type(v) is int)
    assert got == [x for x in range(total) if x % 4999]
    assert len(delivered) == total


def test_a_long_burst_of_a_wrong_pace_is_cut_after_the_item_that_runs():
    # A thousand instant items teach a pace that is ruinous for the slow ones after them.
    began = threading.Event()

    def func(x: int) -> int:
        if x >= 1000:
            began.set()
            time.sleep(0.02)
        return x

    pace = Pace()
    run = running(func, chunk_of(range(3000)), pace)
    thread = threading.Thread(target=run_all, args=(run,))
    thread.start()
    try:
        assert began.wait(20)
        kept = run.give_back()
        wait_until(lambda: run.is_finished)
        thread.join(20)
    finally:
        run.abandon()
        thread.join(20)
    assert not thread.is_alive()
    assert 1001 <= kept <= 1100
    assert run.done == kept


def test_a_pause_ends_the_burst_and_loses_nothing():
    release = threading.Event()
    inside = threading.Event()

    def func(x: int) -> int:
        if x == 5:
            inside.set()
            assert release.wait(20)
        return x

    run = running(func, chunk_of(range(100)), Pace(100))
    thread = threading.Thread(target=run.run_burst)
    thread.start()
    assert inside.wait(20)
    assert run.burst_at is not None
    assert run.take_outcomes()[0] == [0, 1, 2, 3, 4]
    run.pause()
    release.set()
    thread.join(20)
    assert run.done == 6
    assert run.burst_at is None
    assert not run.is_finished
    assert run_all(run) == list(range(5, 100))


# --- where am I?


def test_a_thread_can_be_a_worker_and_its_neighbours_are_not():
    names: list[str | None] = []

    def be_worker() -> None:
        place.enter_worker_thread("thread-1")
        names.append(place.current_worker())

    thread = threading.Thread(target=be_worker)
    thread.start()
    thread.join(10)
    assert names == ["thread-1"]
    assert place.current_worker() is None


def test_a_process_can_be_a_worker(monkeypatch):
    monkeypatch.setattr(place, "_worker", None)
    monkeypatch.setenv(place.INSIDE, "")  # so that it is undone
    monkeypatch.delenv(place.INSIDE)
    assert not place.is_nested("lab")
    place.enter_worker(f"w.{os.getpid()}", "lab")
    assert place.current_worker() == f"w.{os.getpid()}"
    # Waiting for workers of another group cannot wait for this one.
    assert [place.is_nested(group) for group in ("lab", None, "office")] == [True, True, False]


# --- the mark of what runs


class Marks:
    """Keeps what is marked; None for a cleared mark."""

    def __init__(self):
        self.seen = []

    def set(self, attempt, first, stop, deadline=0.0):
        assert attempt == 1
        self.seen.append((first, stop))

    def clear(self):
        self.seen.append(None)

    @property
    def now(self):
        return self.seen[-1]


class Watched:
    """An item that notes what is marked when it is unpacked and when it is dropped."""

    marks = None
    notes: list = []  # noqa: RUF012

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return unpacked_watched, (self.number,)


def unpacked_watched(number):
    Watched.notes.append(("unpacked", number, Watched.marks.now))
    return Dropped(number)


class Dropped:
    def __init__(self, number):
        self.number = number

    def __del__(self):
        if Watched.marks is not None:
            Watched.notes.append(("dropped", self.number, Watched.marks.now))


@pytest.fixture
def marks():
    Watched.marks, Watched.notes = Marks(), []
    yield Watched.marks
    Watched.marks = None


def marked(func, chunk, items, marks):
    run = Run(lambda: func, chunk, Pace(items), marks)
    while not run.is_finished:
        run.run_burst()
    return run


@pytest.mark.parametrize("items", [1, 100])
def test_a_burst_is_marked_and_the_mark_cleared_after_it(marks, items):
    marked(lambda x: marks.now, chunk_of(range(40), index=100), items, marks)
    assert marks.now is None
    spans = [each for each in marks.seen if each is not None]
    assert spans[0] == (100, 140)  # whoever loads the function does so for all of them
    assert max(stop for _, stop in spans) == 140


@pytest.mark.parametrize("items", [1, 7, 100])
@pytest.mark.parametrize("packs_each", [False, True])
def test_an_item_is_marked_from_its_unpacking_to_its_end(marks, items, packs_each):
    chunk = chunk_of([Watched(i) for i in range(20)], index=100)
    pace = Pace(items, packs_each)
    run = Run(lambda: lambda x: [x.number], chunk, pace, marks)
    while not run.is_finished:
        run.run_burst()
    del run
    assert len(Watched.notes) == 40
    for what, number, mark in Watched.notes:
        assert mark is not None, (what, number)
        assert mark[0] <= 100 + number < mark[1], (what, number, mark)


@pytest.mark.parametrize("limit", [0.0, 60.0])
def test_alone_every_mark_is_exact(marks, limit):
    chunk = chunk_of([Watched(i) for i in range(5)], index=100)
    chunk = replace(chunk, alone=not limit, task_timeout=limit)
    marked(lambda x: [x.number], chunk, 100, marks)
    assert {(n, mark) for _, n, mark in Watched.notes} == {
        (i, (100 + i, 101 + i)) for i in range(5)
    }


def test_alone_an_items_garbage_is_collected_under_its_mark(marks):
    def litter(x):
        garbage = Dropped(x)
        garbage.me = garbage

    gc.disable()
    try:
        marked(litter, replace(chunk_of(range(3)), alone=True), 100, marks)
    finally:
        gc.enable()
    assert Watched.notes == [("dropped", i, (i, i + 1)) for i in range(3)]


def test_alone_one_burst_is_one_item():
    run = running(lambda x: x, replace(chunk_of(range(3)), alone=True), Pace(100))
    for done in (1, 2, 3):
        run.run_burst()
        assert run.done == done


def test_a_slow_item_of_a_burst_is_marked_exactly_once_it_is_looked_at(marks):
    begun, go_on = threading.Event(), threading.Event()

    def slow(x):
        if x == 3:
            begun.set()
            assert go_on.wait(20)
        return x

    run = Run(lambda: slow, chunk_of(range(10), index=100), Pace(100), marks)
    thread = threading.Thread(target=run.run_burst)
    thread.start()
    assert begun.wait(20)
    assert marks.now == (100, 110)
    run.pause()
    assert marks.now == (103, 104)
    go_on.set()
    thread.join()
    assert marks.now is None


def test_an_interrupted_item_is_no_outcome():
    """It was told before: the process ends."""

    def interrupt(x):
        raise Interrupted

    run = running(interrupt, replace(chunk_of(range(3)), task_timeout=9.0), Pace())
    with pytest.raises(Interrupted):
        run.run_burst()
    assert run.take_outcomes()[0] == []
    assert run.overdue < 0


def test_an_item_that_is_dropped_while_it_is_unpacked_does_not_run(loading):
    ran = []
    column = [AsksWhenUnpacked("abandon"), 2]
    chunk = replace(chunk_of(column, [[1], [2]]), task_timeout=9.0)
    run = loading.run = running(lambda *args: ran.append(args), chunk, Pace())
    run.run_burst()
    assert ran == []
    assert run.is_finished
    assert run.take_outcomes()[0] == []


@pytest.mark.parametrize(("limit", "over"), [(0.0, False), (1e-9, True), (60.0, False)])
def test_only_an_item_with_a_limit_is_ever_overdue(limit, over):
    seen = []
    chunk = replace(chunk_of(range(1)), task_timeout=limit)
    run = running(lambda x: seen.append(run.overdue >= 0), chunk, Pace())
    assert run.overdue < 0
    run.run_burst()
    assert run.overdue < 0
    assert seen == [over]


def test_an_item_that_was_given_up_and_ends_after_all_is_told_once():
    chunk = replace(chunk_of(range(4), index=50), task_timeout=0.001)
    kept = []

    def func(x):
        if x == 1:
            time.sleep(0.01)  # is over its limit then
            kept.append(run.give_up_item())
        return x

    run = running(func, chunk, Pace())
    zero, failure = run_all(run)
    assert zero == 0
    assert "item 51 took longer" in failure.text
    assert kept == [2]
    assert run.is_unwanted


def test_an_item_that_has_ended_meanwhile_is_not_given_up():
    chunk = replace(chunk_of(range(4)), task_timeout=60.0)
    given_up = []
    run = running(lambda x: given_up.append(run.give_up_item()), chunk, Pace())
    assert run.give_up_item() is None
    assert run_all(run) == [None] * 4
    assert given_up == [None] * 4
    assert not run.is_unwanted


def test_loading_the_function_is_no_part_of_what_items_cost(monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0], monotonic=time.monotonic)
    monkeypatch.setattr(run_module, "time", clock)

    def load():
        now[0] += 5.0
        return abs

    run = Run(load, chunk_of(range(3)), Pace())
    while not run.is_finished:
        run.run_burst()
    assert run.take_outcomes() == ([0, 1, 2], 0.0)
