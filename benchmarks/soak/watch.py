"""How much of everything processes hold, from the kernel's own books (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holdings:
    """What one process holds.

    Attributes:
        megabytes: Resident memory that is its own, in MB.
        threads: Threads.
        descriptors: Open files and sockets.
    """

    megabytes: float
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Holdings:
        """Return what a process holds now.

        Raises:
            OSError: If it is gone.
        """
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return cls(
            int(fields["RssAnon"].split()[0]) / 1e3,
            int(fields["Threads"]),
            len(os.listdir(f"/proc/{pid}/fd")),
        )

    def growth_since(self, before: Holdings, usual: float = 0.0) -> list[str]:
        """Return what has grown beyond what may be left to chance.

        Args:
            before: What was held before.
            usual: Memory in MB that is no growth, whenever it was taken.
        """
        grown = []
        if self.megabytes > max(usual, 1.5 * before.megabytes + 20):
            grown.append(f"memory from {before.megabytes:.0f} to {self.megabytes:.0f} MB")
        if self.threads > before.threads + 10:
            grown.append(f"threads from {before.threads} to {self.threads}")
        if self.descriptors > before.descriptors + 20:
            grown.append(f"descriptors from {before.descriptors} to {self.descriptors}")
        return grown


def shared_memory() -> int:
    """Return how many files there are in shared memory."""
    return len(os.listdir("/dev/shm"))
