"""The world of a process: all that it has from its client, but the items.

Modules, their globals, data files, the working folder, functions that were loaded.

A process belongs to one client and one world for life (see ``shipping.worlds``). So modules
are imported once, by Python's own importer, from a real folder; nothing is ever swapped.
What the client sends later only adds to it: the folder then is that of all together.

What a channel does with it, in this order:

    settle       once, when the client has come: the working folder
    fits         for each chunk: whether it can run in this process at all
    missing      for each chunk: which files to ask for before it can begin; any thread
    add, refuse  a file has come, or cannot be had; any thread
    enter        before each burst, in the main thread: what the function needs is in place
    load         the function itself; runs user code
    left_behind  between two chunks: the names of files that would be lost
    finish       once, at the end: finalizers
    close        once: files are removed

``missing`` and ``enter`` check that the bundle's files are still what they were: the folder
each time, every file once in ``LOOK`` seconds. Files that a cleaner has removed are sent again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from seppo.errors import ProtocolError, SetupError
from seppo.place import current_worker
from seppo.shipping.bundle import environment_here
from seppo.shipping.cache import despite_others
from seppo.shipping.folders import BundleCache, BundleFolder
from seppo.shipping.manifest import Manifest
from seppo.shipping.worlds import Union
from seppo.values import script
from seppo.values.content import Content
from seppo.values.outcome import Failure, is_for_us
from seppo.values.setup import Surroundings
from seppo.wire.lastgasp import FUNCTION, INITIALIZER, LastGasp
from seppo.wire.packed import Buffer
from seppo.worker.functions import Known
from seppo.worker.modules import Modules
from seppo.worker.workplace import Workplace

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two looks at all files of a bundle; 0.6 ms for 300 of them


class World:
    """All that one process has from its client. The module says when each method is called.

    Args:
        name: The worker's name.
        largest: The largest data file that is accepted, in bytes; None for any.
        cache: The bundles of this host; None for those in the user's cache directory.
    """

    def __init__(
        self, name: str = "worker", largest: int | None = None, cache: BundleCache | None = None
    ) -> None:
        self._name = name
        self._largest = largest
        self._cache = cache or BundleCache()
        self._lock = threading.RLock()
        self._union = Union()
        self._folders: list[BundleFolder] = []  # the newest first; all have loaded modules
        self._looked_at = float("-inf")
        self._broken: set[str] = set()  # digests of the files that were missing then
        self._entered: Known | None = None
        self._modules = Modules()
        self._workplace = Workplace(name, self._cache)
        self._begun: dict[bytes, Surroundings] = {}  # by what names it
        self._finalizers: list[Callable[[], object]] = []

    def settle(self, caller: dict[str, Any] | None, domain: str | None = None) -> None:
        """Change to the folder in which the client's functions work.

        Args:
            caller: Where the client runs: its ``domain`` and ``cwd``.
            domain: This process's domain; if it is the caller's, the caller's folder is used.
        """
        folder = None
        if caller is not None and domain and caller.get("domain") == domain:
            folder = str(caller.get("cwd"))
        try:
            self._workplace.settle(folder)
        except OSError as error:
            log.warning("there is no working folder: %s", error)

    # --- any thread

    def fits(self, known: Known) -> bool:
        """Whether a function's modules and files can be here beside those that there are.

        The client knows which world a function belongs to before it sends it. But it does not
        know what the items turn out to need, or the calls of an executor. Where they need
        another version of a module that is loaded here, only a fresh process can run them.
        """
        with self._lock:
            return known is self._entered or not self._union.contradiction(known.manifest)

    def missing(self, known: Known) -> tuple[bytes, ...]:
        """Return the digests of files that a function needs and that are not here."""
        manifest = known.manifest
        if known.problem is not None or not manifest.has_code:
            return ()
        if not self.fits(known) or self._refusal(manifest) is not None:
            return ()
        with self._lock:
            if self._union.has(manifest) and not self._lacks(manifest):
                return ()
            try:
                whole = self._union.manifest(manifest)
                folder = self._cache.find(whole)
                if folder is not None:
                    broken = folder.broken()
                    folder.close()
                    if not broken and self._broken.isdisjoint(manifest.sizes):
                        return ()
                return tuple(map(bytes.fromhex, self._cache.missing(manifest)))
            except OSError as error:
                known.refuse(_setup_failure("its files", str(error)))
                return ()

    def add(self, digest: bytes, content: Buffer) -> None:
        """Keep a file.

        Raises:
            ProtocolError: If it is another one than its digest says.
            OSError: If it cannot be written.
        """
        try:
            self._cache.add(digest.hex(), content)
        except ValueError as error:
            raise ProtocolError(f"a file of a bundle: {error}") from error

    def refuse(self, known: Known, what: str, reason: str) -> None:
        """Have a function fail the next time, since a file of its bundle cannot be had."""
        known.refuse(_setup_failure(what, reason))

    def differences(self, known: Known) -> dict[str, str]:
        """Return the versions here that are not those of a function's caller."""
        theirs = known.manifest.environment
        ours = environment_here(theirs)
        return {name: ours[name] for name in theirs if ours[name] != theirs[name]}

    # --- the main thread

    def enter(self, known: Known) -> bool:
        """Have in place what a function needs: its modules, their globals, its data files.

        Returns:
            False if files of it have to be sent again first: a cleaner has just removed them.
        """
        with self._lock:
            manifest, is_gone = known.manifest, self._workplace.is_gone
            if not (self._lacks(manifest) or is_gone) and known is self._entered:
                return True
            if known.problem is not None or self._refusal(manifest) is not None:
                return True
            try:
                despite_others(partial(self._enter, manifest))
            except OSError as error:
                known.refuse(_setup_failure("its files", str(error)))
                return True
            is_whole = not self._lacks(manifest)
            self._entered = known if is_whole else None
            return is_whole

    def _enter(self, manifest: Manifest) -> None:
        if manifest.has_code:
            self.activate(manifest)
        self._workplace.offer(manifest.data)
        self._workplace.go(any(not entry.package for entry in manifest.data))

    def activate(self, manifest: Manifest) -> None:
        """Add the modules and files of a manifest to the world, and set its globals.

        Raises:
            OSError: If its folder cannot be made.
        """
        if self._lacks(manifest) or not self._union.has(manifest):
            whole = self._union.manifest(manifest)
            folder = self._cache.make(whole)
            is_new = not self._folders or self._folders[0].path != folder.path
            if is_new:
                self._folders.insert(0, folder)
            else:  # it was repaired, and locked anew
                self._folders[0].close()
                self._folders[0] = folder
            for older in self._folders[1:]:
                older.mend()
            self._modules.lead_to(folder.code, whole)
            self._union.add(manifest)
            self._look()
        if manifest.data and not self._lacks(manifest):
            self._workplace.put(manifest.data, self._folders[0].data)
        self._modules.set_values(manifest.modules)

    def load(self, known: Known, mark: LastGasp | None = None) -> Callable[..., Any] | Failure:
        """Return a function, ready to be called; or why it is not. Runs user code.

        Args:
            known: The function.
            mark: Told what is done; None if nobody wants to know.
        """
        refusal = self._refusal(known.manifest)
        if refusal is None and known.problem is not None:
            refusal = known.take_problem()
        if refusal is not None:
            return refusal
        try:
            return self._load(known, (lambda stage: None) if mark is None else mark.enter)
        except BaseException as error:  # user code: any module may be imported
            if is_for_us(error):
                raise
            failure = Failure.of(error, skip=3)
            return replace(failure, ends_map=isinstance(error, SetupError))

    def _load(self, known: Known, say: Callable[[int], None]) -> Callable[..., Any]:
        """Return a function unpickled; before, its setup is done unless it was."""
        say(FUNCTION)
        content = known.open()
        around = None
        if content is not None:
            around = self._begin(content, say)
            say(FUNCTION)
        func = known.load()
        if around is not None:
            around.provide(func)
        return func

    def _begin(self, content: Content, say: Callable[[int], None]) -> Surroundings | None:
        """Do the setup of a function, its initializer say, unless it was done before."""
        if content.setup is None:
            return None
        around = self._begun.get(content.setup_key)
        if around is None:
            say(INITIALIZER)
            around = content.load_setup()
            rest = content.definitions[content.early :]
            script.call_early(partial(around.begin, current_worker() or "?"), rest)
            self._begun[content.setup_key] = around
            if around.finalizer is not None:
                self._finalizers.append(around.finalizer)
        return around

    def left_behind(self) -> list[str]:
        """Return the names of files that functions have left where they will be lost."""
        return self._workplace.left_behind()

    def finish(self) -> None:
        """Call the finalizers; the caller watches how long they take."""
        self._workplace.offer()  # nobody knows which maps they belong to
        while self._finalizers:
            self._finalize(self._finalizers.pop())

    def _finalize(self, finalizer: Callable[[], object]) -> None:
        try:
            finalizer()
        except BaseException as error:  # user code; nobody waits for it
            if is_for_us(error):
                raise
            log.warning("a finalizer has failed on worker %s", current_worker(), exc_info=True)

    def close(self) -> None:
        """Remove the files of this process alone, and unlock those that others may use."""
        self._workplace.close()
        for folder in self._folders:
            folder.close()

    # --- inside

    def _refusal(self, manifest: Manifest) -> Failure | None:
        """Return why a function cannot run on this host, now or later."""
        for entry in manifest.data:
            if self._largest is not None and entry.size > self._largest:
                reason = (
                    f"it has {entry.size} bytes, and this worker takes files of up to "
                    f"{self._largest}; start it with a larger --max-file-size"
                )
                return _setup_failure(f"the file {entry.path!r}", reason)
        return None

    def _lacks(self, manifest: Manifest) -> bool:
        """Whether files of a function that was entered are not what they were."""
        if not self._folders:
            return False
        if not self._folders[0].is_there:
            return True
        if time.monotonic() - self._looked_at >= LOOK:
            self._look()
            self._entered = None  # its own copies of data files are looked at, too
        return bool(self._broken) and not self._broken.isdisjoint(manifest.sizes)

    def _look(self) -> None:
        """Note which files are not what they were. Other functions may not need them."""
        self._looked_at = time.monotonic()
        self._broken = {digest for folder in self._folders for digest in folder.broken()}


def _setup_failure(what: str, reason: str) -> Failure:
    failure = Failure.of(SetupError(current_worker() or "?", what, reason))
    return replace(failure, ends_map=True)
