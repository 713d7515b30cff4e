"""What became of an item that has no value: the exception, caught where it ran.

A value travels as itself; a ``Failure`` stands for the exception of one item. The
exception's pickle is tried out on the worker, so that what cannot travel is known there
and goes as text.
"""

from __future__ import annotations

import pickle
import threading
import traceback
from dataclasses import dataclass
from types import TracebackType

from seppo.errors import RemoteError, RemoteTraceback, SerializationError
from seppo.payload import place
from seppo.payload.missing import explain_missing
from seppo.payload.serialize import dump_whole

MAX_TEXT = 20_000  # characters of an exception's text or traceback that travel


class Interrupted(BaseException):
    """Raised in user code by the handler of our signal: the item is not wanted any more."""


def is_for_us(error: BaseException) -> bool:
    """Whether an exception that left user code is to be passed on instead of kept.

    Our own interruption always is, and so is Ctrl-C where a person may have pressed it:
    in the main thread of a process that is not a worker. Everything else that packing or
    unpacking raises, of whatever class, is the outcome of an item.
    """
    if isinstance(error, Interrupted):
        return True
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and not place.is_worker_process()
    )


@dataclass(frozen=True)
class Failure:
    """An exception as plain values.

    Attributes:
        type_name: Full name of its class.
        text: Its ``str``.
        traceback: The formatted traceback of where it was raised; empty for none.
        pickled: The exception itself, or None where it cannot travel.
        why: Why it cannot.
        ends_map: Whether it is not an item's, but of a worker that could not be made ready.
    """

    type_name: str
    text: str
    traceback: str = ""
    pickled: bytes | None = None
    why: str = ""
    ends_map: bool = False

    @classmethod
    def of(cls, error: BaseException, skip: int = 0) -> Failure:
        """Return the failure that stands for an exception.

        Args:
            error: The exception, with its traceback.
            skip: How many of the outermost frames are ours and not worth showing.
        """
        pickled, why = None, ""
        try:
            pickled = dump_whole(error)
            again = pickle.loads(pickled)
            if type(again).__qualname__ != type(error).__qualname__:
                pickled, why = None, f"it comes back as {type(again).__qualname__}"
        except BaseException as problem:  # user code: a constructor may raise anything
            if is_for_us(problem):
                raise
            pickled, why = None, f"{type(problem).__name__}: {_text_of(problem)}"
        return cls(
            type_name=f"{type(error).__module__}.{type(error).__qualname__}",
            text=_text_of(error),
            traceback=_format(error, skip),
            pickled=pickled,
            why=why,
        )

    def to_exception(self, index: int, worker: str) -> BaseException:
        """Return the exception to raise at the item's place.

        Args:
            index: Position of the item in the input.
            worker: Who ran it.
        """
        error, why = self._load()
        if error is None:
            error = RemoteError(self.type_name, self.text, self.traceback, why)
        try:
            explain_missing(error, worker)
            if self.traceback:
                # Past the class's own __setattr__, which may refuse or raise.
                BaseException.__setattr__(error, "__cause__", RemoteTraceback(self.traceback))
            add_note(error, f"seppo: item {index}, on worker {worker}")
        except Exception:  # a class that allows neither goes without
            pass
        return error

    def _load(self) -> tuple[BaseException | None, str]:
        """Return the exception itself, or None and why there is none."""
        if self.pickled is None:
            return None, self.why
        try:
            loaded = pickle.loads(self.pickled)
        except BaseException as problem:  # user code again
            if is_for_us(problem):
                raise
            return None, f"{type(problem).__name__}: {_text_of(problem)}"
        if isinstance(loaded, BaseException):
            return loaded, ""
        return None, f"it came as {type(loaded).__name__}"


def unsendable(what: str, problem: BaseException) -> Failure:
    """Return the failure of an item that, or whose result, cannot be pickled.

    Args:
        what: ``"item 3"`` or ``"the result of item 3"``.
        problem: What the serializer raised.
    """
    reason = f"{type(problem).__name__}: {_text_of(problem)}"
    return Failure.of(SerializationError(what, reason))


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an exception, also where ``add_note`` does not exist (Python 3.10)."""
    # Past the class's own __getattr__ and __setattr__, which may raise anything.
    attributes = BaseException.__getattribute__(error, "__dict__")
    notes = attributes.get("__notes__")
    attributes["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:MAX_TEXT]
    except BaseException as problem:  # a user's __str__ may raise anything
        return f"<str() raised {type(problem).__name__}>"


def _format(error: BaseException, skip: int) -> str:
    tb: TracebackType | None = error.__traceback__
    for _ in range(skip):
        tb = tb.tb_next if tb is not None else None
    if tb is None and error.__cause__ is None and error.__context__ is None:
        return ""
    try:
        return "".join(traceback.format_exception(type(error), error, tb))[:MAX_TEXT]
    except BaseException as problem:  # a user's __str__ again
        return f"<the traceback could not be formatted: {type(problem).__name__}>"
