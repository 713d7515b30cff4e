"""Failures: the exception of an item that has no value, caught where it ran.

A value travels as itself; a ``Failure`` stands for the exception of one item. The
exception's pickle is tried out on the worker. So what cannot travel is known there: it is
left out of the exception, or, where the exception's text would not survive that, the whole
goes as text.
"""

from __future__ import annotations

import pickle
import re
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from seppo import place
from seppo.errors import RemoteError, RemoteTraceback, SerializationError
from seppo.shipping.advice import explain_missing, explain_removed, with_own_files
from seppo.values.exceptions import add_note
from seppo.values.salvage import dump_in_pieces
from seppo.values.serialize import dump_whole

_ADDRESS = re.compile("0x[0-9a-f]+")  # of an object in memory, in its repr

MAX_TEXT = 20_000  # characters of an exception's text or traceback that travel


class Interrupted(BaseException):
    """Raised in user code by the handler of our signal: the process ends with this item."""


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
        explain_removed(error)
        text = _text_of(error)
        pickled, why = _pack(error, text)
        return cls(
            type_name=f"{type(error).__module__}.{type(error).__qualname__}",
            text=text,
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
        told = with_own_files(self.traceback)
        if error is None:
            error = RemoteError(self.type_name, self.text, told, why)
        try:
            explain_missing(error, worker)
            if told:
                # Past the class's own __setattr__, which may refuse or raise.
                BaseException.__setattr__(error, "__cause__", RemoteTraceback(told))
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


def _pack(error: BaseException, text: str) -> tuple[bytes | None, str]:
    """Return an exception packed, or None and why it cannot travel."""
    whole, why, is_same = _try_out(error, text, dump_whole)
    if is_same:
        return whole, ""
    pieces, _, is_same = _try_out(error, text, partial(dump_in_pieces, passes=is_for_us))
    if is_same:
        return pieces, ""
    return whole, why  # a text with the time in it, say, is never the same


def _try_out(
    error: BaseException, text: str, dump: Callable[[BaseException], bytes]
) -> tuple[bytes | None, str, bool]:
    """Return an exception packed, or None and why not, and whether its text is the same then.

    Without this it could arrive with another text: constructors make texts of texts.
    """
    try:
        data = dump(error)
        again = pickle.loads(data)
    except BaseException as problem:  # user code: a constructor may raise anything
        if is_for_us(problem):
            raise
        return None, f"{type(problem).__name__}: {_text_of(problem)}", False
    if type(again).__qualname__ != type(error).__qualname__:
        return None, f"it comes back as {type(again).__qualname__}", False
    new = _text_of(again)
    return data, "", new == text or _ADDRESS.sub("", new) == _ADDRESS.sub("", text)


def unsendable(what: str, problem: BaseException) -> Failure:
    """Return the failure of an item that, or whose result, cannot be pickled.

    Args:
        what: ``"item 3"`` or ``"the result of item 3"``.
        problem: What the serializer raised.
    """
    reason = f"{type(problem).__name__}: {_text_of(problem)}"
    return Failure.of(SerializationError(what, reason))


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
