"""Bookkeeping of functions: which jobs use them, which workers have or await them.

Each worker is sent a function once, and a big one travels once to all of a host.

    client                  worker a                        worker b (same host)
    ------                  --------                        --------
    Function -------------> receives into shared memory
    Chunk ----------------> runs
    Chunk ------------------------------------------------> keeps it, NeedFunction
           <------ Stored
    FunctionAt -------------------------------------------> maps the memory, runs

``FunctionAt`` is only ever the answer to a ``NeedFunction``. A second question of the same
worker (it could not map, or has forgotten) is answered with the function itself. When the
first one is lost, or frozen, the next worker that asked gets the function itself.

A function is kept as long as a job uses it. Of functions that no job uses, only the names of
those who have them are kept, and not for ever: a worker that lacks one asks. Decides only:
it returns messages, which its caller sends; the time arrives as ``now``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from seppo.values.function import PackedFunction
from seppo.wire.messages import File, FunctionAt, Message, NeedFiles
from seppo.wire.packed import SHARED_FROM

log = logging.getLogger(__name__)

REMEMBERED = 128  # functions that no job uses; a worker keeps no more of them either
PATIENCE = 2.0  # seconds without progress after which a receiver that others wait for is frozen

Letters = list[tuple[str, Message]]  # worker, message


@dataclass
class _Share:
    """A big function on one host."""

    owner: str  # who received it, or is to receive it
    location: str | None = None  # where others can map it, once it is there
    asking: list[str] = field(default_factory=list)  # workers that wait for the location
    due: float = 0.0  # when to look at the owner, while others wait
    unsent: int = -1  # bytes that were not sent to the owner when it was looked at


@dataclass
class _Entry:
    """A function."""

    loans: dict[int, PackedFunction] = field(default_factory=dict)  # by job under way
    holders: set[str] = field(default_factory=set)  # workers that were given it
    shares: dict[str, _Share] = field(default_factory=dict)  # by host

    @property
    def function(self) -> PackedFunction | None:
        """The function itself, of a job under way; that of another may have changed inside."""
        return next(iter(self.loans.values()), None)


class Courier:
    """Keeps track of the functions of active jobs, and of which worker has which."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # least recently used first
        self._awaited: dict[tuple[bytes, str], _Share] = {}  # those that workers wait for

    # --- functions on their way

    def before_chunk(
        self, peer: str, sharing: str | None, job: int, function: PackedFunction
    ) -> list[Message]:
        """Return what to send to a worker before a chunk of a job.

        Args:
            peer: The worker.
            sharing: Workers of the same name can map each other's memory; None if none can.
            job: The job; it may come with one function after the other: a bundle grows.
            function: Its function.
        """
        entry = self._entries.get(function.digest)
        if entry is None:
            entry = self._entries[function.digest] = _Entry()
        self._entries.move_to_end(function.digest)
        entry.loans.setdefault(job, function)
        if peer in entry.holders or sharing in entry.shares:  # it has it, or will ask
            return []
        return [message for _, message in self._give(entry, peer, sharing)]

    def _give(self, entry: _Entry, peer: str, sharing: str | None) -> Letters:
        """Send a worker the function itself; it becomes the owner of its host's share."""
        function = entry.function
        if function is None:
            return []  # its job is over
        entry.holders.add(peer)
        is_big = function.packed.nbytes >= SHARED_FROM
        if is_big and sharing is not None and sharing not in entry.shares:
            entry.shares[sharing] = _Share(peer)
        return [(peer, function.message)]

    def needed(self, peer: str, sharing: str | None, digest: bytes, now: float) -> Letters:
        """Return what to send when a worker says that it needs a function."""
        entry = self._entries.get(digest)
        if entry is None or entry.function is None:
            return []  # its job is over
        share = entry.shares.get(sharing or "")
        if share is None or peer in entry.holders:
            return self._give(entry, peer, sharing)
        if share.location is not None:
            entry.holders.add(peer)
            return [(peer, FunctionAt(digest, share.location))]
        if not share.asking:
            share.due, share.unsent = now + PATIENCE, -1
            self._awaited[digest, sharing or ""] = share
        if peer not in share.asking:
            share.asking.append(peer)
        return []

    def stored(self, peer: str, sharing: str | None, digest: bytes, location: str) -> Letters:
        """Return what to send when a worker has stored a big function."""
        key = (digest, sharing or "")
        entry = self._entries.get(digest)
        share = entry.shares.get(key[1]) if entry is not None else None
        if entry is None or share is None or share.location is not None:
            return []
        if location and peer in entry.holders:  # or an earlier owner that was only slow
            share.owner, share.location = peer, location
        elif share.owner == peer:  # it could not be stored where others can map it
            del entry.shares[key[1]]
        else:
            return []
        self._awaited.pop(key, None)
        function, asking = entry.function, share.asking
        share.asking = []
        if function is None:
            return []
        entry.holders.update(asking)
        message = FunctionAt(digest, location) if location else function.message
        return [(name, message) for name in asking]

    # --- owners that are frozen or lost

    def next_deadline(self) -> float:
        """Return when ``overdue`` may have something to do; infinity for never."""
        return min((share.due for share in self._awaited.values()), default=float("inf"))

    def overdue(self, now: float, unsent: Callable[[str], int]) -> Letters:
        """Return what to send where a function's receiver keeps others waiting.

        Args:
            now: The time.
            unsent: Tells how many bytes wait to be sent to a worker. While they become
                fewer, it is the link that is slow: nothing is won by sending more.
        """
        letters: Letters = []
        for key, share in [item for item in self._awaited.items() if item[1].due <= now]:
            left = unsent(share.owner)
            if left and left != share.unsent:
                share.due, share.unsent = now + PATIENCE, left
            else:
                letters += self._pass_on(key, now)
        return letters

    def _pass_on(self, key: tuple[bytes, str], now: float) -> Letters:
        """Have the next worker that asks own a share; without one, forget the share."""
        entry = self._entries[key[0]]
        share = entry.shares.pop(key[1])
        self._awaited.pop(key, None)
        if not share.asking:
            return []
        owner, *asking = share.asking
        letters = self._give(entry, owner, key[1])
        if asking:
            share = entry.shares[key[1]]
            share.asking, share.due = asking, now + PATIENCE
            self._awaited[key] = share
        return letters

    def peer_lost(self, peer: str, now: float) -> Letters:
        """Forget a worker; return what to send where another one takes its place."""
        letters: Letters = []
        for digest, entry in self._entries.items():
            entry.holders.discard(peer)
            for sharing, share in list(entry.shares.items()):
                if peer in share.asking:
                    share.asking.remove(peer)
                    if not share.asking:
                        del self._awaited[digest, sharing]
                if share.owner == peer:
                    letters += self._pass_on((digest, sharing), now)
        return letters

    # --- jobs

    def digests_of(self, job: int) -> set[bytes]:
        """Return the functions that a job has used."""
        return {digest for digest, entry in self._entries.items() if job in entry.loans}

    def job_over(self, job: int) -> None:
        """Forget a job's functions."""
        for digest in self.digests_of(job):
            entry = self._entries[digest]
            del entry.loans[job]
            if not entry.loans:  # what waited for it was cancelled
                for sharing, share in entry.shares.items():
                    share.asking = []
                    self._awaited.pop((digest, sharing), None)
        self._forget_some()

    def _forget_some(self) -> None:
        unused = [digest for digest, entry in self._entries.items() if not entry.loans]
        for digest in unused[: max(0, len(unused) - REMEMBERED)]:
            del self._entries[digest]

    # --- bundles

    def files(self, request: NeedFiles) -> list[Message]:
        """Return the files that a worker asks for, or why there are none."""
        entry = self._entries.get(request.digest)
        function = entry.function if entry is not None else None
        if function is None:
            return []  # its job is over
        messages: list[Message] = []
        for digest in request.files:
            try:
                content = function.bundle.read(digest.hex())
            except (OSError, KeyError) as error:
                log.info("a file of a bundle cannot be read", exc_info=True)
                messages.append(File(digest, b"", f"the caller cannot read it: {error}"))
            else:
                messages.append(File(digest, content))
        return messages

    def differs(self, peer: str, digest: bytes, versions: dict[str, str]) -> None:
        """Take note of what is different on a worker."""
        entry = self._entries.get(digest)
        function = entry.function if entry is not None else None
        if function is not None:
            function.bundle.differences.append((peer, versions))
