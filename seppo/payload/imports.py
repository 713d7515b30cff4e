"""What a piece of code imports, read from its bytecode."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

_HAS_ARGUMENT = dis.opmap["IMPORT_NAME"]


@lru_cache(maxsize=4096)
def imports_of(code: CodeType) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
    """Return every import in code, and in code inside it: (module, level, names).

    >>> imports_of(compile("from . import a, b; import c.d", "", "exec"))
    (('', 1, ('a', 'b')), ('c.d', 0, ()))
    """
    return tuple(dict.fromkeys(_imports(code)))


def _imports(code: CodeType) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    if _HAS_ARGUMENT in code.co_code[::2]:
        recent: list[object] = []
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME":
                level, names = recent[-2:]
                yield (
                    str(instruction.argval),
                    level if isinstance(level, int) else 0,
                    names if isinstance(names, tuple) else (),
                )
            elif instruction.opname.startswith("LOAD_"):
                recent.append(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _imports(constant)


def candidates(code: CodeType, package: str) -> tuple[str, ...]:
    """Return the full names of what may be modules among the imports of a piece of code.

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
    return tuple(found)
