"""The functions that a worker knows, by the digest of their content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from seppo.shipping.manifest import Manifest
from seppo.values.content import Content
from seppo.values.outcome import Failure
from seppo.wire.messages import Function
from seppo.worker.pace import Pace
from seppo.worker.sharing import SharedBlock

LARGEST_CACHE = 256 << 20  # bytes of packed functions; the newest one always stays
MOST_FUNCTIONS = 128  # a big one holds two descriptors


@dataclass
class Known:
    """A function that was received, and loaded once it was needed."""

    packed: Function
    block: SharedBlock | None = None  # keeps the memory open for other workers
    pace: Pace = field(default_factory=Pace)
    is_open: bool = False  # whether it was unpickled as far as that goes without its setup
    content: Content | None = None  # where it is more than its own pickle
    func: Callable[..., Any] | None = None
    manifest: Manifest | None = None  # of its bundle, once it was read
    problem: Failure | None = None  # why it cannot be loaded, the next time


class FunctionCache:
    """Least recently used functions leave first.

    Args:
        largest: Bytes that may be kept.
    """

    def __init__(self, largest: int = LARGEST_CACHE) -> None:
        self._largest = largest
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()  # main thread and attendants of all clients

    def add(self, packed: Function, block: SharedBlock | None = None) -> str:
        """Know a function from now on; return where others can map it, or an empty text.

        Args:
            packed: The function.
            block: The shared memory that it lies in, if it is this process's.
        """
        with self._lock:
            known = self._known.get(packed.digest)
            if known is None:
                known = self._known[packed.digest] = Known(packed, block)
                self._nbytes += packed.packed.nbytes
                while len(self._known) > 1 and (
                    self._nbytes > self._largest or len(self._known) > MOST_FUNCTIONS
                ):
                    _, oldest = self._known.popitem(last=False)
                    self._nbytes -= oldest.packed.packed.nbytes
            return known.block.location if known.block is not None else ""

    def get(self, digest: bytes) -> Known | None:
        """Return a function, or None if it is not known."""
        with self._lock:
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
            return known
