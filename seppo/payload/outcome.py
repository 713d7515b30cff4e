"""What became of an item that has no value: the exception, caught where it ran.

A value travels as itself; a ``Failure`` stands for the exception of one item. The
exception's pickle is tried out on the worker, so that what cannot travel is known there
and goes as text.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from types import TracebackType

from seppo.errors import RemoteError, RemoteTraceback, SerializationError
from seppo.payload.serialize import dump_whole

MAX_TEXT = 20_000  # characters of an exception's text or traceback that travel


@dataclass(frozen=True)
class Failure:
    """An exception as plain values.

    Attributes:
        type_name: Full name of its class.
        text: Its ``str``.
        traceback: The formatted traceback of where it was raised; empty for none.
        pickled: The exception itself, or None where it cannot travel.
        why: Why it cannot.
    """

    type_name: str
    text: str
    traceback: str = ""
    pickled: bytes | None = None
    why: str = ""

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
        error: BaseException | None = None
        why = self.why
        if self.pickled is not None:
            try:
                loaded = pickle.loads(self.pickled)
                if isinstance(loaded, BaseException):
                    error = loaded
                else:
                    why = f"it came as {type(loaded).__name__}"
            except Exception as problem:
                why = f"{type(problem).__name__}: {_text_of(problem)}"
        if error is None:
            error = RemoteError(self.type_name, self.text, self.traceback, why)
        if self.traceback:
            # Past the class's own __setattr__, which may refuse or raise.
            BaseException.__setattr__(error, "__cause__", RemoteTraceback(self.traceback))
        add_note(error, f"seppo: item {index}, on worker {worker}")
        return error


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
    notes = getattr(error, "__notes__", None)
    notes = [*notes, note] if isinstance(notes, list) else [note]
    try:
        error.__dict__["__notes__"] = notes
    except (AttributeError, TypeError):
        pass  # an exception class that forbids attributes goes without


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
