"""What a forked child gets anew."""

import os
import subprocess
import sys

import pytest

HELD = """
import os, threading, warnings
from seppo.forks import in_children, renew_in_children
warnings.simplefilter("ignore")  # from Python 3.12 on, of a fork beside threads
lock = threading.Lock()
renew_in_children(globals(), "lock", threading.Lock)
in_children(lambda: print("in the child", flush=True))
held, over = threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        over.wait()
threading.Thread(target=hold).start()
held.wait()
if (pid := os.fork()) == 0:
    os._exit(7 if lock.acquire(timeout=10) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), lock.locked())
over.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_that_another_thread_holds_at_a_fork_is_free_in_the_child():
    done = subprocess.run(
        [sys.executable, "-c", HELD], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["in the child", "7 True"]
