"""Bundles: the caller's own modules that a function needs, under a hash of their content.

    what the pickler has met   -->  closure over imports  -->  manifest  -->  the worker
    (functions, classes and         (modules of the            (names and     asks for files
    modules by reference,           caller's own only)         hashes)        that it lacks
    imports of code by value)

Functions and classes of the caller's modules are pickled by reference, since the worker
imports these modules from the bundle, under their own names. ``capture`` says what of a
module travels. A bundle also holds what ``depends=`` names.

Of packages, all modules that are loaded travel, since some are imported by computed
names. What is imported inside functions travels, too, loaded or not. Where code lists the
modules of packages (``pkgutil.iter_modules``, ``__path__``), all that there are travel.
"""

from __future__ import annotations

import os
import pkgutil
import platform
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType

from seppo.forks import renew_in_children
from seppo.place import level_of_caller
from seppo.shipping.bytecode import LISTED
from seppo.shipping.capture import Captured, capture, take_warnings
from seppo.shipping.manifest import DataEntry, Manifest, ModuleEntry
from seppo.shipping.origin import distribution_of, facts_of, find_quietly, is_standard
from seppo.shipping.projects import projects_of
from seppo.shipping.state import lost_of

REMEMBERED = 256  # closures
LOOK_SHARE = 0.01  # of the caller's time, at most, to look for what does not travel


