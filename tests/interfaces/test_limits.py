"""Options about time, tries and losses, on real workers and without any."""

import contextlib
import os
import signal
import threading
import time

import pytest
import userland
from cluster import end, is_alive, wait_until

import seppo
from seppo.interfaces import here


def fails_at_first(path, times):
    """Raise ``OSError`` as often as told; count every call in a file."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        raise OSError(f"failed {times} times")
    return "done"


# --- retries


@pytest.fixture(params=["workers", "serial"])
def a_map(request):
    """Return ``map_parallel`` on workers, or its serial twin."""
    if request.param == "serial":
        return seppo.map_parallel_serial
    request.getfixturevalue("cluster")
    return seppo.map_parallel


def test_an_item_that_raises_is_tried_again(a_map, tmp_path):
    retry = seppo.Retry(3, on=(OSError,), backoff=0.001)
    assert list(a_map(fails_at_first, [tmp_path / "a"], [2], retries=retry)) == ["done"]
    assert (tmp_path / "a").read_text() == "xxx"


def test_the_last_exception_is_raised_at_its_place(a_map, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    results = a_map(fails_at_first, paths, [0, 9, 0], retries=1)
    assert next(results) == "done"
    with pytest.raises(OSError, match="failed 9 times") as caught:
        next(results)
    assert "seppo: tried 2 times" in caught.value.__notes__
    assert next(results) == "done"
    assert (tmp_path / "b").read_text() == "xx"


def test_retries_and_exceptions_as_values_go_together(a_map, tmp_path):
    retry = seppo.Retry(1, backoff=0)
    paths = [tmp_path / "a", tmp_path / "b"]
    found = list(a_map(fails_at_first, paths, [1, 9], retries=retry, return_exceptions=True))
    assert found[0] == "done"
    assert isinstance(found[1], OSError)


def test_other_exceptions_are_raised_at_once(a_map, tmp_path):
    retry = seppo.Retry(3, on=(KeyError,))
    with pytest.raises(OSError, match="failed"):
        next(a_map(fails_at_first, [tmp_path / "a"], [9], retries=retry))
    assert (tmp_path / "a").read_text() == "x"


def test_lambdas_and_closures_can_be_tried_again(cluster):
    factor = 3
    assert list(seppo.map_parallel(lambda x: factor * x, [1, 2], retries=2)) == [3, 6]


# --- exceptions of items that look like ours


def raises_ours(x):
    if x == 1:
        raise seppo.SetupError("mine", "the item", "its own")
    if x == 2:
        raise seppo.MapTimeoutError(7.0)
    if x == 4:
        raise StopIteration
    return x


@pytest.mark.parametrize("options", [{}, {"timeout": 60.0}, {"progress": lambda done, total: None}])
def test_what_an_item_raises_is_its_own(a_map, options):
    results = a_map(raises_ours, range(6), **options)
    assert next(results) == 0
    with pytest.raises(seppo.SetupError, match="its own"):
        next(results)
    with pytest.raises(seppo.MapTimeoutError) as caught:
        next(results)
    assert caught.value.seconds == 7.0
    assert list(results) == [3]
    assert list(results) == [5]


def test_what_an_item_raises_can_be_its_value(a_map):
    found = list(a_map(raises_ours, range(6), return_exceptions=True))
    assert found[::3] == [0, 3]
    assert list(map(type, found[1:3])) == [seppo.SetupError, seppo.MapTimeoutError]
    assert type(found[4]) is StopIteration
    assert found[5] == 5


# --- time for the whole map


def test_a_map_that_takes_too_long_raises_and_frees_its_workers(cluster):
    results = seppo.map_parallel(time.sleep, [0, 60, 60], timeout=3.0)
    assert next(results) is None
    with pytest.raises(seppo.MapTimeoutError, match="1 items were delivered, 2 were not") as caught:
        next(results)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.seconds == 3.0
    assert list(results) == []
    cluster.wait_until_idle()


def test_a_loop_over_a_map_that_takes_too_long_ends(cluster):
    with pytest.raises(seppo.MapTimeoutError):
        list(seppo.map_parallel(time.sleep, [60, 60, 60], timeout=0.5))


def test_a_map_that_is_done_in_time_can_be_read_later(cluster):
    with seppo.map_parallel(userland.square, range(50), timeout=20.0) as results:
        wait_until(lambda: results._results._job.is_over, "the end of the job")
        results._results._deadline._at = time.monotonic() - 1
        assert list(results) == [x * x for x in range(50)]


def test_serial_maps_look_at_the_time_before_each_item():
    results = seppo.map_parallel_serial(time.sleep, [0, 0.2, 0], timeout=0.1)
    assert next(results) is None
    assert next(results) is None  # nobody interrupts it
    with pytest.raises(seppo.MapTimeoutError, match="2 items were delivered"):
        next(results)
    assert list(results) == []
    assert len(list(seppo.map_parallel_serial(abs, range(5), timeout=20.0))) == 5


# --- cancel


def test_cancel_keeps_what_is_here_and_ends_what_runs(cluster):
    results = seppo.map_parallel(userland.pid_after, [0, 0, 60, 60, 60])
    found = [next(results), next(results)]
    cluster.wait_until_busy(2)
    busy = {info["pid"] for info in cluster.infos() if info["busy"]}
    results.cancel()
    found += results
    assert len(found) == 2
    # Their processes end, and others do the next map.
    wait_until(lambda: not any(map(is_alive, busy)), "the end of what ran")
    assert not set(seppo.map_parallel(userland.pid_after, [0, 0])) & busy


def test_cancel_stops_reading_the_input(cluster):
    made = []

    def numbers():
        while True:
            made.append(1)
            yield 1

    results = seppo.map_parallel(userland.square, numbers())
    assert next(results) == 1
    results.cancel()
    results.cancel()
    rest = list(results)
    count = len(made)
    assert len(rest) < count
    assert list(results) == []
    assert len(made) == count
    cluster.wait_until_idle()


def test_serial_maps_can_be_cancelled():
    results = seppo.map_parallel_serial(abs, [1, 2, 3])
    assert next(results) == 1
    results.cancel()
    assert list(results) == []


@pytest.mark.parametrize("way", ["next", "list", "for"])
def test_a_traceback_that_is_kept_does_not_keep_the_workers_busy(cluster, way):
    """As at a prompt: the last traceback stays until the next one."""

    def interrupt_when_busy():
        cluster.wait_until_busy()
        os.kill(os.getpid(), signal.SIGINT)

    interrupt = threading.Thread(target=interrupt_when_busy)
    kept = None
    interrupt.start()
    try:
        if way == "next":
            next(seppo.map_parallel(time.sleep, [60, 60, 60]))
        elif way == "list":
            list(seppo.map_parallel(time.sleep, [60, 60, 60]))
        else:
            for _ in seppo.map_parallel(time.sleep, iter([60, 60, 60])):
                pass
    except KeyboardInterrupt as interruption:
        kept = interruption
    interrupt.join()
    assert kept is not None
    assert kept.__traceback__ is not None
    cluster.wait_until_idle()


def test_a_kept_exception_of_an_item_does_not_keep_the_workers_busy(cluster):
    kept = None
    try:
        for _ in seppo.map_parallel(lambda x: 1 / x or time.sleep(60), [0, 0.01, 0.01, 0.01]):
            pass
    except ZeroDivisionError as error:
        kept = error
    assert kept is not None
    cluster.wait_until_idle()


# --- when all workers are gone


@pytest.fixture
def no_grace(monkeypatch):
    monkeypatch.setenv("SEPPO_GRACE", "0.5")
    monkeypatch.setattr(here, "_warned", set())


def outcomes(results):
    """Return results and errors in their places."""
    found = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except seppo.WorkerLostError as error:
            found.append(error)


PREPARED = None


def prepare(value):
    global PREPARED
    PREPARED = value


def uses_all(x):
    time.sleep(0.05)
    return PREPARED, seppo.data_path("told.txt").read_text(), os.getpid()


@pytest.mark.parametrize("as_iterator", [False, True])
def test_the_rest_is_run_here_with_all_that_was_to_be_there(
    own_cluster, no_grace, tmp_path, as_iterator
):
    cluster = own_cluster(1)
    (tmp_path / "told.txt").write_text("told")
    ends = tmp_path / "ends"
    results = seppo.map_parallel(
        uses_all,
        iter(range(30)) if as_iterator else range(30),
        depends=[tmp_path / "told.txt"],
        initializer=prepare,
        initargs=["ready"],
        finalizer=lambda: userland.appends(ends, os.getpid()),
        retries_on_loss=5,
    )
    assert next(results)[:2] == ("ready", "told")
    end(cluster.workers)
    with pytest.warns(RuntimeWarning, match="all workers are gone") as caught:
        found = [each for each in outcomes(results) if type(each) is tuple]
    assert caught[0].filename == __file__
    assert {each[:2] for each in found} == {("ready", "told")}
    assert os.getpid() in {each[2] for each in found}
    assert str(os.getpid()) in ends.read_text().split()


def test_an_initializer_that_fails_here_ends_the_map(own_cluster, no_grace):
    home = os.getpid()

    def fails_at_home():
        if os.getpid() == home:
            raise OSError("no device")

    cluster = own_cluster(1)
    results = seppo.map_parallel(time.sleep, [0.05] * 100, initializer=fails_at_home)
    assert next(results) is None
    end(cluster.workers)
    with pytest.warns(RuntimeWarning), pytest.raises(seppo.SetupError, match="no device"):
        outcomes(results)
    assert list(results) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("as_iterator", [False, True])
def test_the_rest_is_run_here_but_nothing_that_may_have_killed_a_worker(
    own_cluster, no_grace, as_iterator, number
):
    cluster = own_cluster(2)
    items = [0.02] * 100
    results = seppo.map_parallel(userland.pid_after, iter(items) if as_iterator else items)
    found = [next(results) for _ in range(5)]
    end(cluster.workers, number)
    with pytest.warns(RuntimeWarning, match="all workers are gone") as caught:
        found += outcomes(results)
    assert len(caught) == 1
    assert len(found) == 100
    lost = [i for i, each in enumerate(found) if isinstance(each, seppo.WorkerLostError)]
    assert all(found[i].index == i for i in lost)
    assert all(found[i].item == "0.02" for i in lost)
    assert os.getpid() in found
    assert len(lost) < 40
    assert bool(lost) == (number == signal.SIGKILL)  # who drains finishes what runs


def test_exceptions_of_items_that_run_here_are_in_their_places(own_cluster, no_grace):
    cluster = own_cluster(1)
    results = seppo.map_parallel(
        lambda x: time.sleep(0.05) or 1 // (x % 10), range(60), retries=seppo.Retry(1, backoff=0)
    )
    end(cluster.workers)
    places = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.warns(RuntimeWarning))
        for place in range(60):
            try:
                next(results)
            except ZeroDivisionError:
                places.append(place)
            except seppo.WorkerLostError:
                continue
    assert set(places) >= {30, 40, 50}
    assert list(results) == []


def test_the_time_limit_holds_for_what_runs_here(own_cluster, no_grace):
    cluster = own_cluster(1)
    results = seppo.map_parallel(userland.pid_after, [0.2] * 100, timeout=6.0)
    end(cluster.workers)
    with pytest.warns(RuntimeWarning), pytest.raises(seppo.MapTimeoutError):
        outcomes(results)
    assert list(results) == []


def test_without_any_grace_workers_that_are_joining_are_waited_for(cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import seppo\n"
        "print(list(seppo.map_parallel(abs, [-1, -2], fallback='error')))\n"
        "print(list(seppo.Executor().map(abs, [-3])))\n"
    )
    shared, cluster.extra = cluster.extra, {**cluster.extra, "SEPPO_GRACE": "0"}
    try:
        assert cluster.run(script).stdout == "[1, 2]\n[3]\n"
    finally:
        cluster.extra = shared


# --- what makes no sense


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("retries", -1, ValueError),
        ("retries", "3", TypeError),
        ("retries_on_loss", -1, ValueError),
        ("retries_on_loss", 0.5, TypeError),
        ("timeout", 0, ValueError),
        ("timeout", "soon", TypeError),
        ("timeout", float("nan"), ValueError),
        ("task_timeout", -2.0, ValueError),
    ],
)
def test_options_are_checked_before_anything_is_sent(option, value, error):
    for function in (seppo.map_parallel, seppo.map_parallel_serial):
        with pytest.raises(error, match=option):
            function(abs, [1], **{option: value})


def test_the_executor_checks_its_options():
    with pytest.raises(ValueError, match="task_timeout"):
        seppo.Executor(task_timeout=0)
    with pytest.raises(TypeError, match="retries_on_loss"):
        seppo.Executor(retries_on_loss="2")


# --- bounds on bytes


def meets_its_neighbour(folder, index, load):
    """Return whether the items of a pair run at the same time, within 20 seconds."""
    (folder / str(index)).touch()
    deadline = time.monotonic() + 20.0
    while not (folder / str(index ^ 1)).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", [list, iter], ids=["sequence", "iterator"])
def test_items_heavier_than_the_bound_run_on_all_workers(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPPO_LOOKAHEAD_BYTES", "1000")
    columns = [tmp_path] * 6, range(6), kind([bytes(100_000)] * 6)
    results = seppo.map_parallel(meets_its_neighbour, *columns, chunksize=1)
    assert list(results) == [True] * 6
