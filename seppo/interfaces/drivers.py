"""The drivers of this process: one for each group that was used, kept for the next map.

A driver keeps its connections, so that the next map finds them. At the end of the process all
are stopped. A process forked from this one has none, and starts its own.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading

from seppo.driver import Driver
from seppo.engines.pyro import PyroEngine
from seppo.errors import ProtocolError, SecurityError, SeppoError
from seppo.settings import Settings

TOLD = 3  # refusals that an error tells; with a thousand workers they are all alike

_drivers: dict[Settings, tuple[Driver, PyroEngine]] = {}
_lock = threading.Lock()
_process_ends = False  # then a new thread might never begin to run


def driver_for(settings: Settings) -> Driver | None:
    """Return the driver for the workers that the settings name; None if there are none.

    Takes milliseconds, also when nobody is there; at most ``connect_timeout`` when what
    is registered does not answer, and as much for the name server itself.

    Raises:
        NameServerError: If there is no driver yet and the name server cannot be asked.
        ProtocolError: If there are workers, but none that can work for us.
        SecurityError: If there are workers, but they do not hold our key.
    """
    if _process_ends or sys.is_finalizing():
        return None
    with _lock:
        driver, engine = _drivers.get(settings, (None, None))
        if driver is None or engine is None or driver.broken is not None:
            engine = PyroEngine(settings)
            try:
                driver = Driver(engine, settings.grace)
            except RuntimeError:  # no thread starts any more: the main thread has ended
                engine.abandon()
                return None
            _drivers[settings] = driver, engine
    if engine.n_hosts == 0:
        refusals = engine.discovery.look_once()
        if engine.n_hosts == 0:
            if refusals:
                raise _refused(refusals)
            return None
    return driver


def _refused(refusals: list[SeppoError]) -> SeppoError:
    kind = SecurityError if any(isinstance(e, SecurityError) for e in refusals) else ProtocolError
    more = len(refusals) - TOLD
    told = [*map(str, refusals[:TOLD]), *([f"and {more} more"] if more > 0 else [])]
    return kind("no worker can be used: " + "; ".join(told))


def _stop_drivers() -> None:
    global _process_ends
    _process_ends = True
    with _lock:
        drivers = list(_drivers.values())
        _drivers.clear()
    for driver, _ in drivers:
        driver.stop()


def _forget_drivers() -> None:
    """In a forked child: threads are gone, sockets are the parent's."""
    global _lock
    _lock = threading.Lock()
    for _, engine in _drivers.values():
        engine.abandon()
    _drivers.clear()


atexit.register(_stop_drivers)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_drivers)
