"""The code that a worker has been sent: bundles, who uses them, and when they go.

    known function --> Place: the bundle's modules with their state, shared by all
                       functions of one bundle

A place is *in use* while a client's map uses a function of it. One that is not keeps its
modules and their state, for the next map with the same code, until

- its client uses another version of the same modules: then it goes at once;
- more than ``IDLE`` places are idle: then the one longest unused goes.

Data files go when no map uses the place any more, unless the caller wants them kept.
``tidy`` runs what is to be run then (finalizers), in the main thread, between two items.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from seppo.errors import ProtocolError, SetupError
from seppo.payload import importer
from seppo.payload.bundle import environment_here
from seppo.payload.folder import Folder
from seppo.payload.importer import ModuleSet
from seppo.payload.manifest import Manifest
from seppo.payload.outcome import Failure, is_for_us
from seppo.payload.place import current_worker
from seppo.payload.serialize import Buffer, load
from seppo.payload.setup import Equipped
from seppo.worker.functions import MOST_FUNCTIONS, Known

log = logging.getLogger(__name__)

IDLE = 4  # places that nobody uses and that are kept

_numbers = itertools.count()


@dataclass
class Session:
    """What an initializer has begun, and a finalizer will end.

    Attributes:
        finalizer: Called when no map uses any of the functions; None: it never ends.
        functions: The digests of the functions that rely on it.
    """

    finalizer: Callable[[], object] | None
    functions: set[bytes] = field(default_factory=set)


class Place:
    """What one bundle has become here.

    Attributes:
        number: Grows from place to place.
        manifests: The digests of the manifests that it serves: more than one if it has grown.
        modules: Its modules; None before they were needed.
        funcs: The functions that were loaded, by digest.
        sessions: What initializers have begun.
        clients: Who has used it.
        is_dropped: Whether it is of no use any more.
        has_data: Whether its data files are where they belong.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.number = next(_numbers)
        self.manifests = {manifest.digest}
        self.modules: ModuleSet | None = None
        self.funcs: dict[bytes, Callable[..., Any]] = {}
        self.sessions: dict[bytes, Session] = {}
        self.clients: set[object] = set()
        self.is_dropped = False
        self.has_data = False

    def is_rivalled_by(self, other: Place) -> bool:
        """Whether another place has another version of a module of this one."""
        ours = {entry.name: entry for entry in self.manifest.modules}
        return any(
            entry.name in ours and entry != ours[entry.name] for entry in other.manifest.modules
        )


