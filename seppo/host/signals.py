"""The signals that drain and stop a supervisor."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_caught(terminate: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Have signals call this meanwhile, if this is the main thread, which alone hears them.

    Args:
        terminate: For SIGTERM.
        stop: For Ctrl-C and SIGHUP; the latter not under ``nohup``.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda *_: terminate())
        before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: stop())
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: stop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
