"""The signals that drain and stop a supervisor."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_caught(
    terminate: Callable[[], None], stop: Callable[[], None], wakeup_fd: int
) -> Iterator[None]:
    """Have signals call this meanwhile, if this is the main thread, which alone hears them.

    The kernel may give a signal to any thread, and only the one that has it is interrupted. So
    the main thread would go on waiting, were it not for the wakeup descriptor.

    Args:
        terminate: For SIGTERM.
        stop: For Ctrl-C and SIGHUP; the latter not under ``nohup``.
        wakeup_fd: Is written to when a signal has come: the main thread waits for it.
    """
    before: dict[int, Any] = {}
    fd = -1
    if threading.current_thread() is threading.main_thread():
        fd = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda *_: terminate())
        before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: stop())
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            signal.set_wakeup_fd(fd)
