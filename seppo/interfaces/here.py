"""Items that run in the caller's own process, because no worker is left for them."""

from __future__ import annotations

import logging
import operator
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from seppo.core.commands import RunHere
from seppo.interfaces.parts import LoopEnd
from seppo.place import level_of_caller
from seppo.shipping.data import provide_here
from seppo.values.outcome import Failure
from seppo.values.setup import Setup, Surroundings
from seppo.values.source import ItemSource

log = logging.getLogger(__name__)

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


class SetUpHere:
    """The setup that a map's options ask for, in this process.

    Args:
        setup: What they say; None for nothing.
        func: The function.
    """

    def __init__(self, setup: Setup | None, func: Callable[..., Any]) -> None:
        self._setup = setup
        self._func = func
        self._begun: Surroundings | None = None
        self._outer: dict[str, str | None] = {}  # the environment as it was

    def begin(self) -> None:
        """Before the first item: set up the surroundings, and call the initializer.

        Raises:
            SetupError: If that fails.
        """
        if self._setup is None or self._begun is not None:
            return
        provide_here(self._setup.depends.paths)
        for name, value in self._setup.env.items():
            self._outer.setdefault(name, os.environ.get(name))
            os.environ[name] = value
        around = self._setup.surroundings()
        around.provide(self._func)
        around.begin("of this process")
        self._begun = around

    def end(self) -> None:
        """After the last item: call the finalizer, if the initializer was called."""
        self._setup, begun, self._begun = None, self._begun, None
        self._finalize(begun)
        while self._outer:
            name, value = self._outer.popitem()
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _finalize(self, begun: Surroundings | None) -> None:
        if begun is None or begun.finalizer is None:
            return
        try:
            begun.finalizer()
        except KeyboardInterrupt:
            raise
        except BaseException:  # user code; the results are there, as on a worker
            log.warning("a finalizer has failed in this process", exc_info=True)


class RunsHere(Iterator[R]):
    """The results of consecutive items, each computed when it is wanted.

    Args:
        func: The function.
        source: Where the items are; each is forgotten when it was run.
        start: The first item.
        count: How many.
        return_exceptions: Hand out exceptions as values.
        check: Called before each item; returns whether it is to be run.
        loop_end: Told of an item that raised ``StopIteration``.
    """

    def __init__(
        self,
        func: Callable[..., R],
        source: ItemSource,
        start: int,
        count: int,
        return_exceptions: bool,
        check: Callable[[], bool],
        loop_end: LoopEnd,
    ) -> None:
        self._func = func
        self._source = source
        self._start = self._next = start  # the next one to be fetched
        self._stop = start + count
        self._return_exceptions = return_exceptions
        self._check = check
        self._loop_end = loop_end
        self._lock = threading.RLock()  # between threads that fetch items
        self._fetched: Iterator[tuple[list[Any], BaseException | None]] = iter(())

    def __length_hint__(self) -> int:
        return max(0, self._stop - self._next) + operator.length_hint(self._fetched)

    def __next__(self) -> R:
        while not self._loop_end.is_due:
            if not self._check():
                self.stop()
            with self._lock:
                if operator.length_hint(self._fetched) == 0:
                    self._fetch()
            # Ctrl-C comes before an item is taken, or in the function, as with map().
            for args, problem in self._fetched:
                try:
                    if problem is not None:
                        raise problem
                    return self._func(*args)
                except Exception as error:
                    if self._return_exceptions:
                        # Results are then of func's type or exceptions, which R cannot say.
                        return error  # type: ignore[return-value]
                    if isinstance(error, StopIteration):
                        self._loop_end.is_due = True
                    raise
        raise StopIteration

    def stop(self) -> None:
        """Run no further item."""
        self._stop, self._fetched = 0, iter(())

    def _fetch(self) -> None:
        self._source.drop(self._start, self._next)
        if self._next >= self._stop:
            raise StopIteration
        item = self._arguments(self._next)
        self._fetched, self._next = iter([item]), self._next + 1

    def _arguments(self, index: int) -> tuple[list[Any], BaseException | None]:
        """Return the arguments of an item, and what is to be raised in its place, if so."""
        args = self._source.arguments(index)
        for arg in args:
            if type(arg) is Failure:
                return [], arg.to_exception(index, "none: it would have run in this process")
        return args, None


_warned: set[tuple[str, ...]] = set()
_lock = threading.Lock()


def warn_once(order: RunHere) -> None:
    """Warn that the rest of a map is run here; once for the same losses."""
    with _lock:
        if order.losses in _warned:
            return
        _warned.add(order.losses)
    lost = "; ".join(order.losses) or "none has ever joined"
    warnings.warn(
        f"all workers are gone ({lost}): seppo runs the rest of this map in this process; "
        "with fallback='error' it raises NoWorkersError instead",
        RuntimeWarning,
        stacklevel=level_of_caller(),
    )
