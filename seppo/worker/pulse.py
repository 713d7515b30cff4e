"""Whether a process is frozen, or merely busy and silent, as the kernel's books tell (Linux).

C code that holds the interpreter lets a worker answer nothing for minutes, and it is all
right. A stopped process, or one that waits for memory to be swapped in, uses no processor.
"""

from __future__ import annotations


class Pulse:
    """Looks at a process from time to time."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None  # process, and ticks of the processor it used

    def is_frozen(self, pid: int) -> bool:
        """Return whether a process is stopped, or has not run since the last look at it.

        Where nobody can tell, it is.
        """
        fields = _status(pid)
        if fields is None:
            return True
        seen, self._seen = self._seen, (pid, int(fields[11]) + int(fields[12]))
        return fields[0] in "Tt" or seen == self._seen


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
