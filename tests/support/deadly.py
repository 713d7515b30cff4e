"""Items and functions that end their worker's process, at every place where user code runs.

Each does so on a worker only: the client that makes and packs them lives.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

# The ways to die, and what the supervisor says of them.
WAYS = {
    "kill": "SIGKILL",
    "segfault": "SIGSEGV",
    "exit": "exit code 3",
    "abort": "SIGABRT",
}
if sys.platform == "linux":  # elsewhere the parent is the supervisor
    WAYS["parent"] = "SIGKILL"
STAGES = ["unpickling", "running", "pickling", "garbage", "destructor"]


def die(way: str) -> Any:
    """End this process, if it is a worker."""
    from seppo.place import is_worker_process

    if not is_worker_process():
        return None
    if way == "exit":
        os._exit(3)
    numbers = {"segfault": signal.SIGSEGV, "abort": signal.SIGABRT}
    number = numbers.get(way, signal.SIGKILL)
    os.kill(os.getppid() if way == "parent" else os.getpid(), number)
    time.sleep(60)  # it may take a moment; nothing may come after
    return None


class AtUnpickling:
    """Ends the process that unpacks it."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __reduce__(self) -> Any:
        return die, (self.way,)


class AtPickling:
    """Ends the process that packs it."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __reduce__(self) -> Any:
        die(self.way)
        return str, ()


class AtEnd:
    """Ends the process when it is dropped, or, in a cycle, when that is collected."""

    def __init__(self, way: str, in_cycle: bool = False) -> None:
        self.way = way
        self.me = self if in_cycle else None

    def __del__(self) -> None:
        die(self.way)


def item(x: int, guilty: int, way: str, stage: str) -> Any:
    """Return item ``x``, which is a deadly one if it is the guilty one."""
    if x != guilty:
        return (x, "")
    if stage == "unpickling":
        return AtUnpickling(way)
    if stage == "destructor":
        return AtEnd(way)
    return (x, f"{way} {stage}")


def visit(given: Any) -> Any:
    """Return the item's number, unless it is deadly."""
    if not isinstance(given, tuple):
        return None
    x, what = given
    if what:
        way, stage = what.split()
        if stage == "running":
            die(way)
        if stage == "pickling":
            return AtPickling(way)
        AtEnd(way, in_cycle=True)
    return x
