"""The source of a module as it was loaded, which is not always what lies in its file.

Python does not keep the source that it has loaded. When a module is first needed, its file
may have been edited already. Then:

- A file whose inode has not changed since this process began is what was loaded.
- Otherwise the source is compiled and compared with the functions that the module has. If
  they agree, and the bytecode cache does not say that an older version was imported, the
  source is what was loaded.
- Otherwise the bytecode cache is, if it agrees with the functions: it travels instead of the
  source, and a warning says that the file has changed.
- Otherwise what was loaded is lost. The file travels as it is, and the warning says so.

The limit: an edit of nothing but module-level statements, between the import and the first
map, in a process that writes no bytecode caches, is not noticed and travels.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from seppo.shipping.manifest import CODE, SOURCE

HEADER = 16  # bytes before the code in a file of bytecode


def _process_began() -> int:
    """Return when this process began, in nanoseconds of the file system's clock; 0: unknown."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return 0  # then every source is compared
    # File systems stamp with a coarse clock, a few milliseconds behind.
    return time.time_ns() - int(age * 1e9) - 20_000_000


PROCESS_BEGAN = _process_began()


def read_loaded(
    name: str, module: ModuleType | None, facts: dict[str, Any], file: str
) -> tuple[bytes | None, str, str]:
    """Return a module's content, its kind, and what the caller should know."""
    loader = facts.get("__loader__")
    if file.endswith(".pyc"):
        code = _cached_code(file)[0]
        return (_as_file(code) if code is not None else None), CODE, ""
    try:
        with open(file, "rb") as source:
            changed = os.fstat(source.fileno()).st_ctime_ns
            content = source.read()
    except OSError:
        return _from_loader(name, loader), SOURCE, ""
    if module is None or type(loader) is not SourceFileLoader or changed < PROCESS_BEGAN:
        return content, SOURCE, ""
    try:
        agrees = _agrees(facts, compile(content, file, "exec", dont_inherit=True))
    except (SyntaxError, ValueError):  # half saved
        agrees = False
    cached, is_current = _cached_code(str(facts.get("__cached__") or ""), file)
    if cached is not None and (is_current or not _agrees(facts, cached)):
        cached = None
    if cached is not None and not (agrees and sys.dont_write_bytecode):
        return _as_file(cached), CODE, edited_text(name, file)
    if agrees:
        return content, SOURCE, ""
    lost = edited_text(name, file).partition(";")[0]
    return content, SOURCE, f"{lost}, and what was loaded is lost: the workers run the file"


def edited_text(name: str, file: str) -> str:
    """Return what to tell the caller of a file that is not what was loaded."""
    return (
        f"{file} has changed since module {name!r} was loaded; the workers run what was "
        "loaded, as this process does, until it is loaded again"
    )


def _from_loader(name: str, loader: Any) -> bytes | None:
    """Return the source of a module that is not a plain file, say in a zip archive."""
    try:
        source = loader.get_source(name)
    except Exception:  # whatever loaders there are
        return None
    return source.encode() if isinstance(source, str) else None


def _as_file(code: CodeType) -> bytes:
    """Return code as a file that Python imports without its source."""
    return importlib.util.MAGIC_NUMBER + bytes(HEADER - 4) + marshal.dumps(code)


def code_of(content: bytes, kind: str, file: str, cache: str) -> CodeType | None:
    """Return the code of a module's content, from the bytecode cache if that is current."""
    if kind == CODE:
        code = marshal.loads(content[HEADER:])
        return code if isinstance(code, CodeType) else None
    cached, is_current = _cached_code(cache, file) if cache else (None, False)
    if is_current:
        return cached  # quicker than to compile it
    try:
        return compile(content, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def _cached_code(path: str, source: str = "") -> tuple[CodeType | None, bool]:
    """Return the code in a bytecode cache, and whether it is of the source as it is now."""
    try:
        data = Path(path).read_bytes()
        if data[:4] != importlib.util.MAGIC_NUMBER:
            return None, False
        code = marshal.loads(data[HEADER:])
        if not isinstance(code, CodeType):
            return None, False
        if not source:
            return code, True
        if int.from_bytes(data[4:8], "little"):  # it goes by a hash, not by time
            hashed = importlib.util.source_hash(Path(source).read_bytes())
            return code, data[8:16] == hashed
        now = os.stat(source)
    except (OSError, EOFError, ValueError, TypeError):
        return None, False
    mtime, size = int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF
    return code, data[8:16] == mtime.to_bytes(4, "little") + size.to_bytes(4, "little")


def _agrees(facts: dict[str, Any], code: CodeType) -> bool:
    """Whether a module's functions are those that a piece of code would make."""
    made = set(_nested(code))
    return all(loaded in made for loaded in _loaded_codes(facts, code.co_filename))


def _nested(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested(constant)


def _loaded_codes(facts: dict[str, Any], filename: str) -> Iterator[CodeType]:
    for value in list(facts.values()):
        found = [value]
        # By true types throughout: many an object does something when it is looked at.
        if issubclass(type(value), type) and value.__module__ == facts.get("__name__"):
            found = list(vars(value).values())
        for function in found:
            if type(function) in (staticmethod, classmethod):
                function = function.__func__
            if type(function) is property:
                function = function.fget
            if (
                type(function) is FunctionType
                and function.__globals__ is facts
                and function.__code__.co_filename in (filename, facts.get("__file__"))
            ):
                yield function.__code__
