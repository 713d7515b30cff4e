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
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return True
        seen, self._seen = self._seen, (pid, int(fields[11]) + int(fields[12]))
        return fields[0] in "Tt" or seen == self._seen