@dataclass(frozen=True, eq=False)
class Bundle:
    """Code on its way to the workers.

    Attributes:
        manifest: What it consists of.
        contents: Its files by digest: bytes, or what returns them.
        seeds: The names of modules that it was made for.
        covered: Names of modules known to need nothing that it has not.
        differences: What nobody has told the caller yet: a worker, and the versions there that
            are not as in the manifest's environment.
    """

    manifest: Manifest = field(default_factory=Manifest)
    contents: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    seeds: frozenset[str] = frozenset()
    covered: set[str] = field(default_factory=set)
    differences: deque[tuple[str, dict[str, str]]] = field(default_factory=deque)

    def read(self, digest: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: If it cannot be read any more.
            KeyError: If there is no such file.
        """
        content = self.contents[digest]
        return content if isinstance(content, bytes) else content()

    def names(self) -> frozenset[str]:
        """Return the names of the modules."""
        return frozenset(entry.name for entry in self.manifest.modules)


@dataclass
class _Closure:
    """What a set of seeds led to, while no module comes or goes."""

    state: object
    captured: dict[str, Captured]
    environment: dict[str, str]
    bundle: Bundle
    look_at: float = 0.0  # when to look again at what the caller has set and does not travel
    projects: tuple[tuple[str, str], ...] = ()
    listed: dict[str, int] = field(default_factory=dict)  # folders of packages, and their times


_said: set[str] = set()  # what was set and does not travel, and the caller was told of
_closures: dict[frozenset[str], _Closure] = {}
_lock = threading.RLock()
renew_in_children(globals(), "_lock", threading.RLock)
_NOTHING = Bundle()


def bundle_for(
    seeds: Iterable[str], warn: bool = True, runs: Callable[[], Iterable[FunctionType]] = tuple
) -> Bundle:
    """Return the bundle of the modules with these names and of what they import.

    The same object as before while nothing has changed, which costs a look at each file's
    time and size.

    Args:
        seeds: Full names; those that are not the caller's own are left to the worker.
        warn: Whether this is the caller's thread, in which warnings may be raised.
        runs: Gives the functions that are known to run on the workers.
    """
    wanted = frozenset(seeds)
    if not wanted:
        return _NOTHING
    with _lock:
        known = _closures.get(wanted)
        state = modules_state()
        if known is not None and known.state == state and known.listed == _times(known.listed):
            captured = {name: capture(name) for name in known.captured}
            if all(
                new is not None and new.imports is known.captured[name].imports
                for name, new in captured.items()
            ):
                # arg-type: none of them is None, as was just seen.
                bundle = _updated(known, captured)  # type: ignore[arg-type]
                return _told(known, runs) if warn else bundle
        found, foreign, listed = _close(wanted)
        if known is None:
            known = _Closure(state, {}, {}, _NOTHING)
            _closures[wanted] = known
            while len(_closures) > REMEMBERED:
                del _closures[next(iter(_closures))]
        known.state, known.listed = state, listed
        known.environment = _environment(foreign) if foreign or found else {}
        origins = {one.entry.origin for one in found.values() if one.entry.origin}
        known.projects = projects_of(origins)
        bundle = _updated(known, found, wanted)
        return _told(known, runs) if warn else bundle


def _updated(
    known: _Closure, captured: dict[str, Captured], seeds: frozenset[str] | None = None
) -> Bundle:
    entries = tuple(captured[name].entry for name in sorted(captured))
    known.captured = captured
    if entries != known.bundle.manifest.modules or seeds is not None:
        manifest = Manifest(entries, (), known.projects, known.environment)
        before = known.bundle.manifest
        if manifest != before or known.environment != before.environment:
            contents: dict[str, bytes | Callable[[], bytes]] = {
                found.entry.digest: found.content
                for found in captured.values()
                if found.entry.digest
            }
            known.bundle = Bundle(manifest, contents, seeds or known.bundle.seeds)
    return known.bundle


def _told(known: _Closure, runs: Callable[[], Iterable[FunctionType]]) -> Bundle:
    """Return a bundle, and warn the caller of what it has to know."""
    texts = take_warnings()
    began = time.monotonic()
    if began >= known.look_at:
        spent = time.thread_time()
        texts += _lost(known, runs)
        known.look_at = began + (time.thread_time() - spent) / LOOK_SHARE
    for text in texts:
        warnings.warn(text, RuntimeWarning, stacklevel=level_of_caller())
    return known.bundle


def _lost(known: _Closure, runs: Callable[[], Iterable[FunctionType]]) -> Iterator[str]:
    """Give, once, what the caller has set in its modules and what does not travel."""
    states = [(name, found.state) for name, found in known.captured.items() if found.state]
    for name, why in lost_of(states, runs):
        if name not in _said:
            _said.add(name)
            yield (
                f"{name} was set after the import, and does not travel: {why}; set it on the "
                "workers with initializer=, or pass it to the function"
            )


def modules_state() -> tuple[int, str]:
    """Return what changes when a module comes or goes."""
    modules = sys.modules
    try:
        return len(modules), next(reversed(modules))
    except RuntimeError:  # another thread imports something right now
        return 0, ""


def grown(bundle: Bundle, seeds: set[str]) -> Bundle:
    """Return a bundle with what more modules need, and all that it has, unchanged.

    The same bundle if it has all that already.
    """
    if seeds <= bundle.covered:
        return bundle
    more = bundle_for(seeds | bundle.seeds, warn=False)
    have = bundle.names()
    added = tuple(entry for entry in more.manifest.modules if entry.name not in have)
    if not added:
        bundle.covered.update(seeds)
        return bundle
    entries = sorted((*bundle.manifest.modules, *added), key=lambda entry: entry.name)
    manifest = replace(
        bundle.manifest,
        modules=tuple(entries),
        distributions=_together(bundle.manifest, more.manifest),
        environment={**more.manifest.environment, **bundle.manifest.environment},
    )
    contents = {**more.contents, **bundle.contents}
    return Bundle(manifest, contents, bundle.seeds | seeds, set(seeds))


def _together(one: Manifest, other: Manifest) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**dict(other.distributions), **dict(one.distributions)}.items()))


def renewed(bundle: Bundle, seeds: Iterable[str]) -> Bundle:
    """Return the bundle for more modules, all as they are now; the same one if it is."""
    new = bundle_for(bundle.seeds.union(seeds))
    return bundle if new.manifest.digest == bundle.manifest.digest else new


def with_more(
    bundle: Bundle,
    modules: Iterable[ModuleEntry],
    data: Iterable[DataEntry],
    contents: dict[str, bytes | Callable[[], bytes]],
) -> Bundle:
    """Return a bundle with files that the caller names."""
    forced = tuple(modules)
    entries = {entry.name: entry for entry in (*forced, *bundle.manifest.modules)}
    environment = dict(bundle.manifest.environment)
    distributions = dict(bundle.manifest.distributions)
    for entry in forced:  # its distribution need not be there
        distribution = distribution_of(entry.name, entry.origin)
        if distribution is not None:
            environment.pop(distribution.name, None)
            distributions[distribution.name] = distribution.version
    manifest = replace(
        bundle.manifest,
        environment=environment,
        distributions=tuple(sorted(distributions.items())),
        modules=tuple(entries[name] for name in sorted(entries)),
        data=tuple(sorted(data, key=lambda entry: (entry.package, entry.path))),
    )
    return Bundle(manifest, {**contents, **bundle.contents}, bundle.seeds)


def _close(
    seeds: frozenset[str],
) -> tuple[dict[str, Captured], set[str], dict[str, int]]:
    """Return what the seeds lead to.

    Returns:
        The caller's own modules, the names of foreign ones, and the folders of packages whose
        modules were listed, with their times.
    """
    found: dict[str, Captured] = {}
    foreign: set[str] = set()
    seen: set[str] = set()
    tops: set[str] = set()
    unlisted: list[str] = []  # packages with a file: others may be anybody's folders
    listed: dict[str, int] = {}
    todo = list(seeds)
    while todo or (LISTED in seen and unlisted):
        if not todo:
            package = unlisted.pop()
            places = _folders_of(package)
            listed |= _times(places)
            todo += (f"{package}.{module.name}" for module in pkgutil.iter_modules(places))
            continue
        name = todo.pop()
        if name in seen or is_standard(name):
            continue
        seen.add(name)
        if name == LISTED:
            continue
        parent, _, attribute = name.rpartition(".")
        if parent and parent not in seen:
            todo += (name, parent)  # the parent first
            seen.discard(name)
            continue
        if parent and (parent not in found or _is_plain_attribute(parent, attribute)):
            if parent not in found:
                foreign.add(name.partition(".")[0])
            continue
        captured = capture(name)
        if captured is None:
            if not parent:
                foreign.add(name)
            continue
        found[name] = captured
        if captured.entry.is_package and captured.entry.digest:
            unlisted.append(name)
        todo += captured.imports
        top = _outermost(name, found)
        if top is not None and top not in tops:
            tops.add(top)
            prefix = top + "."
            todo += (other for other in list(sys.modules) if other.startswith(prefix))
    return found, foreign, listed


def _folders_of(package: str) -> list[str]:
    module = sys.modules.get(package)
    facts = facts_of(module) if module is not None else None
    if facts is not None:
        return list(facts.get("__path__", ()))
    spec = find_quietly(package)
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def _times(folders: Iterable[str]) -> dict[str, int]:
    """Return when files were last made or removed in these folders."""
    found = {}
    for folder in folders:
        try:
            found[folder] = os.stat(folder).st_mtime_ns
        except OSError:
            found[folder] = 0
    return found


def _is_plain_attribute(parent: str, name: str) -> bool:
    """Whether a loaded module has an attribute of this name that is no module."""
    if f"{parent}.{name}" in sys.modules:
        return False
    module = sys.modules.get(parent)
    facts = facts_of(module) if module is not None else None
    if facts is None:
        return False
    return "__path__" not in facts or (name in facts and facts_of(facts[name]) is None)


def _outermost(name: str, found: dict[str, Captured]) -> str | None:
    """Return the outermost package with a file that a module lies in, or is."""
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        prefix = ".".join(parts[:n])
        if prefix in found and found[prefix].entry.is_package and found[prefix].entry.digest:
            return prefix
    return None


def _environment(foreign: Iterable[str]) -> dict[str, str]:
    """Return the versions that matter: Python's, and of installed distributions."""
    found = dict(_platform())
    for name in sorted(foreign):
        module = sys.modules.get(name)
        facts = facts_of(module) if module is not None else None
        file = facts.get("__file__") if facts is not None else None
        if file is None:
            spec = find_quietly(name)
            file = spec.origin if spec is not None else None
        if isinstance(file, str):
            distribution = distribution_of(name, file)
            if distribution is not None:
                found[distribution.name] = distribution.version
    return found


@lru_cache(maxsize=1)
def _platform() -> tuple[tuple[str, str], ...]:
    return (
        ("python", platform.python_version()),
        ("platform", f"{sys.platform} {platform.machine()}"),
        ("cloudpickle", version("cloudpickle")),
    )


def environment_here(names: Iterable[str]) -> dict[str, str]:
    """Return the versions here of what an environment names; empty texts for what is missing."""
    found = dict(_platform())
    return found | {name: _version(name) for name in names if name not in found}


@lru_cache(maxsize=1024)
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