class CodeStore:
    """All code of one worker. The main thread enters and tidies; any thread may do the rest.

    Args:
        name: The worker's name.
        largest: The largest data file that is accepted, in bytes; None for any.
    """

    def __init__(self, name: str = "worker", largest: int | None = None) -> None:
        self._folder = Folder(name)
        self._largest = largest
        self._lock = threading.RLock()
        self._places: OrderedDict[str, Place] = OrderedDict()  # least recently entered first
        self._known: dict[bytes, Known] = {}  # functions in use
        self._users: dict[bytes, set[object]] = {}
        self._is_untidy = False

    # --- any thread

    def read(self, known: Known) -> Manifest:
        """Return what a function's bundle consists of."""
        if known.manifest is None:
            known.manifest = Manifest.from_bytes(known.packed.manifest)
            for entry in known.manifest.data:
                if self._largest is not None and entry.size > self._largest:
                    reason = (
                        f"it has {entry.size} bytes, and this worker takes files of up to "
                        f"{self._largest}; start it with a larger --max-file-size"
                    )
                    known.problem = _setup_failure(f"the file {entry.path!r}", reason)
        return known.manifest

    def missing(self, known: Known) -> tuple[bytes, ...]:
        """Return the digests of files that a function needs and that are not here."""
        manifest = self.read(known)
        if known.problem is not None:
            return ()
        return tuple(bytes.fromhex(digest) for digest in self._folder.missing(manifest))

    def add(self, digest: bytes, content: Buffer) -> None:
        """Keep a file.

        Raises:
            ProtocolError: If it is another one than its digest says.
            OSError: If it cannot be written.
        """
        try:
            self._folder.add(digest.hex(), content)
        except ValueError as error:
            raise ProtocolError(f"a file of a bundle: {error}") from error

    def refuse(self, known: Known, what: str, reason: str) -> None:
        """Have a function fail, since a file of its bundle cannot be had."""
        known.problem = _setup_failure(what, reason)

    def differences(self, manifest: bytes) -> dict[str, str]:
        """Return the versions here that are not those of a function's caller."""
        theirs = Manifest.from_bytes(manifest).environment
        ours = environment_here(theirs)
        return {name: ours[name] for name in theirs if ours[name] != theirs[name]}

    def use(self, client: object, known: Known) -> None:
        """Say that a client's map uses a function."""
        with self._lock:
            digest = known.packed.digest
            self._known[digest] = known
            self._users.setdefault(digest, set()).add(client)

    def release(self, client: object, digest: bytes | None = None) -> None:
        """Say that a client's maps do not use a function any more; None for any function."""
        with self._lock:
            for one in [digest] if digest is not None else list(self._users):
                users = self._users.get(one)
                if users is not None:
                    users.discard(client)
            if digest is None:
                for place in self._places.values():
                    place.clients.discard(client)
            self._is_untidy = True

    # --- the main thread

    def enter(self, client: object, known: Known | None) -> None:
        """Make a function's bundle the one whose modules are imported."""
        manifest = self.read(known) if known is not None else Manifest()
        if known is None or known.problem is not None or not (manifest.modules or manifest.data):
            importer.enter(None)
            return
        place = known.place
        if place is None or place.is_dropped:
            place = known.place = self._place_for(manifest)
        if client not in place.clients or importer.entered() is not place.modules:
            with self._lock:
                place.clients.add(client)
                self._places.move_to_end(manifest.digest)
                self._is_untidy = True
        try:
            if place.modules is None:
                folder = self._folder.bundle(manifest, str(place.number))
                place.modules = ModuleSet(manifest, folder)
            elif manifest.data and not place.has_data:
                self._folder.put_data(manifest, place.modules.folder)
            place.has_data = True
        except OSError as error:
            known.problem = _setup_failure("its files", str(error))
            importer.enter(None)
            return
        importer.enter(place.modules)

    def _place_for(self, manifest: Manifest) -> Place:
        with self._lock:
            place = self._places.get(manifest.digest)
            if place is not None:
                return place
            before = self._places.get(manifest.grown_from)
            place = Place(manifest)
            if before is not None and not before.is_rivalled_by(place):
                place = before
                place.manifests.add(manifest.digest)
                place.manifest = manifest
                if place.modules is not None:
                    self._folder.bundle(manifest, place.modules.folder.name)
                    place.modules.extend(manifest)
            self._places[manifest.digest] = place
            return place

    def load(self, known: Known) -> Callable[..., Any] | Failure:
        """Return a function, ready to be called; or why it is not. Runs user code."""
        if known.problem is not None:
            problem, known.problem = known.problem, None  # the next map may do better
            return problem
        if known.place is None:
            known.place = Place(Manifest())  # its own
        place: Place = known.place
        digest = known.packed.digest
        known_func = place.funcs.get(digest)
        if known_func is not None:
            return known_func
        try:
            func: Any = load(known.packed.packed)
            if type(func) is Equipped:
                key = func.key or digest
                if key not in place.sessions:
                    func.begin(current_worker() or "?")
                    place.sessions[key] = Session(func.finalizer)
                else:
                    func.provide()
                place.sessions[key].functions.add(digest)
                func = func.func
        except BaseException as error:  # user code: any module may be imported
            if is_for_us(error):
                raise
            failure = Failure.of(error, skip=1)
            return replace(failure, ends_map=isinstance(error, SetupError))
        place.funcs[digest] = func
        while len(place.funcs) > MOST_FUNCTIONS:
            del place.funcs[next(iter(place.funcs))]
        return place.funcs[digest]

    def tidy(self, is_busy: Callable[[Known], bool]) -> None:
        """Do what is due now that maps are over.

        Args:
            is_busy: Whether a chunk of a function runs or waits.
        """
        if not self._is_untidy:
            return
        with self._lock:
            over = [known for digest, known in self._known.items() if not self._users.get(digest)]
            idle = [known for known in over if not is_busy(known)]
            self._is_untidy = len(idle) < len(over)
        for known in idle:
            self._finalize(known)
        with self._lock:
            for known in idle:
                digest = known.packed.digest
                if not self._users.get(digest):  # nobody has come meanwhile
                    self._users.pop(digest, None)
                    self._known.pop(digest, None)
            used = {id(known.place) for known in self._known.values()}
            free = [place for place in self._distinct_places() if id(place) not in used]
        for place in free:
            self._clean(place)
        for place in self._superfluous(free):
            self._drop(place)

    def _distinct_places(self) -> list[Place]:
        return list({id(place): place for place in self._places.values()}.values())

    def _finalize(self, known: Known) -> None:
        place, digest = known.place, known.packed.digest
        if place is None:
            return
        for key, session in list(place.sessions.items()):
            if session.finalizer is None or digest not in session.functions:
                continue
            with self._lock:
                if any(self._users.get(other) for other in session.functions):
                    continue
            # The next map begins anew.
            del place.sessions[key]
            for other in session.functions:
                place.funcs.pop(other, None)
            importer.enter(place.modules)
            try:
                session.finalizer()
            except BaseException as error:  # user code; nobody waits for it
                if is_for_us(error):
                    raise
                log.warning("a finalizer has failed on worker %s", current_worker(), exc_info=True)

    def _clean(self, place: Place) -> None:
        """Remove a place's data."""
        if place.modules is None or not place.manifest.cleanup or not place.has_data:
            return
        place.has_data = False
        if not place.manifest.data:
            return
        if importer.entered() is place.modules:
            importer.enter(None)
        self._folder.remove_data(place.manifest, place.modules.folder)
        code = {entry.digest for entry in place.manifest.modules}
        data = {entry.digest for entry in place.manifest.data}
        self._folder.drop(data - code - self._needed(place))

    def _needed(self, without: Place) -> set[str]:
        """Return the files of all other places, and of functions that are in use."""
        with self._lock:
            manifests = [p.manifest for p in self._distinct_places() if p is not without]
            manifests += [
                self.read(known) for known in self._known.values() if known.place is not without
            ]
        return {digest for manifest in manifests for digest in manifest.sizes}

    def _superfluous(self, free: list[Place]) -> list[Place]:
        """Return the places that nobody will come back to."""
        with self._lock:
            clients = {id(place): list(place.clients) for place in self._distinct_places()}
            newest: dict[object, Place] = {}
            for place in sorted(self._distinct_places(), key=lambda place: place.number):
                newest.update(dict.fromkeys(clients[id(place)], place))
        outdated = [
            place
            for place in free
            if clients[id(place)]
            and all(
                newest[client] is not place and place.is_rivalled_by(newest[client])
                for client in clients[id(place)]
            )
        ]
        rest = [place for place in free if place not in outdated]
        return outdated + rest[: max(0, len(rest) - IDLE)]

    def _drop(self, place: Place) -> None:
        if importer.entered() is place.modules:
            importer.enter(None)
        with self._lock:
            place.is_dropped = True
            for digest in place.manifests:
                self._places.pop(digest, None)
        self._folder.drop(set(place.manifest.sizes) - self._needed(place))
        place.funcs.clear()
        if place.modules is not None:
            place.modules.forget()
            shutil.rmtree(place.modules.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove all files: the process ends."""
        self._folder.remove()


def _setup_failure(what: str, reason: str) -> Failure:
    failure = Failure.of(SetupError(current_worker() or "?", what, reason))
    return replace(failure, ends_map=True)
