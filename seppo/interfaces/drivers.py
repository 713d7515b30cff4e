"""The drivers of this process: one for each group that was used, kept for the next map.

A driver keeps its connections, so that the next map finds them. At the end of the process all
are stopped. A process forked from this one has none, and starts its own.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable

from seppo.driver import Driver
from seppo.engines.table import engine_for
from seppo.forks import in_children, renew_in_children
from seppo.settings import Settings

_drivers: dict[Settings, Driver] = {}
_lock = threading.Lock()
renew_in_children(globals(), "_lock", threading.Lock)
_process_ends = False  # then a new thread might never begin to run


def driver_for(settings: Settings) -> Driver | None:
    """Return the driver for the workers that the settings name; None if there are none.

    Raises:
        NameServerError: If no worker is known yet and the name server cannot be asked.
        ProtocolError: If there are workers, but none that can work for us.
        SecurityError: If there are workers, but none can prove that it has our key.
    """
    if _process_ends or sys.is_finalizing():
        return None
    with _lock:
        driver = _drivers.get(settings)
        if driver is None or driver.broken is not None:
            engine = engine_for(settings)
            try:
                driver = Driver(engine, settings.grace)
            except RuntimeError:  # no thread starts any more: the main thread has ended
                engine.abandon()
                return None
            _drivers[settings] = driver
    return driver if driver.engine.find() else None


def _stop_drivers() -> None:
    global _process_ends
    _process_ends = True
    with _lock:
        drivers = list(_drivers.values())
        _drivers.clear()
    for driver in drivers:
        driver.stop()


def _forget_drivers() -> None:
    """In a forked child: threads are gone, sockets are the parent's."""
    for driver in _drivers.values():
        driver.engine.abandon()
    _drivers.clear()


def finish_first(finish: Callable[[], object]) -> None:
    """Have ``finish`` called at the end of the process, before the drivers are stopped."""
    atexit.register(finish)  # what is registered later is called earlier


atexit.register(_stop_drivers)
in_children(_forget_drivers)
