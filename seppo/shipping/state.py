"""Module state: what a script has set in the modules that it has imported.

The workers import these modules anew. Globals that were set from outside travel where they
are plain data: constants that have another value now, and names that the module's own code
never binds. What else was set does not travel, and the caller is told so, once. That is:

- globals that are no plain data, or too large;
- globals that a function of the module sets and that no module of the caller's calls, so
  that it was the script that has called it (``mod.load()``);
- attributes of the module's classes, and of objects of these classes among its globals.

A module's state is its own affair: what its functions look at before they set it (caches,
counters), what they put into its lists, and all that its import may have made. Where it
cannot be told who has set something, nothing is said.
"""

from __future__ import annotations

import argparse
import pickle
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from types import CodeType, FunctionType
from typing import Any

from seppo.shipping.bytecode import (
    UNBOUND,
    Names,
    attributes_of,
    made_without_arguments,
    names_of,
    references_of,
)
from seppo.shipping.origin import facts_of

MOST_PARTS = 20_000  # of a list, set or dict, and of all in it, that travels as a global
MOST_DEPTH = 3  # of such ones within each other
LARGEST = 200_000  # bytes of such a value; it travels with each map

# By id: to look up a type may run user code.
_PLAIN = frozenset(map(id, (int, float, complex, bool, str, bytes, type(None))))
# Code that looks up one of these may set whatever it likes.
_MAGIC = frozenset({"setattr", "vars", "__dict__"})

Values = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Lost:
    """Something that was set and does not travel.

    Attributes:
        name: Its name, from the module's on.
        why: Why it does not travel.
        setters: Names of functions that set it, where a function of the module did.
        is_new: Whether it is an attribute that its class does not mention.
        is_own: Whether the one place in the module that sets it gave it another value.
    """

    name: str
    why: str
    setters: frozenset[str] = frozenset()
    is_new: bool = False
    is_own: bool = False

    def may_be_set_by(self, state: State, is_home: bool) -> bool:
        """Whether a module's import may have set it, or what it runs on the workers may.

        Args:
            state: What is known of the module.
            is_home: Whether it is the module that this belongs to.
        """
        if self.setters:
            return not self.setters.isdisjoint(state.references)
        if self.is_new and not _MAGIC.isdisjoint(state.references):
            return True
        if is_home and self.is_own:
            return False
        return self.name.rpartition(".")[2] in state.attributes


class State:
    """What a module's own code does with its globals, and what others have done since.

    Args:
        module: Its full name.
        code: Its code.
        facts: Its namespace; None while it is not loaded.
    """

    def __init__(self, module: str, code: CodeType, facts: dict[str, Any] | None = None) -> None:
        self._module = module
        self._names = names_of(code)
        self._code = code
        self._facts = facts or {}
        self._n_usual = -1  # how many globals it had when none was set from outside
        self._objects: list[_Watched] | None = None

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes that its code sets, on whatever object."""
        return attributes_of(self._code)

    @cached_property
    def references(self) -> frozenset[str]:
        """The names that its code looks up."""
        return references_of(self._code)

    def values(self) -> Values:
        """Return the globals that were set from outside and travel. Each map asks for them."""
        set_globals = self._set_globals()
        if not set_globals:
            return ()
        found = [(name, packed(value)) for name, value in set_globals]
        return tuple(sorted((name, data.hex()) for name, data in found if data is not None))

    def lost(self) -> Iterator[Lost]:
        """Give what was set from outside and does not travel."""
        for name, value in self._set_globals() if self._names.bound is not None else ():
            if packed(value) is None:
                yield Lost(name, _why(value))
        for name, initial, setters in self._names.setters:
            if not _is_same(self._facts.get(name, initial), initial):
                yield Lost(name, "a function of the module has set it", setters)
        if self._objects is None:
            self._objects = list(self._find_objects(self._facts))
        for watched in self._objects:
            yield from watched.look()

    def _set_globals(self) -> list[tuple[str, Any]]:
        found, facts = [], self._facts
        for name, literal in self._names.literals:
            value = facts.get(name, literal)
            if value is not literal and not _is_same(value, literal):
                found.append((name, value))
        bound = self._names.bound
        if bound is not None and len(facts) != self._n_usual:
            new = [
                (name, value)
                for name, value in list(facts.items())
                if name not in bound
                and name.isidentifier()  # what rewrites code uses others
                and not name.startswith("__")
                and facts_of(value) is None
            ]
            self._n_usual = -1 if new else len(facts)
            found += new
        return found

    def _find_objects(self, facts: dict[str, Any]) -> Iterator[_Watched]:
        """Give the module's classes, and the objects of these among its globals."""
        classes: dict[int, Names] = {}
        for name, names in self._names.classes:
            cls = facts.get(name)
            # A metaclass may set what it likes.
            if type(cls) is type and cls.__module__ == self._module and names.bound is not None:
                classes[id(cls)] = names
                yield _Watched(name, vars(cls), dict(names.literals), names.bound)
        if not classes:
            return
        made = made_without_arguments(self._code)
        for name in self._names.bound or ():
            found = facts.get(name)
            lineage = type(found).__mro__[:-1]
            if not lineage or any(id(cls) not in classes for cls in lineage):
                continue
            try:
                attributes = object.__getattribute__(found, "__dict__")
            except AttributeError:  # it has slots
                continue
            own = {k: v for k, v in self.attributes.items() if v is not UNBOUND}
            defaults: dict[str, Any] = {}
            known = set(self.attributes)
            for cls in reversed(lineage):
                known |= classes[id(cls)].bound or set()
                known.update(vars(cls).get("__dataclass_fields__", ()))
                if (name, type(found).__name__) in made:  # a dataclass with its defaults
                    defaults.update(classes[id(cls)].literals)
            yield _Watched(name, attributes, defaults, frozenset(known), own)


