"""The results of a map, in the caller's thread, made from the driver's messages.

Results come in parts, one for each piece of a chunk; a part is unpacked when its first
result is wanted. ``open_next`` puts the part to take results from into ``ready``, where
``iterator.ParallelMap`` finds it.

Ctrl-C may come between any two calls. So every step here can be done again, and what
belongs together is assigned at once: the part, how many results were taken, and what the
driver has to know. It is sent afterwards, and once more before each wait.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from seppo.core.commands import Deliver, FailJob, FinishJob, LostItem, RunHere
from seppo.driver import Broken, JobHandle, Outcome
from seppo.errors import InternalError, MapTimeoutError, SetupError
from seppo.interfaces.differences import tell_differences
from seppo.interfaces.here import Deadline
from seppo.interfaces.inputs import Reader
from seppo.interfaces.lost import error_of_job
from seppo.interfaces.mailbox import Mailbox
from seppo.interfaces.opening import OpenPart, PartOpener
from seppo.interfaces.options import MapOptions
from seppo.interfaces.parts import LoopEnd
from seppo.interfaces.progress import Meter

R = TypeVar("R")

METER_SECONDS = 0.1  # seconds between looks at the progress while waiting

PART = "part"  # the key of the part in ``ready``
END = object()  # in its place: there is nothing more


class MapResults(Generic[R]):
    """The results of one job, part by part.

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

    Attributes:
        length: As above.
        ready: The part to take results from, or ``END``, until it is taken.
        resume: Called when a loop ends, but not the map: an item raised ``StopIteration``.
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
        self.length = length
        self.ready: dict[str, Any] = {}
        self.resume: Callable[[], object] = object
        self._grown = grown
        self._job = job
        self._mailbox = mailbox
        self._loop_end = LoopEnd()
        self._opener = PartOpener(job.source, options, func, self._loop_end)
        self._deadline = deadline
        self._reader = reader
        self._meter = meter
        self._lock = threading.RLock()  # between threads that take results from one map
        self._part: Any = iter([])  # an iterator that knows how many results it has left
        self._stop_part: Callable[[], object] = object
        self._dealt: Outcome | None = None  # the outcome that ``_part`` comes from
        self._is_last = False  # nothing is to come after ``_part``
        self._problem: BaseException | None = None  # what ends the map, to be raised once
        self._is_closed = False
        self._is_let_go = False  # whether closing it has been completed
        self._is_cancelled = False
        job.is_watched = reader is not None or meter is not None

    # --- taking results

    def open_next(self, _: object = None) -> None:
        """Have ``ready`` hold the part to take results from, or the end.

        Raises:
            BaseException: What ends the map, once; or what user code raises here.
        """
        with self._lock:
            if self._loop_end.is_due:
                self.resume()
                self.ready[PART], self._loop_end.is_due = END, False
            elif self._part.__length_hint__() > 0 or self._next_part():
                self.ready[PART] = self._as_taken()
            else:
                problem, self._problem = self._problem, None
                if problem is not None:
                    try:
                        raise problem
                    finally:
                        # A traceback that refers to its own frame keeps everything alive.
                        del problem
                self.ready[PART] = END

    def _as_taken(self) -> Iterator[Any]:
        """Return the part, or what takes from it whenever a result is wanted."""
        reader = self._reader
        if self._meter is not None or (reader is not None and reader.is_exact):
            return call_again(self._take_with_attention)
        is_plain = type(self._part) is _ListIterator
        return self._part if is_plain else call_again(self._take_one)

    def _take_one(self, _: object) -> R:
        """Return the next result of the part.

        Raises:
            StopIteration: If there is none.
        """
        # A for statement takes and returns a value without any call in between; and not
        # under the lock, whose release is a call.
        for value in self._part:
            result: R = value
            return result
        raise StopIteration

    def _take_with_attention(self, _: object) -> R:
        """Do what is to be done for each result, and return the next one of the part."""
        with self._lock:
            self._attend()
        for value in self._part:  # as above
            result: R = value
            return result
        raise StopIteration

    def _attend(self) -> None:
        """Before a result goes out: take one item in for it, and show the progress.

        Where the caller has not said how far to read ahead, items are read when a part
        comes, as many as it has results.
        """
        left = self._part.__length_hint__()
        if left == 0:
            return
        reader = self._reader
        if (
            reader is not None
            and reader.is_exact
            and reader.is_quick
            and reader.may_read(self._job.taken - left)
        ):
            reader.read_one()
        self._show()

    def _show(self) -> None:
        if self._meter is not None:
            self._meter.show(self._job.completed, self.length)

    # --- parts

    def _next_part(self) -> bool:
        """Make ``_part`` the next part; return false if there is none."""
        if self._is_closed:
            if not self._is_let_go:  # Ctrl-C came in the middle
                self._let_go()
            return False
        if self._is_last:
            return self._end(None)
        if not self._job.is_of_this_process:
            raise RuntimeError(
                "this iterator belongs to the process that called map_parallel, "
                "not to a fork of it: call map_parallel in the child"
            )
        outcome = self._wait()
        match outcome:
            case Deliver():
                return self._begin_part(outcome)
            case FinishJob():
                self._show()
                return self._end(self._error_of_input())
            case FailJob():
                return self._end(error_of_job(outcome, self._deadline.timeout))
            case Broken(error=problem):
                return self._end(problem)
            case None:
                return False
            case _:
                raise InternalError(f"an outcome of type {type(outcome).__name__}")

    def _begin_part(self, outcome: Deliver) -> bool:
        try:
            part, stop, is_last = self._open(outcome)
        except SetupError as problem:  # of this process; told once
            return self._end(problem)
        job = self._job
        self._part, self._stop_part, self._is_last = part, stop, is_last
        self._dealt, job.taken = outcome, job.taken + outcome.count
        if self._is_closed:  # by another thread
            stop()
            return False
        self._mailbox.drop(outcome)
        if is_last:
            job.close()
        else:
            job.tell()
        if isinstance(outcome.payload, LostItem):
            job.source.drop(outcome.index, outcome.index + 1)
        tell_differences(job.source.function.bundle)
        reader = self._reader
        if reader is not None and reader.is_quick and not reader.is_exact:
            reader.read_many(outcome.count, job.taken)
        return True

    def _wait(self) -> Outcome | None:
        """Return the first outcome that was not dealt with; read the input meanwhile.

        None if another thread has closed the map.
        """
        job, reader = self._job, self._reader
        while not self._is_closed:
            self._mailbox.drop(self._dealt)
            self._dealt = None
            outcome = self._mailbox.first()
            if outcome is not None:
                return outcome
            if reader is not None:
                if reader.may_read(job.taken):
                    reader.read_one()
                    continue
                job.awaits_room = True
                if reader.may_read(job.taken):
                    continue  # the driver made room before it could know
            self._show()
            job.remind()
            self._mailbox.wait(None if self._meter is None else METER_SECONDS)
        return None

    def _open(self, part: Deliver) -> OpenPart:
        if self._is_cancelled and isinstance(part.payload, RunHere):
            return iter([]), object, False
        return self._opener.open(part, self._goes_on)

    def _goes_on(self) -> bool:
        """Whether another item may be run here."""
        if self._is_closed or self._is_cancelled:
            return False
        if not self._deadline.has_passed:
            return True
        return self._end(MapTimeoutError(self._deadline.timeout or 0.0))

    # --- the end

    def _error_of_input(self) -> BaseException | None:
        """After the last result: return what the input raised, or that it has changed."""
        if self._is_cancelled:
            return None
        if self._reader is not None and self._reader.error is not None:
            return self._reader.error
        if self._grown is not None and (missed := self._grown()):
            return RuntimeError(
                f"the input has grown by {missed} items during the map, which were not done; "
                "pass iter(input) to read it step by step"
            )
        return None

    def _end(self, problem: BaseException | None) -> bool:
        """End the map, with something to raise or without; return false."""
        self._problem = problem
        self._let_go()
        return False

    def cancel(self) -> None:
        """Drop what is not done; results that are here already can still be taken."""
        if self._is_closed:
            return
        self._is_cancelled = True
        self._job.close()
        if self._reader is not None:
            self._reader.close()
        self._mailbox.put(FinishJob(self._job.number))  # nothing that comes later is taken

    def close(self) -> None:
        """Give the map up: no more results come. Does nothing the second time."""
        self._problem = None
        if not self._is_let_go:
            self._let_go()

    def _let_go(self) -> None:
        self._is_closed = True
        self._job.close()
        self._mailbox.close()
        self._stop_part()
        self._part, self._dealt = iter([]), None
        if self._reader is not None:
            self._reader.close()
        self._opener.end()
        self._is_let_go = True
        if self._meter is not None:
            self._meter.close()  # the last thing to do: it may be the caller's, and raise


_ListIterator: type = type(iter([]))


def call_again(func: Callable[[Any], R]) -> Iterator[R]:
    """Return an iterator over what ``func(None)`` returns, call after call.

    It is of C alone: going through it begins no function of Python's but ``func``, and
    whatever that raises does not end it.
    """
    return map(func, itertools.repeat(None))
