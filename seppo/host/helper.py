"""The single-threaded process that forks workers, and reaps them.

Between the helper and each worker stands a guardian, a process that only waits for its
worker, and then ends in the same way. So no two workers have the same parent: user code
that kills or stops its parent process affects its own worker alone.

    supervisor ---- keeper ---- helper --+-- guardian ---- worker
                                         +-- guardian ---- worker

If the helper is killed all the same, its workers end, and the keeper forks another one, with
the preloaded modules. The keeper does nothing else.

A guardian leads a session and a process group of its own, to which its worker belongs, so
that what user code does to its group affects no other process. When the worker ends, the guardian
kills what is left of the group: processes that user code has started there.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import logging
import os
import resource
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from seppo.wire.config import WorkerConfig, limit_threads
from seppo.wire.stream import Waker

log = logging.getLogger(__name__)

MESSAGE = 1 << 16  # bytes; the largest message between a supervisor and its helper
PR_SET_PDEATHSIG = 1  # from linux/prctl.h
STEADY = 10.0  # seconds; a helper that lived longer is replaced in any case
LAST_WORDS = 5  # seconds that a helper gets for ending once the supervisor is gone
ROUNDS = 20  # looks for processes to kill; then there is one that forks faster
QUICK_ENDS = 5  # helpers in a row that lived for less: then there is no other

RunWorker = Callable[[socket.socket, WorkerConfig, "int | None"], None]


def run_helper(
    line: socket.socket, run_worker: RunWorker, preload: tuple[str, ...], threads: int
) -> NoReturn:
    """Have workers forked, reaped and killed until the supervisor is gone. Never returns."""
    status = 1
    try:
        helper = _Helper(line, run_worker)
        if helper.preload(preload, threads):
            helper.keep()
            status = 0
    except BaseException:  # nothing may unwind into the start script's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def other_threads() -> list[str]:
    """Return the names of the threads of Python that this process has besides its main one."""
    main = threading.main_thread()
    return [thread.name for thread in threading.enumerate() if thread is not main]


class _Helper:
    """The helper process."""

    def __init__(self, line: socket.socket, run_worker: RunWorker) -> None:
        self._supervisor = os.getppid()
        self._helper = 0  # for the keeper: its process id
        os.setsid()  # Ctrl-C in the terminal is the supervisor's business
        self._line = line
        self._run_worker = run_worker
        self._children: dict[int, int] = {}  # numbers by process id
        self._prctl = ctypes.CDLL(None).prctl
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    def preload(self, names: tuple[str, ...], threads: int) -> bool:
        """Import what all workers are to share; return whether all is there."""
        if threads and names:
            limit_threads(os.environ, threads)
        for name in names:
            try:
                importlib.import_module(name)
            except BaseException as error:  # any module may be imported
                why = f"{name!r} cannot be preloaded: {type(error).__name__}: {error}"
                self._tell({"failed": why[: MESSAGE // 8]})
                return False
        if others := other_threads():
            log.warning(
                "the preloaded modules have started threads (%s): workers do not have these, and "
                "a lock that one of them held stays locked there",
                ", ".join(others),
            )
        # What is there now is never collected: the collector's notes in the objects would
        # copy page after page into each worker.
        gc.collect()
        gc.freeze()
        return True

    def keep(self) -> None:
        """Have a helper, until the supervisor is gone or helpers end again and again."""
        keeper, quick_ends = os.getpid(), 0
        self._end_after(self._supervisor)
        while quick_ends < QUICK_ENDS:
            began = time.monotonic()
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._end_with_parent(keeper)
                os.setsid()
                self.serve()
                return
            self._helper = pid
            self._tell({"helper": pid})
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status == 0:  # the supervisor is gone
                return
            self._tell({"lost": status})
            quick_ends = quick_ends + 1 if time.monotonic() - began < STEADY else 0

    def _end_after(self, supervisor: int) -> None:
        """Be told when the supervisor ends, and kill a helper that does not end by itself then.

        One that is stopped would stay for ever, and we with it.
        """

        def end(number: int, frame: FrameType | None) -> None:
            os.kill(self._helper, signal.SIGKILL)
            os._exit(1)

        signal.signal(signal.SIGALRM, end)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_WORDS))
        self._prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:
            os.kill(os.getpid(), signal.SIGTERM)

    def serve(self) -> None:
        """Do what the supervisor asks until it is gone, then kill the workers."""
        self._waker = Waker()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.signal_fd, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ)
            selector.register(self._waker, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._waker:
                        self._waker.drain()
                        self._reap()
                    elif not self._obey():
                        self._kill_all()
                        return

    def _obey(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._line, MESSAGE, 2)
        except ConnectionResetError:
            return False  # the supervisor ended before it had read our last news
        if not data:
            return False
        request = json.loads(data)
        if "start" in request:
            self._fork(request["start"], WorkerConfig.from_json(request["config"]), fds)
        else:
            for pid, number in self._children.items():
                if number == request["kill"]:
                    _kill(pid)
            self._tell({"killed": request["kill"]})
        return True

    def _fork(self, number: int, config: WorkerConfig, fds: list[int]) -> None:
        helper = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:  # too many processes
            _say_unforked(error)
            self._tell({"ended": number, "status": 1})
        else:
            if pid == 0:
                self._be_guardian(helper, number, config, fds)
            self._children[pid] = number
        for fd in fds:
            os.close(fd)

    def _be_guardian(
        self, helper: int, number: int, config: WorkerConfig, fds: list[int]
    ) -> NoReturn:
        """Fork a worker, wait for its end, and end in the same way."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._waker.close()
            self._end_with_parent(helper)
            guardian = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._be_worker(guardian, config, *fds)
            # What user code sends to its process group is the worker's to hear.
            for one in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
                signal.signal(one, signal.SIG_IGN)
            self._tell({"started": number, "pid": pid})
            self._line.close()
            for fd in fds:
                os.close(fd)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            _kill_rest_of_group()
        except OSError as error:
            _say_unforked(error)
        finally:
            _end_as(status)

    def _end_with_parent(self, parent: int) -> None:
        """Be killed when our parent ends: the last resort against orphans.

        It works also while C code holds the interpreter.
        """
        self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def _be_worker(
        self, guardian: int, config: WorkerConfig, fd: int, mark: int | None = None
    ) -> NoReturn:
        status = 1
        try:
            self._end_with_parent(guardian)
            self._line.close()
            self._run_worker(socket.socket(fileno=fd), config, mark)
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:  # nothing may unwind into the start script's code
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._children.pop(pid, None)  # user code's orphans do not come here
            if number is not None:
                self._tell({"ended": number, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._line.send(json.dumps(message).encode())
        except OSError:
            pass  # the supervisor is gone; the next read says so

    def _kill_all(self) -> None:
        for pid in self._children:
            _kill(pid)


def _kill_rest_of_group() -> None:
    """Kill what user code has started and left behind in our process group.

    Else the children of a global process pool would stay for ever, for nobody is left to end
    them. A process that is to last has a session of its own.
    """
    group = str(os.getpgrp())
    for _ in range(ROUNDS):  # one that is just being forked may be missed the first time
        others = 0
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with suppress(OSError):
                    with open(f"/proc/{name}/stat") as file:
                        state, _, its_group = file.read().rpartition(")")[2].split()[:3]
                    if its_group == group and state not in "ZX":
                        os.kill(int(name), signal.SIGKILL)
                        others += 1
        if not others:
            return


def _say_unforked(error: OSError) -> None:
    print(f"no worker can be forked: {error}", file=sys.stderr, flush=True)  # noqa: T201


def _end_as(status: int) -> NoReturn:
    """End as a child of ours has: with its exit code, or by its signal, given as minus that."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one picture of memory is enough
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def _kill(pid: int) -> None:
    """Kill a child of ours that was not reaped yet, with its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)  # it may not lead a group yet
