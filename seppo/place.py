"""Where this code runs: in a client, in a worker, or in a process that a worker started.

A map inside a worker runs serially, since workers that wait for each other would wait for
ever. Processes that an item starts are told by an environment variable.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
import socket
import sys
import threading

INSIDE = "SEPPO_INSIDE_WORKER"  # environment variable; its value is the worker's group

_worker: str | None = None  # the name of the worker that this process is
_thread = threading.local()


def enter_worker(name: str, group: str) -> None:
    """Say that this process is a worker, to itself and to those that it will start."""
    global _worker
    _worker = name
    os.environ[INSIDE] = group


def enter_worker_thread(name: str) -> None:
    """Say that this thread is a worker."""
    _thread.name = name


def is_worker_process() -> bool:
    """Whether this process is a worker."""
    return _worker is not None


def current_worker() -> str | None:
    """Return the name of the worker that this code runs on, or None."""
    return getattr(_thread, "name", None) or _worker


def is_nested(group: str | None) -> bool:
    """Whether a map over ``group`` would have workers wait for workers of the same group.

    Args:
        group: The group asked for, None for whichever is the default.
    """
    outer = os.environ.get(INSIDE)
    if current_worker() is None and outer is None:
        return False
    return group is None or outer in (None, group)


def who_is_this() -> str:
    """Return who this process is, for people: user, machine, process and script."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):  # a user without an entry, as in many a container
        user = str(os.getuid())
    script = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    text = f"{user}@{socket.gethostname()}:{os.getpid()} {script}"
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def caller_facts() -> dict[str, str]:
    """Return where this process runs, for workers: its machine and working folder."""
    try:
        cwd = os.getcwd()
    except OSError:  # it was removed
        cwd = ""
    return {"domain": machine_domain(), "cwd": cwd}


def machine_domain() -> str:
    """Return a text that is equal for processes with the same files at the same paths.

    These run on one machine, for one user, and see the same mounts. Empty where nobody can
    tell.
    """
    try:
        return f"{namespace_of('mnt')}/{os.geteuid()}"
    except OSError:
        return ""


def loopback_domain() -> str:
    """Return a text that is equal for processes on one loopback interface, and nowhere else."""
    try:
        return namespace_of("net")
    except OSError:  # not Linux, where there is one loopback interface for each machine
        return socket.gethostname()


def user_domain() -> str:
    """Return a text that is equal for processes of one user on one machine, and nowhere else.

    They see the same files and are in the same network. It is a hash: others may read it.
    """
    return _user_domain(os.geteuid())


@functools.cache
def _user_domain(user: int) -> str:
    text = f"{user} {machine_domain()} {loopback_domain()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def namespace_of(kind: str) -> str:
    """Return a text that is equal for processes of one kernel that share a namespace.

    Args:
        kind: What they share: "mnt" (mounts), "net" (network interfaces), "pid" (processes).

    Raises:
        OSError: Where nobody can tell, as on systems other than Linux.
    """
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    return f"{boot}/{os.readlink(f'/proc/self/ns/{kind}')}"


def level_of_caller() -> int:
    """Return the ``stacklevel`` for a warning that is to point at the caller's own line."""
    level = 2
    while True:
        try:
            frame = sys._getframe(level)
        except ValueError:
            return 2
        if not str(frame.f_globals.get("__name__", "")).startswith("seppo."):
            return level
        level += 1
