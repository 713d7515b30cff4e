"""The drivers of a process: at its end."""

import pytest

import seppo
from seppo.interfaces.drivers import driver_for
from seppo.settings import Settings


def test_without_a_thread_there_is_no_driver(cluster, no_new_threads):
    assert driver_for(Settings.load(group="nobody is here")) is None
    with pytest.raises(seppo.NoWorkersError):
        list(seppo.map_parallel(abs, [1], group="nor here", fallback="error"))


DAEMON = """
import threading, seppo
began = threading.Event()
def loop():
    for _ in seppo.map_parallel(lambda x: x, iter(int, 1)):
        began.set()
threading.Thread(target=loop, daemon=True).start()
assert began.wait(20)
"""


def test_a_daemon_thread_in_a_map_ends_without_a_word(cluster):
    done = cluster.run("-c", DAEMON)
    assert done.stderr == ""


LATER = """
import atexit, seppo
@atexit.register
def later():
    try:
        print(list(results)[-1:])
    except SystemExit as end:
        print(end)
results = seppo.map_parallel(lambda x: x, range(10_000_000))
next(results)
"""


def test_a_map_that_is_read_after_the_end_says_so(cluster):
    assert "the process is ending" in cluster.run("-c", LATER).stdout


GOES_ON = """
import threading, numpy, seppo
big = numpy.zeros(20 << 20, numpy.uint8)
def work():
    threading.main_thread().join()
    print(list(seppo.map_parallel(lambda x: x + len(big), range(3))), flush=True)
    print(sum(seppo.map_parallel(abs, range(100_000))), flush=True)
if {warm}:
    list(seppo.map_parallel(abs, range(100)))
seppo.map_parallel
threading.Thread(target=work).start()
"""


@pytest.mark.parametrize("warm", [True, False])
def test_a_thread_that_outlives_the_main_thread_may_map(cluster, warm):
    done = cluster.run("-c", GOES_ON.format(warm=warm))
    assert done.stdout.splitlines() == [
        str([(20 << 20) + x for x in range(3)]), str(sum(range(100_000)))
    ]  # fmt: skip
    assert "Traceback" not in done.stderr
