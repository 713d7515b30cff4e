"""Threads that connect and look around, while the driver goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)


def start_thread(name: str, target: Callable[..., Any], *args: Any) -> bool:
    """Start a thread that does not keep the process; return whether it has started.

    It may not: from Python 3.12 on, no thread starts once the main thread has ended, while
    others may still use what is connected; and the system may have none to give.
    """
    try:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()
    except RuntimeError as error:
        log.info("no thread %s: %s", name, error)
        return False
    return True
