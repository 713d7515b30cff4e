"""Detection of frozen processes, as opposed to busy ones, from ``/proc`` (Linux).

A worker in C code that holds the interpreter may answer nothing for minutes, and is healthy.
A stopped process, or one that waits for memory to be swapped in, uses no processor time.
"""

from __future__ import annotations

import time


class Pulse:
    """Looks at a process from time to time.

    Args:
        still: Seconds without any use of the processor that count as frozen.
    """

    def __init__(self, still: float = 10.0) -> None:
        self._still = still
        self._seen: tuple[int, int] | None = None  # process, and ticks of the processor it used
        self._since = 0.0  # when that was seen for the first time

    def is_frozen(self, pid: int) -> bool:
        """Return whether a process is stopped, or has not run for long, as far as was looked.

        Where nobody can tell, it is.
        """
        fields = _status(pid)
        if fields is None:
            return True
        seen, now = (pid, int(fields[11]) + int(fields[12])), time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return fields[0] in "Tt" or now - self._since >= self._still


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal, as far as anybody can tell."""
    fields = _status(pid)
    return fields is not None and fields[0] in "Tt"


def _status(pid: int) -> list[str] | None:
    """Return the fields of a process's state, from the third on; None if nobody can tell."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None
