"""The functions that a worker knows, by the digest of their content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from seppo.shipping.manifest import Manifest
from seppo.values.content import Content
from seppo.values.outcome import Failure
from seppo.values.serialize import load
from seppo.wire.messages import Function
from seppo.wire.packed import Packed
from seppo.worker.pace import Pace
from seppo.worker.sharing import SharedBlock

LARGEST_CACHE = 256 << 20  # bytes of packed functions; the newest one always stays
MOST_FUNCTIONS = 128  # a big one holds two descriptors


class Known:
    """A function that was received, and is unpickled once it is needed.

    It is kept nowhere else, and once: its pickle is dropped when it has been unpickled.

    Args:
        function: The function.
        block: The shared memory that it lies in, if it is this process's.

    Attributes:
        manifest: What its bundle consists of.
        nbytes: The size of its pickle.
        pace: How its items are best run.
        problem: Why it cannot be loaded, the next time.

    Raises:
        ProtocolError: If its manifest makes no sense.
    """

    def __init__(self, function: Function, block: SharedBlock | None = None) -> None:
        self.manifest = Manifest.from_bytes(function.manifest)
        self.nbytes = function.packed.nbytes
        self.pace = Pace()
        self.problem: Failure | None = None
        self._block = block  # keeps the memory open for other workers
        self._packed: Packed | None = function.packed
        self._content: Content | None = None  # where it is more than its own pickle
        self._func: Callable[..., Any] | None = None

    @property
    def location(self) -> str:
        """Where other workers of this host can map it; empty for nowhere."""
        return self._block.location if self._block is not None else ""

    def refuse(self, problem: Failure) -> None:
        """Have it fail the next time."""
        self.problem = problem

    def take_problem(self) -> Failure | None:
        """Return why it fails this time; the next time it may do better."""
        problem = self.problem
        if problem is not None:  # else another thread may set it just now
            self.problem = None
        return problem

    def open(self) -> Content | None:
        """Unpickle what can be without its setup; return what it has besides, if anything.

        Raises:
            Exception: Whatever unpickling raises.
        """
        if self._packed is not None:
            found: Any = load(self._packed)
            if type(found) is Content:
                self._content = found
            else:
                self._func = found
            self._packed = None
        return self._content

    def load(self) -> Callable[..., Any]:
        """Return the function itself, with ``__main__`` as it is to find it; open it before.

        Raises:
            Exception: Whatever unpickling raises.
        """
        if self._content is not None:
            if self._func is None:
                self._func = self._content.load_func()
                self._content = replace(self._content, func=Packed(b""))
            else:
                self._content.enter()
        assert self._func is not None
        return self._func


class FunctionCache:
    """A cache of functions; those that were not used for longest are dropped first.

    Args:
        largest: Bytes that may be kept.
    """

    def __init__(self, largest: int = LARGEST_CACHE) -> None:
        self._largest = largest
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()  # main thread and attendants of all clients

    def add(self, function: Function, block: SharedBlock | None = None) -> Known:
        """Return a function that is known from now on, or was before.

        Args:
            function: The function.
            block: The shared memory that it lies in, if it is this process's.

        Raises:
            ProtocolError: If its manifest makes no sense.
        """
        with self._lock:
            known = self._known.get(function.digest)
            if known is None:
                known = self._known[function.digest] = Known(function, block)
                self._nbytes += known.nbytes
                while len(self._known) > 1 and (
                    self._nbytes > self._largest or len(self._known) > MOST_FUNCTIONS
                ):
                    _, oldest = self._known.popitem(last=False)
                    self._nbytes -= oldest.nbytes
            return known

    def get(self, digest: bytes) -> Known | None:
        """Return a function, or None if it is not known."""
        with self._lock:
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
            return known
