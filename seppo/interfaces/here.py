"""Items that the caller's own process runs, because no worker is left for them."""

from __future__ import annotations

import operator
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from seppo.core.commands import RunHere
from seppo.payload.outcome import Failure
from seppo.payload.source import ItemSource

R = TypeVar("R")


class Deadline:
    """When a map must be done.

    Args:
        timeout: Seconds from now; None for never.
    """

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._at = None if timeout is None else time.monotonic() + timeout

    @property
    def has_passed(self) -> bool:
        """Whether the time is up."""
        return self._at is not None and time.monotonic() >= self._at


class RunsHere(Iterator[R]):
    """The results of consecutive items, each computed when it is wanted.

    Args:
        func: The function.
        source: Where the items are; each is forgotten when it was run.
        start: The first item.
        count: How many.
        return_exceptions: Hand out exceptions as values.
        check: Called before each item; raises if there is to be no further one.
        end_loop: Called when an item raises ``StopIteration``, which ends a loop.
    """

    def __init__(
        self,
        func: Callable[..., R],
        source: ItemSource,
        start: int,
        count: int,
        return_exceptions: bool,
        check: Callable[[], None],
        end_loop: Callable[[], None],
    ) -> None:
        self._func = func
        self._source = source
        self._return_exceptions = return_exceptions
        self._check = check
        self._end_loop = end_loop
        self._indexes = iter(range(start, start + count))

    def __length_hint__(self) -> int:
        return operator.length_hint(self._indexes)

    def __next__(self) -> R:
        self._check()
        for index in self._indexes:  # no call in between: several threads may come here
            try:
                return self._run(index)
            except StopIteration:
                self._end_loop()
                raise
            except Exception as error:
                if not self._return_exceptions:
                    raise
                return error  # type: ignore[return-value]
            finally:
                self._source.drop(index, index + 1)
        raise StopIteration

    def _run(self, index: int) -> R:
        args = self._source.arguments(index)
        for arg in args:
            if type(arg) is Failure:
                raise arg.to_exception(index, "none: it was to run in this process")
        return self._func(*args)


_warned: set[tuple[str, ...]] = set()
_lock = threading.Lock()


def warn_once(order: RunHere) -> None:
    """Warn that the rest of a map is run here; once for the same losses."""
    with _lock:
        if order.losses in _warned:
            return
        _warned.add(order.losses)
    lost = "; ".join(order.losses) or "none was ever there"
    warnings.warn(
        f"all workers are gone ({lost}): seppo runs the rest of this map in this process; "
        "with fallback='error' it raises NoWorkersError instead",
        RuntimeWarning,
        stacklevel=2,
    )
