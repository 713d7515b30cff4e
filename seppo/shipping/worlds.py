"""Worlds: which code can share a process. Decides only, on both sides of the wire.

A *world* is an initializer with its arguments, and modules that do not contradict each
other. A process belongs to one world for life: what it has loaded it cannot load again in
another version. Globals that the caller has set do not count, since they are set in place.
"""

from __future__ import annotations

from dataclasses import replace

from seppo.shipping.manifest import DataEntry, Manifest, ModuleEntry


class Union:
    """What the manifests of one world consist of, taken together."""

    def __init__(self) -> None:
        self._modules: dict[str, ModuleEntry] = {}
        self._data: dict[tuple[str, str], DataEntry] = {}
        self._distributions: dict[str, str] = {}
        self._packages: set[str] = set()  # those with the files beside their modules

    def contradiction(self, manifest: Manifest) -> str:
        """Return what a manifest has otherwise, as a phrase; an empty text for nothing.

        A package with the files beside its modules is another version than without them: what
        is loaded looks for them where the package was then. Other names in ``depends=`` are no
        contradiction; but a folder is, that has lost a file or got another one.
        """
        bare = self._packages.difference(file.package for file in manifest.data)
        for entry in manifest.modules:
            have = self._modules.get(entry.name)
            if have is not None and _sort_of(have) != _sort_of(entry):
                return f"another version of the module {entry.name!r}"
            if entry.name in bare:
                return f"the package {entry.name!r} without the files beside it"
        for file in manifest.data:
            known = self._data.get((file.package, file.path))
            if known is None and file.package in self._modules:
                return f"the package {file.package!r} with the files beside it"
            if known not in (None, file):
                path = "/".join(filter(None, (file.package.replace(".", "/"), file.path)))
                return f"another version of the {'folder' if file.is_folder else 'file'} {path!r}"
        for name, version in manifest.distributions:
            if self._distributions.get(name, version) != version:
                return f"another version of the project {name!r}"
        return ""

    def has(self, manifest: Manifest) -> bool:
        """Whether a manifest that is no contradiction adds nothing."""
        return (
            all(entry.name in self._modules for entry in manifest.modules)
            and all((file.package, file.path) in self._data for file in manifest.data)
            and all(name in self._distributions for name, _ in manifest.distributions)
        )

    def add(self, manifest: Manifest) -> None:
        """Take in a manifest that is no contradiction."""
        for entry in manifest.modules:
            self._modules.setdefault(
                entry.name, replace(entry, values=()) if entry.values else entry
            )
        self._data.update(((file.package, file.path), file) for file in manifest.data)
        self._packages.update(file.package for file in manifest.data if file.package)
        self._distributions.update(manifest.distributions)

    def manifest(self, more: Manifest | None = None) -> Manifest:
        """Return all that the world has, and what one manifest more would add."""
        whole = self
        if more is not None:
            whole = Union()
            whole._modules, whole._data = dict(self._modules), dict(self._data)
            whole._distributions = dict(self._distributions)
            whole.add(more)
        return Manifest(
            tuple(whole._modules[name] for name in sorted(whole._modules)),
            tuple(whole._data[key] for key in sorted(whole._data)),
            tuple(sorted(whole._distributions.items())),
        )


def _sort_of(entry: ModuleEntry) -> tuple[str, bool, str]:
    return entry.kind, entry.is_package, entry.digest


class Worlds:
    """The worlds of one client, numbered from 1."""

    def __init__(self) -> None:
        self._worlds: dict[int, tuple[bytes | None, Union]] = {}
        self._last = 0

    def number_for(self, manifest: Manifest, setup: bytes | None = None) -> int:
        """Return the world that a function belongs to from now on.

        That is the newest one which it does not contradict, or else a new one.

        Args:
            manifest: What its bundle consists of.
            setup: What names its initializer and finalizer with their arguments; None: none.
        """
        for number, (its_setup, union) in reversed(self._worlds.items()):
            if its_setup == setup and not union.contradiction(manifest):
                union.add(manifest)
                return number
        self._last += 1
        union = Union()
        union.add(manifest)
        self._worlds[self._last] = setup, union
        return self._last

    def admits(self, number: int, manifest: Manifest) -> bool:
        """Whether a world can have this code, too; from then on it has."""
        _, union = self._worlds[number]
        if union.contradiction(manifest):
            return False
        union.add(manifest)
        return True

    def forget(self, number: int) -> None:
        """Say that a world is over: nobody will join it any more."""
        self._worlds.pop(number, None)
