"""How functions reach workers: each one once, and a big one once for all of a host.

    client                  worker a                        worker b (same host)
    ------                  --------                        --------
    Function -------------> receives into shared memory
    Chunk ----------------> runs
    Chunk ------------------------------------------------> keeps it, NeedFunction
           <------ Stored
    FunctionAt -------------------------------------------> maps the memory, runs

``FunctionAt`` is only ever the answer to a ``NeedFunction``. A second question of the same
worker (it could not map, or has forgotten) is answered with the function itself. Decides
only: it returns messages, and whoever calls it sends them.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from seppo.payload.function import SHARED_FROM, PackedFunction
from seppo.payload.protocol import Function, FunctionAt, Message

REMEMBERED = 256  # big functions whose whereabouts are remembered

Letters = list[tuple[str, Message]]  # worker, message


@dataclass
class _Share:
    """A big function on one host."""

    function: PackedFunction | None  # kept until it is stored
    owner: str | None
    location: str | None = None
    asking: list[str] = field(default_factory=list)  # workers that wait for the location
    told: set[str] = field(default_factory=set)  # workers that got it


class Courier:
    """Knows which worker has been sent which function."""

    def __init__(self) -> None:
        self._sent: defaultdict[str, set[bytes]] = defaultdict(set)
        self._shares: OrderedDict[tuple[str, bytes], _Share] = OrderedDict()

    def before_chunk(
        self, peer: str, sharing: str | None, function: PackedFunction
    ) -> list[Message]:
        """Return what to send to a worker before a chunk of this function.

        Args:
            peer: The worker.
            sharing: Workers of the same name can map each other's memory; None if none can.
            function: The function.
        """
        if function.digest in self._sent[peer]:
            return []
        if sharing is not None and function.packed.nbytes >= SHARED_FROM:
            key = (sharing, function.digest)
            share = self._shares.get(key)
            if share is not None and share.owner is not None:
                return []  # it will ask
            self._shares[key] = _Share(function, peer)
            self._forget_some()
        self._sent[peer].add(function.digest)
        return [Function(function)]

    def needed(self, peer: str, sharing: str | None, function: PackedFunction) -> Letters:
        """Return what to send when a worker says that it needs a function."""
        share = self._shares.get((sharing or "", function.digest))
        if share is None or peer == share.owner or peer in share.told:
            return [(peer, Function(function))]
        if share.owner is None:
            share.owner, share.function = peer, function
            return [(peer, Function(function))]
        if share.location is None:
            if peer not in share.asking:
                share.asking.append(peer)
            return []
        share.told.add(peer)
        return [(peer, FunctionAt(function.digest, share.location))]

    def stored(self, peer: str, sharing: str | None, digest: bytes, location: str) -> Letters:
        """Return what to send when a worker has stored a big function."""
        share = self._shares.get((sharing or "", digest))
        if share is None or share.owner != peer:
            return []
        asking, share.asking = share.asking, []
        function, share.function = share.function, None
        if not location:  # it could not be stored where others can map it
            del self._shares[sharing or "", digest]
            return [(name, Function(function)) for name in asking if function is not None]
        share.location = location
        share.told.update(asking)
        return [(name, FunctionAt(digest, location)) for name in asking]

    def _forget_some(self) -> None:
        """Forget the oldest functions for which no worker waits."""
        for key in list(self._shares)[: max(0, len(self._shares) - REMEMBERED)]:
            if not self._shares[key].asking:
                del self._shares[key]

    def peer_lost(self, peer: str) -> Letters:
        """Return what to send when a worker is gone: another one takes its place."""
        self._sent.pop(peer, None)
        letters: Letters = []
        for share in self._shares.values():
            if peer in share.asking:
                share.asking.remove(peer)
            if share.owner != peer:
                continue
            share.owner = share.location = None
            if share.asking and share.function is not None:
                share.owner = share.asking.pop(0)
                letters.append((share.owner, Function(share.function)))
        return letters