class _Watched:
    """A class, or an object, of a module.

    Args:
        name: Its name in the module.
        attributes: Its ``__dict__``.
        literals: Constants that its attributes have at first.
        known: Attributes that it may have by itself.
        own: Constants that its methods set attributes to.
    """

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, Any],
        literals: dict[str, Any],
        known: frozenset[str],
        own: dict[str, Any] | None = None,
    ) -> None:
        self._name = name
        self._attributes = attributes
        self._literals = literals
        self._own = own or {}
        self._known = known

    def look(self) -> Iterator[Lost]:
        """Give what was set from outside."""
        for literals in (self._literals, self._own):
            for name, literal in literals.items():
                value = self._attributes.get(name, literal)
                if not _is_same(value, literal) and not _is_machinery(value):
                    yield self._lost(name, is_own=literals is self._own)
        for name, value in list(self._attributes.items()):
            if name not in self._known and name[:1] != "_" and not _is_machinery(value):
                yield self._lost(name, is_new=True)

    def _lost(self, name: str, is_new: bool = False, is_own: bool = False) -> Lost:
        return Lost(f"{self._name}.{name}", "it is an attribute", frozenset(), is_new, is_own)


def lost_of(
    modules: Iterable[tuple[str, State]], runs: Callable[[], Iterable[FunctionType]] = tuple
) -> Iterator[tuple[str, str]]:
    """Give what was set from outside and does not travel: its full name, and why.

    Args:
        modules: The modules that go along.
        runs: Gives functions that run on the workers: what these set is set there, too.
    """
    states = list(modules)
    found = [(module, each) for module, state in states for each in state.lost()]
    if not found:
        return
    functions = list(runs())
    states += [("", State("", func.__code__)) for func in functions]
    called = {func.__name__ for func in functions}
    for module, each in found:
        if each.setters.isdisjoint(called) and not any(
            each.may_be_set_by(state, name == module) for name, state in states
        ):
            yield f"{module}.{each.name}", each.why


def packed(value: Any) -> bytes | None:
    """Return a value pickled, or None if it is no plain data, or too large."""
    if not is_plain_data(value):
        return None
    data = pickle.dumps(value, 5)
    return data if len(data) <= LARGEST else None


def is_plain_data(value: Any) -> bool:
    """Whether a value consists of numbers, texts and paths alone, and not of very many.

    >>> is_plain_data({"a": [1, None]}), is_plain_data(print), is_plain_data({1, (2, 3)})
    (True, False, True)
    """
    return _parts_left(value, MOST_DEPTH, MOST_PARTS) >= 0


def _parts_left(value: Any, depth: int, left: int) -> int:
    """Return how many more parts there may be; below 0 if a value is no plain data."""
    kind = type(value)
    if id(kind) in _PLAIN:
        return left
    if kind in (argparse.Namespace, types.SimpleNamespace):
        value, kind = vars(value), dict
    if kind not in (list, tuple, dict, set, frozenset):
        return left if isinstance(value, PurePath) else -1
    parts = [*value.keys(), *value.values()] if kind is dict else value
    left -= len(parts)
    if left < 0 or _PLAIN.issuperset(map(id, map(type, parts))):
        return left
    if depth == 0:
        return -1
    for part in parts:
        left = _parts_left(part, depth - 1, left)
        if left < 0:
            return -1
    return left


def _why(value: Any) -> str:
    if type(value) in (list, tuple, dict, set, frozenset):
        return f"it is large (over {LARGEST:,} bytes), or not all in it is plain data"
    if isinstance(value, (str, bytes)):
        return f"it is larger than {LARGEST:,} bytes"
    return f"it is of the type {type(value).__qualname__}"


def _is_same(value: Any, literal: Any) -> bool:
    if value is literal:
        return True
    if type(value) is not type(literal):
        return False
    return bool(value == literal or (value != value and literal != literal))


def _is_machinery(value: Any) -> bool:
    """Whether an attribute is what decorators and interpreters make: functions, descriptors."""
    return hasattr(type(value), "__get__")
