"""References to this process's ``__main__``: what of it an object and its pickle need."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

from seppo.shipping.origin import facts_of, is_standard
from seppo.values.reductions import module_of
from seppo.values.script import MAIN


@dataclass
class Seen:
    """What pickles that go to a worker refer to.

    Attributes:
        modules: Names of modules.
        names: Names of ``__main__`` that are needed when what was pickled is used.
        held: Of these, the names of objects that the pickles refer to.
        hints: Names that only annotations need, should somebody resolve them.
        known: The classes and functions that the worker finds under names of ``__main__``.
    """

    modules: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    hints: set[str] = field(default_factory=set)
    known: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.modules or self.names)

    def clear(self) -> None:
        """Forget what was met."""
        for names in (self.modules, self.names, self.held, self.hints):
            names.clear()

    def hold(self, name: str) -> bool:
        """Take note that an object of ``__main__`` goes by its name; false if it must not."""
        facts = main_facts()
        if name in self.known and self.known[name] is not facts.get(name):
            return False  # the worker has an older one
        self.names.add(name)
        self.held.add(name)
        return True

    def note_module(self, name: Any) -> None:
        """Take note of what an object says is its module."""
        if type(name) is str:
            self.modules.add(name)

    def note_annotations(self, annotations: Any) -> None:
        """Take note of what annotations mention that are still texts."""
        for text in annotations.values() if type(annotations) is dict else ():
            if type(text) is str:
                self.hints.update(_hints(text))


def main_facts() -> dict[str, Any]:
    """Return the namespace of ``__main__``; an empty one where it is called something else.

    As in processes that ``multiprocessing`` has spawned.
    """
    facts = facts_of(sys.modules.get(MAIN)) or {}
    return facts if facts.get("__name__") == MAIN else {}


def name_in_main(obj: Any) -> str | None:
    """Return the name in ``__main__`` of an object, or of the class that it is found in."""
    if module_of(obj) != MAIN:
        return None
    qualname = getattr(obj, "__qualname__", None)
    if type(qualname) is not str:
        return None
    name, *inside = qualname.split(".")
    found = main_facts().get(name)
    for part in inside:
        found = getattr(found, part, None)
    return name if found is obj else None


def _hints(text: str) -> Iterator[str]:
    """Give the names in an annotation that are worth sending for its sake.

    Those that the script defines, and Python's own. To resolve all others the worker would
    have to import modules that it may not have, and that nothing else may need.
    """
    facts = main_facts()
    for name in _names_in(text):
        value = facts.get(name)
        if type(value) is ModuleType:
            module: Any = value.__name__
        elif isinstance(value, (type, FunctionType, typing.NewType)):
            module = module_of(value)
        elif value is not None:
            module = type(value).__module__  # ``Optional``, ``list[int] | None``
        else:
            continue
        if type(module) is str and (module == "builtins" or is_standard(module)):
            yield name


@lru_cache(maxsize=1024)
def _names_in(text: str) -> tuple[str, ...]:
    try:
        return compile(text, "", "eval").co_names
    except (SyntaxError, ValueError):
        return ()
