"""Which functions the jobs use on which workers, and the files of their bundles.

Decides only: it returns messages, and whoever calls it sends them.
"""

from __future__ import annotations

import logging
from collections import defaultdict

from seppo.payload.function import PackedFunction
from seppo.payload.protocol import File, Message, NeedFiles, Release

log = logging.getLogger(__name__)

Letters = list[tuple[str, Message]]  # worker, message


class Librarian:
    """Knows the functions of the jobs under way; a job's function may grow."""

    def __init__(self) -> None:
        self._functions: defaultdict[int, dict[bytes, PackedFunction]] = defaultdict(dict)
        self._users: defaultdict[tuple[str, bytes], set[int]] = defaultdict(set)

    def lend(self, peer: str, job: int, function: PackedFunction) -> None:
        """Say that a chunk of a job goes to a worker."""
        self._functions[job][function.digest] = function
        if function.manifest or function.has_setup:
            self._users[peer, function.digest].add(job)

    def function(self, digest: bytes) -> PackedFunction | None:
        """Return a function of a job under way, or None."""
        for functions in self._functions.values():
            if digest in functions:
                return functions[digest]
        return None

    def needed(self, request: NeedFiles) -> list[Message]:
        """Return the files that a worker asks for, or why there are none."""
        function = self.function(request.digest)
        if function is None:
            return []  # its job is over
        letters: list[Message] = []
        for digest in request.files:
            try:
                content = function.bundle.read(digest.hex())
            except (OSError, KeyError) as error:
                log.info("a file of a bundle cannot be read", exc_info=True)
                letters.append(File(digest, b"", f"the caller cannot read it: {error}"))
            else:
                letters.append(File(digest, content))
        return letters

    def differs(self, peer: str, digest: bytes, versions: dict[str, str]) -> None:
        """Take note of what is different on a worker."""
        function = self.function(digest)
        if function is not None:
            function.bundle.differences[peer] = versions

    def job_over(self, job: int) -> Letters:
        """Return what to tell workers when a job is over; forget its functions."""
        functions = self._functions.pop(job, {})
        letters: Letters = []
        for (peer, digest), jobs in list(self._users.items()):
            if digest in functions and job in jobs:
                jobs.discard(job)
                if not jobs:
                    del self._users[peer, digest]
                    letters.append((peer, Release(digest)))
        return letters

    def peer_lost(self, peer: str) -> None:
        """Forget a worker."""
        for key in [key for key in self._users if key[0] == peer]:
            del self._users[key]
