"""The stand-in for the caller's ``__main__`` in a worker process.

What a script defines at top level travels once, as *definitions* under its names, and lives
in a module of ours that takes the place of ``__main__`` here: functions run in it, and all
else (items, results, other definitions) refers to it as ``__main__.Name``. So Python's own
pickle, type hints and forked processes find what they would find at the caller.

    definition of a name --> its key differs from that of the one in place --> loaded, bound
                             its key is the same --> left alone, with what items did to it

What came stays until the caller has something else under the name: counters that items
count, classes whose attributes they fill, models that they load.

In every other process ``__main__`` is what it is, and nothing is put into it.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from seppo import place
from seppo.errors import SerializationError

MAIN = "__main__"
# Names of every module that say what it is here: they do not travel.
OUR_FACTS = frozenset({"__name__", "__builtins__", "__loader__", "__spec__", "__cached__"})


@dataclass(frozen=True)
class Definition:
    """What one name of ``__main__`` stands for, or several that hold each other.

    Attributes:
        names: The names.
        key: A hash of the content, and of the definitions whose objects it holds.
        data: A pickle of the values, as one tuple.
        buffers: What belongs to it.
        is_needed: Whether nothing can run without it; others may fail, and be told when
            somebody wants them.
        problem: Why it could not be packed; empty if it was.
    """

    names: tuple[str, ...]
    key: bytes
    data: Any
    buffers: tuple[Any, ...] = ()
    is_needed: bool = True
    problem: str = ""


class _Main(ModuleType):
    """The module.

    Functions see ``__file__`` as the caller has it. Only ``multiprocessing`` asks the module
    for it, and has the processes that it spawns run that file, for what is unpickled there:
    it gets a file that defines the same as the module.
    """

    @property
    def __file__(self) -> str:  # type: ignore[override]
        if _here is None or not _here.definitions:
            raise AttributeError("this process has no definitions of the script")
        return _here.file()

    def __getattr__(self, name: str) -> Any:
        if _here is not None and name in _here.problems:
            # No AttributeError: pickle would replace its text.
            raise SerializationError(f"{name!r} of __main__", _here.problems[name])
        raise AttributeError(f"there is no {name!r} in __main__")


class StandIn:
    """A module in place of ``__main__``, and what is in it.

    Attributes:
        module: The module.
        keys: The keys of the definitions in place, by name.
        problems: Why there is nothing under a name that should be there.
        definitions: Those in place, in the order in which they came.
    """

    def __init__(self) -> None:
        self.module: ModuleType = _Main(MAIN)
        self.namespace = vars(self.module)
        self.namespace["__builtins__"] = builtins
        self.keys: dict[str, bytes] = {}
        self.problems: dict[str, str] = {}
        self.definitions: dict[tuple[str, ...], Definition] = {}
        self._last: object = None  # what was applied last
        self._files: list[Any] = []  # for spawned processes, while they are up to date

    def apply(self, definitions: Iterable[Definition], absent: Iterable[str] = ()) -> None:
        """Put definitions in place that are not there yet.

        Args:
            definitions: The definitions; each after those that it refers to.
            absent: Names that the caller uses and does not define (any more).

        Raises:
            Exception: Whatever unpickling them raises.
        """
        if definitions is self._last:
            return
        self._last = None
        for definition in definitions:
            if any(self.keys.get(name) != definition.key for name in definition.names):
                self._apply(definition)
        for name in absent:
            self.problems.pop(name, None)
            if self.keys.pop(name, None) is not None:
                self.namespace.pop(name, None)
        self._last = definitions

    def _apply(self, definition: Definition) -> None:
        names, problem = definition.names, definition.problem
        self.definitions.pop(names, None)
        self.definitions[names] = definition
        self._files.clear()
        if not problem:
            try:
                values = _load(definition, self.find)
            except Exception as error:  # user code
                if definition.is_needed:
                    raise
                problem = f"{type(error).__name__}: {error}"
            else:
                self.namespace.update(zip(names, values, strict=True))
        for name in names:
            if problem:
                self.namespace.pop(name, None)
                self.problems[name] = problem
            else:
                self.problems.pop(name, None)
                self.keys[name] = definition.key

    def adopt(self, definitions: Iterable[Definition], before: set[str]) -> None:
        """Leave what user code has bound since as it is, though the caller has something else.

        Args:
            definitions: Those that are to come.
            before: Names that were bound before.
        """
        for definition in definitions:
            for name in definition.names:
                if name in self.namespace and name not in before:
                    self.keys[name] = definition.key

    def file(self) -> str:
        """Return the path of a script that defines the same, as this process began with it."""
        if not self._files:
            told = [
                replace(made, data=bytes(made.data), buffers=tuple(map(bytes, made.buffers)))
                for made in self.definitions.values()
            ]
            data = _file_with(pickle.dumps(told))
            code = f"from {__name__} import restore\nrestore(globals(), {data.name!r})\n"
            self._files = [_file_with(code.encode()), data]
        path: str = self._files[0].name
        return path

    def find(self, name: str) -> Any:
        """Return what is under a name."""
        return self.namespace[name] if name in self.namespace else getattr(self.module, name)


class _Memory:
    """A file in memory, which other processes of the user can open."""

    def __init__(self, content: bytes) -> None:
        self._descriptor = os.memfd_create("seppo-main")
        self.name = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(content)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # user code may have closed all that it found
            os.close(self._descriptor)


def _file_with(content: bytes) -> Any:
    if hasattr(os, "memfd_create"):
        return _Memory(content)
    file = tempfile.NamedTemporaryFile(prefix="seppo-", suffix=".py")  # noqa: SIM115
    file.write(content)
    file.flush()
    return file


def restore(facts: dict[str, Any], path: str) -> None:
    """Define in a spawned process what the one that has spawned it was sent."""
    with open(path, "rb") as file:
        definitions = pickle.load(file)
    here = install()
    here.apply(definitions)
    facts.update({name: here.namespace[name] for name in here.keys})


_here: StandIn | None = None


def install() -> StandIn:
    """Have a module of ours stand in for ``__main__`` in this process, from now on."""
    global _here
    if _here is None:
        _here = StandIn()
    if sys.modules.get(MAIN) is not _here.module:
        sys.modules[MAIN] = _here.module
    return _here


def stand_in() -> StandIn | None:
    """Return what stands in for ``__main__``; None where that is the process's own."""
    return install() if place.is_worker_process() else _here


