"""What a piece of code imports, and what it does with its globals, read from its bytecode."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

_OPS = {
    dis.opmap[name]: name
    for name in (
        "IMPORT_NAME", "LOAD_CONST", "LOAD_SMALL_INT", "STORE_NAME", "DELETE_NAME",
        "STORE_GLOBAL", "DELETE_GLOBAL",
    )
    if name in dis.opmap
}  # fmt: skip
_EXTENDED = dis.opmap["EXTENDED_ARG"]
_IMPORT = dis.opmap["IMPORT_NAME"]
_GLOBAL = {dis.opmap["STORE_GLOBAL"], dis.opmap["DELETE_GLOBAL"]}
# Code that names one of these may bind whatever it likes.
_MAGIC = frozenset({"globals", "exec", "vars", "setattr", "__dict__", "modules"})
# Calls that import what a text names.
_IMPORTERS = frozenset({"import_module", "__import__"})


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
            yield name, code.co_names[high | low]
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

    Those that it gives to ``importlib.import_module`` as they are count, too.

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
    return tuple(found)


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
    """What a module's own code does with its globals.

    Attributes:
        literals: Those that are bound once, at top level, to a constant; with the constant.
        bound: All that it binds; None if that cannot be told.
    """

    literals: tuple[tuple[str, Any], ...] = ()
    bound: frozenset[str] | None = None


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
    inside = set(_globals_inside(code))
    once = tuple(
        (name, value)
        for name, value in literals.items()
        if times[name] == 1
        and name not in inside
        and not name.startswith("__")
        and not isinstance(value, CodeType)
    )
    has_star = any("*" in names for _, _, names in imports_of(code))
    if has_star or _MAGIC & set(_all_names(code)):
        return Names(once)
    return Names(once, frozenset(times) | inside)


def _globals_inside(code: CodeType) -> Iterator[str]:
    """Give the globals that functions in a piece of code bind."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if _GLOBAL & set(constant.co_code[::2]):
                for op, value in _instructions(constant):
                    if op.endswith("_GLOBAL"):
                        yield value
            yield from _globals_inside(constant)


def _all_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_names(constant)
