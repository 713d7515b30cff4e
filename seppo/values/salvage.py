"""Salvage of exceptions that cannot be pickled as a whole: the parts that can be.

Each of its parts is pickled by itself, and tried out; so are the parts of exceptions that
it holds. A part that fails is left out. How many there may be is bounded: exceptions can
refer to each other in ways that never end.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from seppo.errors import RemoteError
from seppo.values.exceptions import (
    LeftOut,
    fill_from_pieces,
    make_empty,
    makings,
    reason_of,
    take_apart,
)
from seppo.values.serialize import dump_whole

MAX_PIECES = 10_000  # of one exception with all that it holds
MAX_DEPTH = 20  # of exceptions within exceptions
MAX_TEXT = 2_000  # characters that stand for what was left out


class CannotTravel(Exception):
    """The exception holds too many others, or itself."""


def dump_in_pieces(error: BaseException, passes: Callable[[BaseException], bool]) -> bytes:
    """Return an exception packed without what cannot be packed, or not unpacked again.

    Args:
        error: The exception.
        passes: Whether what user code raises meanwhile is to be passed on.
    """
    return _Salvage(passes).dump(error)


class _Salvage:
    def __init__(self, passes: Callable[[BaseException], bool]) -> None:
        self._passes = passes
        self._pieces = 0
        self._open: list[int] = []  # exceptions that are being taken apart

    def dump(self, obj: Any) -> bytes:
        return dump_whole(obj, self.reduce)

    def reduce(self, error: BaseException) -> tuple[Any, ...]:
        if id(error) in self._open:
            raise CannotTravel("it refers to itself")
        if len(self._open) >= MAX_DEPTH:
            raise CannotTravel("its exceptions are too deeply nested")
        self._open.append(id(error))
        try:
            cls, *group = makings(error)
            if group:
                text, members = group
                group = [text, [self._member(member) for member in members]]
            pieces = take_apart(error).map(self._piece)
            return make_empty, (cls, *group), pieces, None, None, fill_from_pieces
        finally:
            self._open.pop()

    def _member(self, error: BaseException) -> _Loaded:
        """Return a member of a group; one that cannot travel at all goes as its text."""
        piece = self._piece(error)
        if isinstance(piece, LeftOut):
            cls = type(error)
            name = f"{cls.__module__}.{cls.__qualname__}"
            piece = pickle.dumps(RemoteError(name, piece.text, "", piece.why))
        return _Loaded(piece)

    def _piece(self, value: Any) -> bytes | LeftOut:
        self._pieces += 1
        if self._pieces > MAX_PIECES:
            raise CannotTravel("it has too many parts")
        reason = ""
        for dump in (dump_whole, self.dump):
            try:
                data = dump(value)
                pickle.loads(data)
            except BaseException as problem:  # user code
                if self._passes(problem):
                    raise
                reason = reason_of(problem)
            else:
                return data
        return LeftOut(reason, self._text_of(value))

    def _text_of(self, value: Any) -> str:
        try:
            return repr(value)[:MAX_TEXT]
        except BaseException as problem:  # user code
            if self._passes(problem):
                raise
            return f"<{type(value).__qualname__}>"


class _Loaded:
    """Stands in a pickle for an object that has a pickle of its own."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __reduce__(self) -> Any:
        return pickle.loads, (self._data,)
