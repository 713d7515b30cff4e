"""The iterator that ``map_parallel`` returns: results in the caller's thread.

Results come in parts, one for each piece of a chunk; a part is unpacked when its first
result is wanted. When the input is a sequence, nothing is needed from the caller while
the map runs, so ``for`` and ``list`` go through the values of a part at C speed: they
get ``itertools.chain`` over the parts. It and ``next()`` share the iterator over the
current part, so that a loop can be left and continued in any way.

Ctrl-C may come between any two calls. Wherever something is taken from an iterator here
and handed on, there is no call in between, and what an interruption leaves half done is
done again.
"""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem, RunHere
from seppo.driver import Broken, JobHandle, Outcome
from seppo.engines.base import Answer
from seppo.errors import InternalError, MapTimeoutError, SetupError
from seppo.interfaces.differences import tell_differences
from seppo.interfaces.here import Deadline, RunsHere, warn_once
from seppo.interfaces.inputs import Reader
from seppo.interfaces.lost import error_of_item, error_of_job
from seppo.interfaces.mailbox import Mailbox
from seppo.interfaces.options import MapOptions
from seppo.interfaces.progress import Meter
from seppo.payload.batch import WHOLE, unpack_all
from seppo.payload.outcome import Failure

R = TypeVar("R")

METER_SECONDS = 0.1  # seconds between looks at the progress while waiting