def namespace() -> dict[str, Any]:
    """Return the globals of ``__main__``."""
    here = stand_in()
    return here.namespace if here is not None else vars(sys.modules[MAIN])


def call_early(func: Callable[[], None], definitions: Iterable[Definition]) -> None:
    """Call what is to be done before definitions come; what it binds itself stays.

    Raises:
        Exception: Whatever it raises.
    """
    here = stand_in()
    before = set(here.namespace) if here is not None else set()
    func()
    if here is not None:
        here.adopt(definitions, before)


def provide(facts: dict[str, Any], values: dict[str, Any]) -> None:
    """Have functions with these globals find values under names that mean nothing there."""
    here = stand_in()
    taken = here.keys if here is not None and facts is here.namespace else facts
    facts.update({name: value for name, value in values.items() if name not in taken})


def is_ours(name: str) -> bool:
    """Whether a name of ``__main__`` means the same at the caller."""
    return _here is None or name in _here.keys


def enter(definitions: Iterable[Definition], absent: Iterable[str] = ()) -> None:
    """Put definitions in place in a worker process.

    Raises:
        Exception: Whatever unpickling them raises.
    """
    here = stand_in()
    if here is not None:
        here.apply(definitions, absent)


def load(packed: Any) -> Any:
    """Return what a pickle holds that may refer to data of ``__main__``."""
    here = stand_in()
    return _load(packed, here.find if here is not None else vars(sys.modules[MAIN]).__getitem__)


def _load(packed: Any, find: Callable[[str], Any]) -> Any:
    unpickler = pickle.Unpickler(io.BytesIO(packed.data), buffers=packed.buffers)
    unpickler.persistent_load = find  # type: ignore[method-assign]
    return unpickler.load()
