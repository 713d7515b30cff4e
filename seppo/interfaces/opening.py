"""Opening the parts of a map's results: what was delivered is unpacked, or computed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from seppo.core.commands import Deliver, LostItem, RunHere
from seppo.engines.base import Answer
from seppo.interfaces.here import RunsHere, SetUpHere, warn_once
from seppo.interfaces.lost import error_of_item
from seppo.interfaces.options import MapOptions
from seppo.interfaces.parts import LoopEnd, Mixed
from seppo.values.batch import WHOLE, unpack_all
from seppo.values.outcome import Failure
from seppo.values.source import ItemSource

R = TypeVar("R")

OpenPart = tuple[Any, Callable[[], object], bool]  # iterator, what stops it, whether it is the last


class PartOpener(Generic[R]):
    """Opens the parts of one map.

    Args:
        source: Where the items are.
        options: What the caller asked for.
        func: The function, should it have to run here.
        loop_end: Told of an item that raised ``StopIteration``.
    """

    def __init__(
        self,
        source: ItemSource,
        options: MapOptions,
        func: Callable[..., R],
        loop_end: LoopEnd,
    ) -> None:
        self._source = source
        self._options = options
        self._func = func
        self._set_up = SetUpHere(options.setup, func)
        self._loop_end = loop_end

    def open(self, part: Deliver, goes_on: Callable[[], bool]) -> OpenPart:
        """Return an iterator over a part, what stops it, and whether it is the last one.

        Args:
            part: What was delivered.
            goes_on: Asked before each item that is run here.

        Raises:
            SetupError: If items are to run here and the initializer fails.
        """
        payload = part.payload
        if isinstance(payload, LostItem):
            text = self._source.describe(part.index)
            error = error_of_item(payload, part.index, self._options.task_timeout, text)
            return self._mix([error], [0], False)
        if isinstance(payload, RunHere):
            return self._run_here(payload, part, goes_on)
        assert isinstance(payload, Answer)
        first = part.index - part.offset
        values = unpack_all(payload.batch, lambda i: f"the result of item {first + i}")
        if part.count != payload.batch.count:
            values = values[part.offset : part.offset + part.count]
        if payload.batch.kind == WHOLE:  # plain values
            return iter(values), values.clear, False
        failed = [i for i, value in enumerate(values) if type(value) is Failure]
        for i in failed:
            failure: Failure = values[i]
            values[i] = failure.to_exception(part.index + i, payload.worker)
            if failure.ends_map:  # told once; no other item would fare better
                del values[i + 1 :]
                return self._mix(values, failed[: failed.index(i) + 1], True)
        return self._mix(values, failed, False)

    def _mix(self, values: list[Any], failed: list[int], is_last: bool) -> OpenPart:
        """Return a part of values of which some are exceptions."""
        raising = {
            i
            for i in failed
            if not (self._options.return_exceptions and isinstance(values[i], Exception))
        }
        if is_last:
            raising.add(failed[-1])
        if not raising:
            return iter(values), values.clear, False
        mixed: Mixed[R] = Mixed(values, raising, self._loop_end)
        return mixed, mixed.stop, is_last

    def _run_here(self, order: RunHere, part: Deliver, goes_on: Callable[[], bool]) -> OpenPart:
        warn_once(order)
        self._set_up.begin()
        here = RunsHere(
            self._func, self._source, part.index, part.count,
            self._options.return_exceptions, goes_on, self._loop_end,
        )  # fmt: skip
        return here, here.stop, False

    def end(self) -> None:
        """After the last item: call the finalizer, if the initializer was called here."""
        self._set_up.end()