class ParallelMap(Iterator[R], Generic[R]):
    """Results of a map, lazily, in input order unless the caller asked otherwise.

    Args:
        job: The job.
        mailbox: Where the driver leaves what becomes of it.
        length: How many results there will be, None if nobody knows.
        options: What the caller asked for.
        func: The function, should it have to run here.
        deadline: When the map must be done.
        reader: Reads the input, if it is not a sequence.
        meter: Shows the progress.
        grown: Tells by how many items a list has grown since the call.
    """

    def __init__(
        self,
        job: JobHandle,
        mailbox: Mailbox,
        length: int | None,
        options: MapOptions,
        func: Callable[..., R],
        deadline: Deadline,
        reader: Reader | None,
        meter: Meter | None,
        grown: Callable[[], int] | None = None,
    ) -> None:
        self._grown = grown
        self._job = job
        self._mailbox = mailbox
        self._length = length
        self._options = options
        self._func = func
        self._deadline = deadline
        self._reader = reader
        self._meter = meter
        self._lock = threading.RLock()  # between threads that take results from one map
        self._part: Iterator[R] = iter(())
        self._dealt: Outcome | None = None  # the outcome that ``_part`` comes from
        # Whether something is to be done for each result; otherwise for each part.
        self._needs_attention = meter is not None or (reader is not None and reader.is_exact)
        self._handed_out = 0  # counted only where a reader asks for it
        self._ends_loop = False  # an item raised StopIteration, which ends a loop over map()
        self._is_closed = False
        self._is_cancelled = False
        job.is_watched = reader is not None or meter is not None
        if meter is not None:
            meter.show(0, length)

    def __len__(self) -> int:
        """Return how many results there are in all, taken or not.

        Raises:
            TypeError: If an input has no length.
        """
        if self._length is None:
            raise TypeError("this map has no length: an input has none")
        return self._length

    def __iter__(self) -> Iterator[R]:
        if not self._needs_attention:
            return itertools.chain.from_iterable(_Parts(self))
        return self

    def __next__(self) -> R:
        try:
            while True:
                if self._needs_attention:
                    with self._lock:
                        self._attend()
                # A for statement takes and returns a value without any call in between; and
                # not under the lock, whose release is a call.
                for value in self._part:
                    return value
                with self._lock:
                    if self._ends_loop or self._part.__length_hint__() == 0:  # type: ignore[attr-defined]
                        self._next_part()
        except KeyboardInterrupt as interruption:
            del self  # see _without_frames
            raise _without_frames(interruption)  # noqa: B904 (it is the same exception)
        except BaseException:
            del self
            raise

    def _attend(self) -> None:
        """Before a result goes out: take one item in for it, and show the progress.

        Where the caller has not said how far to read ahead, items are read when a part
        comes, as many as it has results.
        """
        if self._part.__length_hint__() == 0:  # type: ignore[attr-defined]
            return
        reader = self._reader
        if reader is not None and reader.is_exact:
            if reader.is_quick and reader.may_read(self._handed_out):
                reader.read_one()
            self._handed_out += 1
        if self._meter is not None:
            self._meter.show(self._job.completed, self._length)

    def _next_part(self) -> None:
        """Make ``_part`` the next part.

        Raises:
            StopIteration: If there is none, or an item raised it.
        """
        if self._ends_loop:
            self._ends_loop = False
            raise StopIteration
        if self._is_closed:
            raise StopIteration
        if not self._job.is_of_this_process:
            raise RuntimeError(
                "this iterator belongs to the process that called map_parallel, "
                "not to a fork of it: call map_parallel in the child"
            )
        outcome = self._wait()
        if self._is_closed:  # by another thread
            raise StopIteration
        match outcome:
            case Deliver():
                part = self._open(outcome)
                self._part, self._dealt = part, outcome
                self._mailbox.drop(outcome)
                self._job.take(outcome.count)
                tell_differences(self._job.source.function.bundle)
                if self._reader is not None and not self._reader.is_exact:
                    self._handed_out += outcome.count
                    if self._reader.is_quick:
                        self._reader.read_many(outcome.count, self._handed_out)
            case FinishJob():
                self._show_end()
                self.close()
                self._check_input()
                raise StopIteration
            case FailJob():
                self.close()
                raise error_of_job(outcome, self._deadline.timeout)
            case Broken(error=problem):
                self.close()
                raise problem
            case _:
                raise InternalError(f"an outcome of type {type(outcome).__name__}")

    def _check_input(self) -> None:
        """After the last result: raise what the input raised, or that it has changed."""
        if self._is_cancelled:
            return
        if self._reader is not None and self._reader.error is not None:
            raise self._reader.error
        if self._grown is not None and (missed := self._grown()):
            raise RuntimeError(
                f"the input has grown by {missed} items during the map, which were not done; "
                "pass iter(input) to have it read step by step"
            )

    def _wait(self) -> Outcome:
        """Return the first outcome that was not dealt with; read the input meanwhile."""
        reader = self._reader
        while True:
            self._mailbox.drop(self._dealt)
            outcome = self._mailbox.first()
            if outcome is not None:
                return outcome
            if reader is not None:
                if reader.may_read(self._handed_out):
                    reader.read_one()
                    continue
                self._job.awaits_room = True
                if reader.may_read(self._handed_out):
                    continue  # the driver made room before it could know
            if self._meter is not None:
                self._meter.show(self._job.completed, self._length)
            self._mailbox.wait(None if self._meter is None else METER_SECONDS)

    def _open(self, part: Deliver) -> Iterator[R]:
        if isinstance(part.payload, LostItem):
            return self._outcomes_of([self._error_of(part.payload, part.index)], (0,))
        if isinstance(part.payload, RunHere):
            return self._run_here(part.payload, part.index, part.count)
        assert isinstance(part.payload, Answer)
        batch, worker = part.payload.batch, part.payload.worker
        first = part.index - part.offset
        values = unpack_all(batch, lambda i: f"the result of item {first + i}")
        if part.count != batch.count:
            values = values[part.offset : part.offset + part.count]
        if batch.kind == WHOLE:  # plain values
            return iter(values)
        failed = [i for i, value in enumerate(values) if type(value) is Failure]
        for i in failed:
            values[i] = values[i].to_exception(part.index + i, worker)
        return self._outcomes_of(values, failed)

    def _error_of(self, lost: LostItem, index: int) -> Exception:
        source = self._job.source
        text = source.describe(index)
        source.drop(index, index + 1)
        return error_of_item(lost, index, self._options.task_timeout, text)

    def _run_here(self, order: RunHere, start: int, count: int) -> Iterator[R]:
        if self._is_cancelled:
            return iter(())
        warn_once(order)
        source, as_values = self._job.source, self._options.return_exceptions
        return RunsHere(
            self._func, source, start, count, as_values, self._check_time, self._end_loop
        )

    def _check_time(self) -> None:
        if self._deadline.has_passed and not self._is_closed:
            self.close()
            raise MapTimeoutError(self._deadline.timeout or 0.0)

    def _end_loop(self) -> None:
        self._ends_loop = True

    def _outcomes_of(self, values: list[Any], failed: Any) -> Iterator[R]:
        """Return an iterator over values of which some are exceptions to raise."""
        raising = {
            i
            for i in failed
            if not (self._options.return_exceptions and isinstance(values[i], Exception))
            or isinstance(values[i], SetupError)
        }
        if not raising:
            return iter(values)
        return _Mixed(self, values, raising)

    def _show_end(self) -> None:
        if self._meter is not None:
            self._meter.show(self._job.completed, self._length)

    def cancel(self) -> None:
        """Drop what is not done: items that run are interrupted, and the workers are free.

        Results that are here already can still be taken; after them the iteration ends.
        From any thread.
        """
        if self._is_closed or self._is_cancelled:
            return
        self._is_cancelled = True
        self._job.close()
        if self._reader is not None:
            self._reader.close()
        self._mailbox.put(FinishJob(self._job.number))  # nothing that comes later is taken

    def close(self) -> None:
        """Give the map up: workers drop what is left of it, and no more results come."""
        if self._is_closed:
            return
        self._is_closed = True
        self._job.close()
        self._part = iter(())
        self._mailbox.put(FinishJob(self._job.number))  # another thread may wait there
        if self._reader is not None:
            self._reader.close()
        if self._meter is not None:
            self._meter.close()

    def __del__(self) -> None:
        if getattr(self, "_is_closed", True) is False:
            self.close()

    def __enter__(self) -> ParallelMap[R]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Mixed(Iterator[R]):
    """Values of a part in which some items failed: raises at those, and goes on."""

    def __init__(self, owner: ParallelMap[R], values: list[Any], raising: set[int]) -> None:
        self._owner = owner
        self._values = values
        self._raising = raising
        self._ending = {i for i in raising if isinstance(values[i], StopIteration)}
        self._indexes: Iterator[int] = iter(range(len(values)))

    def __length_hint__(self) -> int:
        return operator.length_hint(self._indexes)

    def __next__(self) -> R:
        if self._owner._ends_loop:
            raise StopIteration
        for i in self._indexes:
            value: Any = self._values[i]
            self._values[i] = None
            if i not in self._raising:
                result: R = value
                return result
            self._owner._ends_loop = i in self._ending
            if isinstance(value, SetupError):  # told once; no other item would fare better
                self._owner.close()
                self._indexes = iter(())
            try:
                raise value
            finally:
                # A traceback that refers to its own frame keeps everything alive: at a
                # prompt, where the last one is kept, workers would run on.
                del value, self
        raise StopIteration


class _Parts(Iterator[Iterator[R]]):
    """The parts of a map, for ``itertools.chain``.

    ``chain`` survives an exception of a part's iterator, but not one of ours: so an
    exception that comes while waiting for a part travels inside one.
    """

    def __init__(self, owner: ParallelMap[R]) -> None:
        self._owner = owner

    def __next__(self) -> Iterator[R]:
        owner = self._owner
        if not owner._ends_loop and owner._part.__length_hint__() > 0:  # type: ignore[attr-defined]
            return owner._part  # begun in another way
        try:
            with owner._lock:
                if owner._ends_loop or owner._part.__length_hint__() == 0:  # type: ignore[attr-defined]
                    owner._next_part()
        except StopIteration:
            raise
        except BaseException as error:  # Ctrl-C, too: the loop may be continued
            return _raising_once(_without_frames(error))
        return owner._part


def _without_frames(error: BaseException) -> BaseException:
    """Return an exception without the frames that it went through, which refer to the map.

    At a prompt or in a notebook the last traceback is kept. If it kept the map, workers
    would run on after Ctrl-C until the next exception.
    """
    return error.with_traceback(None)


def _raising_once(error: BaseException) -> Iterator[Any]:
    raise error
    yield  # what makes this function a generator
