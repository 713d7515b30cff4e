"""Exceptions as parts, and made again from these without a call of their constructors.

Python unpickles an exception by ``cls(*error.args)``. That fits constructors which pass on
what they are given. One that makes a text of it is called with the text; one that wants
more, or keywords, is not to be called at all. So where a class has a constructor of its own
(or slots, which Python forgets), its exceptions are made empty and then filled: ``args``,
``__dict__``, slots, and the fields that C code keeps, such as ``errno``.

A class with a ``__reduce__`` of its own is asked first. If that does not serve, or if
something in an exception cannot be pickled, it can travel in *pieces*, each a pickle of its
own: what fails is left out, and a note names it.
"""

from __future__ import annotations

import builtins
import copyreg
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

MAX_REASON = 200  # characters of why something was left out

_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that a class statement, or an extension, made
_ARGS: Any = BaseException.__dict__["args"]
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # Python 3.10 has none

# What is the interpreter's; and an AttributeError's object, which may be anything at all and
# which Python's own pickles leave out, too.
_NOT_FIELDS = frozenset({"__dict__", "__weakref__", "obj"})


@dataclass(frozen=True)
class LeftOut:
    """A placeholder for something that could not be sent, with the same ``repr``.

    Attributes:
        why: Why it could not.
        text: Its ``repr``.
    """

    why: str
    text: str = "<left out>"

    def __repr__(self) -> str:
        return self.text


@dataclass
class Parts:
    """What an exception consists of: values, or the pickles of values.

    Attributes:
        args: Its ``args``; None for those that a group gets when it is made.
        attributes: Its ``__dict__``.
        fields: Its slots, and what C code keeps for it.
    """

    args: tuple[Any, ...] | None
    attributes: dict[str, Any]
    fields: dict[str, Any]

    def map(self, change: Callable[[Any], Any]) -> Parts:
        """Return the same with every value changed."""
        return Parts(
            None if self.args is None else tuple(map(change, self.args)),
            {name: change(value) for name, value in self.attributes.items()},
            {name: change(value) for name, value in self.fields.items()},
        )


def reduce_exception(error: BaseException) -> tuple[Any, ...] | None:
    """Return how to make an exception again, or None where Python's own way is right."""
    cls = type(error)
    own = [each for each in cls.__mro__ if each.__flags__ & _HEAP]
    if not own or cls in copyreg.dispatch_table:
        return None
    if any("__reduce__" in vars(each) or "__reduce_ex__" in vars(each) for each in own):
        return None
    for each in own:
        names = vars(each)
        if "__init__" in names or "__new__" in names or any(_slots(each)):
            return make_empty, makings(error), take_apart(error), None, None, fill
    return None


def makings(error: BaseException) -> tuple[Any, ...]:
    """Return the arguments of ``make_empty`` for an exception."""
    if isinstance(error, _GROUP):  # its members cannot be set later
        group: Any = error
        return type(error), _GROUP.message.__get__(group), list(_GROUP.exceptions.__get__(group))
    return (type(error),)


def make_empty(cls: type[BaseException], *makings: Any) -> BaseException:
    """Return an exception of a class without calling any constructor written in Python."""
    base: Any = cls
    while base.__flags__ & _HEAP:
        base = base.__base__
    made: BaseException = base.__new__(cls, *makings)
    return made


def take_apart(error: BaseException) -> Parts:
    """Return what an exception consists of."""
    fields = {}
    for name, (descriptor, is_slot) in _fields(type(error)).items():
        try:
            value = descriptor.__get__(error)
        except (AttributeError, TypeError):  # it is not set
            continue
        if is_slot or value is not None:  # C code tells None from nothing
            fields[name] = value
    args = _ARGS.__get__(error)
    if isinstance(error, _GROUP) and _is_made_of(error, args):
        args = None
    return Parts(args, dict(BaseException.__getattribute__(error, "__dict__")), fields)


def _is_made_of(group: Any, args: tuple[Any, ...]) -> bool:
    """Whether a group's ``args`` are its text and its members, which it is made of anyway."""
    members = _GROUP.exceptions.__get__(group)
    return (
        len(args) == 2
        and args[0] is _GROUP.message.__get__(group)
        and type(args[1]) is list
        and len(args[1]) == len(members)
        and all(map(lambda a, b: a is b, args[1], members))
    )


def fill(error: BaseException, parts: Parts) -> None:
    """Give an empty exception what it consists of."""
    if parts.args is not None:
        _ARGS.__set__(error, parts.args)
    BaseException.__getattribute__(error, "__dict__").update(parts.attributes)
    known = _fields(type(error))
    for name, value in parts.fields.items():
        try:
            known[name][0].__set__(error, value)
        except (KeyError, AttributeError, TypeError):  # another Python keeps other fields
            continue


def fill_from_pieces(error: BaseException, pieces: Parts) -> None:
    """Give an empty exception the values in pickles, and a note that names what is missing.

    ``args`` keep their places. An attribute that did not come is not there, unless the class
    has a ``__getattr__``: many of these look at an attribute, and would look for ever.
    """
    parts = pieces.map(_load)
    missing = [
        (f"args[{i}]", value) for i, value in enumerate(parts.args or ()) if type(value) is LeftOut
    ]
    for found in (parts.attributes, parts.fields):
        for name, value in list(found.items()):
            if type(value) is LeftOut:
                missing.append((name, value))
                if found is parts.fields or not hasattr(type(error), "__getattr__"):
                    del found[name]
    fill(error, parts)
    for name, left in missing:
        add_note(error, f"seppo: {name} was left out: {left.why}")


def _load(piece: bytes | LeftOut) -> Any:
    if type(piece) is LeftOut:
        return piece
    try:
        # arg-type: its exact type was just asked; a type checker does not narrow by that.
        return pickle.loads(piece)  # type: ignore[arg-type]
    except Exception as problem:  # user code
        return LeftOut(reason_of(problem))


def reason_of(problem: BaseException) -> str:
    """Return what was raised, in short."""
    try:
        return f"{type(problem).__name__}: {problem}"[:MAX_REASON]
    except Exception:  # a user's __str__
        return type(problem).__name__


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an exception, also where ``add_note`` does not exist (Python 3.10)."""
    # Past the class's own __getattr__ and __setattr__, which may raise anything.
    attributes = BaseException.__getattribute__(error, "__dict__")
    notes = attributes.get("__notes__")
    attributes["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Return the descriptors of what is kept outside of ``__dict__``, and which are slots."""
    found: dict[str, tuple[Any, bool]] = {}
    for each in reversed(cls.__mro__):
        if each.__flags__ & _HEAP:
            found.update({name: (slot, True) for name, slot in _slots(each)})
        elif each is not BaseException and each is not object:
            for name, value in vars(each).items():
                is_field = type(value) in (MemberDescriptorType, GetSetDescriptorType)
                if is_field and name not in _NOT_FIELDS:
                    found[name] = value, False
    return found


def _slots(cls: type) -> Iterator[tuple[str, Any]]:
    for name, value in vars(cls).items():
        if type(value) is MemberDescriptorType and name not in _NOT_FIELDS:
            yield name, value
