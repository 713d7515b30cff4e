"""Imports and global names of a piece of code, read from its bytecode."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

_OPS = {
    dis.opmap[name]: name
    for name in (
        "IMPORT_NAME", "LOAD_CONST", "LOAD_SMALL_INT", "STORE_NAME", "DELETE_NAME",
        "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD",
        "STORE_ATTR",
    )
    if name in dis.opmap
}  # fmt: skip
_EXTENDED = dis.opmap["EXTENDED_ARG"]
_STORE_ATTR = dis.opmap["STORE_ATTR"]
_IMPORT = dis.opmap["IMPORT_NAME"]
_GLOBAL = {dis.opmap["STORE_GLOBAL"], dis.opmap["DELETE_GLOBAL"]}
_LOOKS = frozenset({"LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL"})
# These keep a flag in the lowest bit.
_FLAGGED = {"LOAD_GLOBAL"} if sys.version_info >= (3, 11) else set()
_FLAGGED |= {"LOAD_ATTR"} if sys.version_info >= (3, 12) else set()

_NO_STEPS = frozenset({"PUSH_NULL", "PRECALL", "CACHE", "NOP", "EXTENDED_ARG"})

UNBOUND = object()  # in place of a constant

# Code that names one of these may bind whatever it likes.
_MAGIC = frozenset({"globals", "exec", "vars", "setattr", "__dict__", "modules"})
# Calls that import what a text names.
_IMPORTERS = frozenset({"import_module", "__import__"})
# Code that names one of these lists the modules of packages.
_LISTERS = frozenset({"iter_modules", "walk_packages", "__path__"})

LISTED = "*"  # in place of a module's name: all modules of the packages that are needed


def _instructions(code: CodeType) -> Iterator[tuple[str, Any]]:
    """Give name and argument of the instructions that matter here; others as empty names.

    Ten times as quick as ``dis.get_instructions``, and tables of constants are long.
    """
    raw, high = code.co_code, 0
    for op, low in zip(raw[::2], raw[1::2], strict=True):
        if op == _EXTENDED:
            high = (high | low) << 8
            continue
        name = _OPS.get(op)
        if name is None:
            yield "", None
        elif name == "LOAD_CONST":
            yield name, code.co_consts[high | low]
        elif name == "LOAD_SMALL_INT":
            yield "LOAD_CONST", high | low
        else:
            yield name, code.co_names[(high | low) >> (name in _FLAGGED)]
        high = 0


@lru_cache(maxsize=4096)
def imports_of(code: CodeType) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """Return every import in code, and in code inside it: (module, level, names).

    >>> imports_of(compile("from . import a, b; import c.d", "", "exec"))
    (('', 1, ('a', 'b')), ('c.d', 0, ()))
    """
    return tuple(dict.fromkeys(_imports(code)))


def _imports(code: CodeType) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    if _IMPORT in code.co_code[::2]:
        recent: list[Any] = [0, ()]
        for op, value in _instructions(code):
            if op == "IMPORT_NAME":
                level, names = recent
                yield (
                    value,
                    level if isinstance(level, int) else 0,
                    names if isinstance(names, tuple) else (),
                )
            elif op == "LOAD_CONST":
                recent = [recent[1], value]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _imports(constant)


def candidates(code: CodeType, package: str) -> tuple[str, ...]:
    """Return the full names of what may be modules among the imports of a piece of code.

    Those that it gives to ``importlib.import_module`` as they are count, too. ``LISTED`` is one
    of them if it lists the modules of packages.

    Args:
        code: The code.
        package: The package that relative imports start from.
    """
    found: dict[str, None] = {}
    for module, level, names in imports_of(code):
        base = module
        if level:
            start = package.rsplit(".", level - 1)[0] if level > 1 else package
            base = f"{start}.{module}" if module else start
        if not base:
            continue
        found[base] = None
        for name in names:
            found[f"{base}.{name}"] = None
    for text in _texts_to_import(code):
        level = len(text) - len(text.lstrip("."))
        if level and (not package or level > package.count(".") + 1):
            continue
        start = package.rsplit(".", level - 1)[0] + "." if level else ""
        found[start + text[level:]] = None
    if _lists_modules(code):
        found[LISTED] = None
    return tuple(found)


@lru_cache(maxsize=4096)
def _lists_modules(code: CodeType) -> bool:
    return not _LISTERS.isdisjoint(_all_names(code))


@lru_cache(maxsize=4096)
def _texts_to_import(code: CodeType) -> tuple[str, ...]:
    """Return constants that look like modules' names, in code that imports by such names.

    Some are none: whoever asks looks for modules of these names anyway.
    """
    found: dict[str, None] = {}
    if _IMPORTERS.intersection(code.co_names):
        for text in code.co_consts:
            if isinstance(text, str) and all(map(str.isidentifier, text.lstrip(".").split("."))):
                found[text] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.update(dict.fromkeys(_texts_to_import(constant)))
    return tuple(found)


@dataclass(frozen=True)
class Names:
    """What a module's own code does with its globals, or a class body with its names.

    Attributes:
        literals: Those that are bound once, at top level, to a constant; with the constant.
        bound: All that it binds; None if that cannot be told.
        setters: Those that functions set without a look at them before, with the constant
            that the top level binds them to (``UNBOUND`` if it does not), and the names of
            these functions.
        classes: The classes that are made at top level, by name.
    """

    literals: tuple[tuple[str, Any], ...] = ()
    bound: frozenset[str] | None = None
    setters: tuple[tuple[str, Any, frozenset[str]], ...] = ()
    classes: tuple[tuple[str, Names], ...] = ()


def names_of(code: CodeType) -> Names:
    """Return what a module's code does with its globals.

    >>> names_of(compile("A = 1; B = []; C = 2; C = 3", "", "exec")).literals
    (('A', 1),)
    """
    times: dict[str, int] = {}
    literals: dict[str, Any] = {}
    constant: list[Any] = []
    for op, value in _instructions(code):
        if op in ("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME"):
            times[value] = times.get(value, 0) + 1
            if constant:
                literals[value] = constant[0]
        constant = [value] if op == "LOAD_CONST" else []
    set_by = dict(_globals_inside(code))
    once = {
        name: value
        for name, value in literals.items()
        if times[name] == 1 and not name.startswith("__") and not isinstance(value, CodeType)
    }
    constants = tuple((name, value) for name, value in once.items() if name not in set_by)
    classes = tuple(
        (inner.co_name, names_of(inner)) for inner in _inside(code) if not _is_function(inner)
    )
    has_star = any("*" in names for _, _, names in imports_of(code))
    if has_star or _MAGIC & set(_all_names(code)):
        return Names(constants, classes=classes)
    setters = tuple(
        (name, once.get(name, UNBOUND), frozenset(setters))
        for name, setters in set_by.items()
        if setters and (name in once or name not in times)
    )
    return Names(constants, frozenset(times) | set(set_by), setters, classes)


def _globals_inside(code: CodeType) -> Iterator[tuple[str, set[str]]]:
    """Give the globals that functions in a piece of code bind, and the names of these.

    No names where one of them looks at the global before: that is a cache, or a counter.
    """
    found: dict[str, set[str] | None] = {}
    for function in _all_inside(code):
        if not _GLOBAL & set(function.co_code[::2]):
            continue
        first: dict[str, str] = {}
        bound = set()
        for op, value in _instructions(function):
            if op.endswith("_GLOBAL"):
                first.setdefault(value, op)
                if op != "LOAD_GLOBAL":
                    bound.add(value)
        for name in bound:
            known = found.setdefault(name, set())
            if known is not None and first[name] == "STORE_GLOBAL":
                known.add(function.co_name)
            else:
                found[name] = None
    for name, functions in found.items():
        yield name, functions or set()


def attributes_of(code: CodeType) -> dict[str, Any]:
    """Return the attributes that code sets; with the constant, for one set once and so.

    >>> attributes_of(compile("a.b = 1; a.c = d; a.e = 1; a.e = 2", "", "exec"))["b"]
    1
    """
    found: dict[str, Any] = {}
    for each in (code, *_all_inside(code)):
        if _STORE_ATTR not in each.co_code[::2]:
            continue
        recent: list[tuple[str, Any]] = [("", None)] * 2
        for op, value in _instructions(each):
            if op == "STORE_ATTR":
                is_constant = value not in found and recent[0][0] == "LOAD_CONST"
                found[value] = recent[0][1] if is_constant else UNBOUND
            recent = [recent[1], (op, value)]
    return found


def references_of(code: CodeType) -> frozenset[str]:
    """Return the names that code looks up, as a global or as an attribute.

    >>> sorted(references_of(compile("x = a.b; y = f()", "", "exec")))
    ['a', 'b', 'f']
    """
    found: set[str] = set()
    for each in (code, *_all_inside(code)):
        if _is_function(each):
            found.update(each.co_names)
        else:
            found.update(value for op, value in _instructions(each) if op in _LOOKS)
    return frozenset(found)


def made_without_arguments(code: CodeType) -> set[tuple[str, str]]:
    """Return the names that a module binds to what is called without arguments, and to what.

    >>> made_without_arguments(compile("a = B(); c = D(1)", "", "exec"))
    {('a', 'B')}
    """
    found = set()
    steps = [each for each in dis.get_instructions(code) if each.opname not in _NO_STEPS]
    for load, call, store in zip(steps, steps[1:], steps[2:], strict=False):
        is_call = call.opname.startswith("CALL") and not call.arg
        if load.opname == "LOAD_NAME" and is_call and store.opname == "STORE_NAME":
            found.add((store.argval, load.argval))
    return found


def _inside(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _all_inside(code: CodeType) -> Iterator[CodeType]:
    for constant in _inside(code):
        yield constant
        yield from _all_inside(constant)


def _is_function(code: CodeType) -> bool:
    """Whether code is a function's, not that of a module or the body of a class."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _all_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_names(constant)
