"""Definitions of ``__main__`` that a function and its items need, each packed on its own.

    names that code looks up,    -->  a unit a name: a pickle  -->  definitions, each after
    names that pickles refer to       in which all others go        those that it refers to
                                      by their names

A unit whose objects hold each other (``a.friend = b; b.friend = a``) is packed together with
those: pickle knows how, and so every definition can be loaded when those before it are there.
Names that code looks up when it runs are no such reference: functions may call each other.

The key of a definition depends on what its pickle refers to as well: a dict that holds a list
of the script must hold the new list when that has changed. A class is left out of this, since
it stays the same object when its attributes change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from seppo.values.main import Seen, main_facts, name_in_main
from seppo.values.script import OUR_FACTS, Definition
from seppo.values.serialize import PLAIN_TYPES, Pickler
from seppo.wire.packed import Packed

PIECE = 8 << 20  # bytes that one thread hashes at a time
HASHERS = 4  # threads

# Of these types it does not matter whether one object is another.
_ALIKE = PLAIN_TYPES | {tuple, frozenset, range, FunctionType, BuiltinFunctionType}


def digest_of(packed: Packed) -> bytes:
    """Return SHA-256 over the digests of the content's pieces.

    Pieces, because hashing 200 MB takes as long as sending them: several threads do it,
    side by side.
    """
    pieces = [memoryview(packed.data)]
    for buffer in packed.buffers:
        view = memoryview(buffer).cast("B")
        pieces += [view[at : at + PIECE] for at in range(0, len(view), PIECE)]
    if len(pieces) == 1:
        return hashlib.sha256(packed.data).digest()
    try:
        with ThreadPoolExecutor(min(len(pieces), HASHERS)) as pool:
            digests = list(pool.map(_digest_of_piece, pieces))
    except RuntimeError:  # the main thread has ended: others may go on, but none may start
        digests = list(map(_digest_of_piece, pieces))
    return hashlib.sha256(b"".join(digests)).digest()


def _digest_of_piece(piece: memoryview) -> bytes:
    return hashlib.sha256(piece).digest()


def combined(digests: Iterable[bytes]) -> bytes:
    """Return one hash for several."""
    return hashlib.sha256(b"".join(digests)).digest()


class Refused(Exception):
    """What a name of ``__main__`` stands for cannot be pickled."""

    def __init__(self, name: str, problem: BaseException) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem


@dataclass
class _Unit:
    """What one name stands for, or several that hold each other.

    Attributes:
        packed: Its pickle.
        held: Names of other units whose objects it refers to.
        names: All names that it needs to be of use.
        hints: Names that only annotations mention.
        is_needed: Whether nothing can run without it.
        problem: Why it could not be packed; empty if it was.
    """

    packed: Packed
    held: set[str]
    names: set[str]
    hints: set[str]
    is_needed: bool
    problem: str = ""


@dataclass(frozen=True)
class Defined:
    """The definitions that belong to a function.

    Attributes:
        definitions: In an order in which they can be loaded.
        absent: Names that are looked up, and that nothing is defined under.
        known: The classes and functions under the names.
        early: How many definitions at the front are needed before the others.
    """

    definitions: tuple[Definition, ...] = ()
    absent: frozenset[str] = frozenset()
    known: Mapping[str, Any] = field(default_factory=dict)
    early: int = 0

    @cached_property
    def names(self) -> frozenset[str]:
        """All names that are taken care of."""
        needed = (definition.names for definition in self.definitions if definition.is_needed)
        return self.absent.union(*needed)


class Collector:
    """Collects the definitions of names, and of all that these need.

    Args:
        modules: Where to note the modules that they need.
        before: What there is already, and stays as it is.
    """

    def __init__(self, modules: set[str], before: Defined | None = None) -> None:
        self._facts = dict(main_facts())
        self._modules = modules
        self._before = before or Defined()
        self._units: dict[str, _Unit] = {}
        self._absent: set[str] = set()
        self._shared = _shared(self._facts)
        self._early: frozenset[str] = frozenset()

    def pickler(self) -> tuple[Pickler, Seen]:
        """Return what packs an object that is to find what is collected; and what it meets."""
        seen = self._seen()
        return Pickler(seen=seen, shared=self._shared, renews=True), seen

    def _seen(self) -> Seen:
        return Seen(self._modules, known=self._before.known)

    def add(self, seen: Seen) -> None:
        """Collect what pickles need.

        Raises:
            Refused: If something cannot be pickled.
        """
        self._add_hints(seen.hints | self._collect(seen.names, is_needed=True))

    def add_leniently(self, seen: Seen) -> None:
        """Collect what pickles need; what cannot be pickled is told when it is wanted."""
        hints = self._collect(seen.names, is_needed=True, is_strict=False)
        self._add_hints(seen.hints | hints)

    def _add_hints(self, hints: set[str]) -> None:
        while hints:
            hints = self._collect(hints, is_needed=False)

    def mark_early(self) -> None:
        """Say that what was collected up to now is needed before what comes."""
        self._early = frozenset(self._units)

    def _collect(self, names: set[str], is_needed: bool, is_strict: bool = True) -> set[str]:
        """Pack names and what they need; return names that only annotations mention."""
        todo, hints = sorted(names), set[str]()
        while todo:
            name = todo.pop()
            unit = self._units.get(name)
            if name in self._before.names or (unit is not None and unit.is_needed >= is_needed):
                continue
            if name not in self._facts or name in OUR_FACTS:
                self._absent.add(name)
                continue
            if unit is None or unit.problem:
                unit = self._units[name] = self._unit(name, is_needed, is_needed and is_strict)
                hints |= unit.hints
            unit.is_needed = is_needed
            todo += unit.names
        return {name for name in hints if name not in self._units}

    def _unit(self, name: str, is_needed: bool, is_strict: bool) -> _Unit:
        seen = self._seen()
        try:
            packed = self._pack((name,), seen)
        except BaseException as problem:  # user code, which must not end our thread
            if isinstance(problem, KeyboardInterrupt):
                raise
            if is_strict:
                raise Refused(name, problem) from problem
            text = f"{type(problem).__name__}: {problem}"
            return _Unit(Packed(b""), set(), set(), set(), is_needed, text)
        return _Unit(packed, seen.held - {name}, seen.names, set(seen.hints), is_needed)

    def _pack(self, names: tuple[str, ...], seen: Seen) -> Packed:
        values = tuple(self._facts[name] for name in names)
        has_others = any(name not in names for name in self._shared.values())
        shared = self._shared if has_others and not all(map(_is_flat, values)) else None
        return Pickler(seen=seen, inside=frozenset(names), shared=shared, renews=True).dump(values)

    def result(self) -> Defined:
        """Return all, with those that were there before first."""
        before = self._before
        groups = self._groups()
        early = [group for group in groups if self._early.issuperset(group)]
        keys = {name: made.key for made in before.definitions for name in made.names}
        known = dict(before.known)
        made = []
        for group in (*early, *(group for group in groups if group not in early)):
            unit = self._units[group[0]]
            held = [
                keys[name]
                for name in sorted(unit.held)
                if name in keys and not isinstance(self._facts.get(name), type)
            ]
            key = combined([digest_of(unit.packed), unit.problem.encode(), *held])
            keys.update(dict.fromkeys(group, key))
            data, buffers = unit.packed.data, unit.packed.buffers
            made.append(Definition(group, key, data, buffers, unit.is_needed, unit.problem))
            known.update(
                (name, self._facts[name]) for name in group if name_in_main(self._facts[name])
            )
        return Defined(
            (*before.definitions, *made),
            before.absent | self._absent,
            known,
            before.early or len(early),
        )

    def _groups(self) -> list[tuple[str, ...]]:
        """Return the units in an order in which they can be loaded; circles as one."""
        together = {name: (name,) for name in self._units}
        while True:
            graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {
                group: {
                    together[name]
                    for name in self._units[group[0]].held
                    if name in together and together[name] != group
                }
                for group in together.values()
            }
            try:
                return list(TopologicalSorter(graph).static_order())
            except CycleError as error:
                circle = tuple(sorted({name for group in error.args[1] for name in group}))
            seen = self._seen()
            packed = self._pack(circle, seen)
            needed = any(self._units[name].is_needed for name in circle)
            unit = _Unit(packed, seen.held - {*circle}, seen.names, set(), is_needed=needed)
            for name in circle:
                together[name], self._units[name] = circle, unit


def _shared(facts: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of data by ``id``: those that the script gave it before those of shells."""
    found: dict[int, str] = {}
    for name, value in facts.items():
        kind = type(value)
        if kind in _ALIKE or issubclass(kind, (type, ModuleType)) or name in OUR_FACTS:
            continue
        if found.get(id(value), "_").startswith("_"):
            found[id(value)] = name
    return found


def _is_flat(value: Any) -> bool:
    """Whether a value holds plain values alone: then nothing in it is another name's."""
    if type(value) is dict:
        return _is_flat(list(value)) and _is_flat(list(value.values()))
    if type(value) not in (list, tuple, set, frozenset):
        return type(value) in PLAIN_TYPES
    try:
        return PLAIN_TYPES.issuperset(map(type, value))
    except TypeError:  # a type that cannot be hashed
        return False
