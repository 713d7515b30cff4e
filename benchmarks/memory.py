"""Memory of this process, from the kernel's own books (Linux; elsewhere None)."""

from __future__ import annotations

import ctypes
import gc

MB = 1e6


def baseline() -> int | None:
    """Give back what is free, reset the peak, and return the resident bytes now."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # not glibc
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # resets VmHWM, see proc(5)
    except OSError:
        return None
    return _status("VmRSS")


def peak_above(base: int | None) -> float | None:
    """Return how far the resident memory rose above the baseline since, in MB."""
    top = _status("VmHWM")
    if base is None or top is None:
        return None
    return max(0, top - base) / MB


def _status(field: str) -> int | None:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
