"""Registration of a host with the name server, also when that starts later or restarts.

One thread registers what is new at once and looks every ``INTERVAL`` seconds whether
it is still there, as it was: anybody can put another entry in its place.
"""

from __future__ import annotations

import logging
import threading

from seppo.errors import NameServerError, SecurityError
from seppo.pyro.nameserver import Entry, NameServer
from seppo.settings import Settings
from seppo.trust.credentials import Credentials

log = logging.getLogger(__name__)

FAREWELL = 10.0  # seconds that the end may take, of a name server that is out of reach
LAST_TRIES = 2  # at the end; else an entry stays that others have to find out about
INTERVAL = 2.0  # seconds; registered again within 5 s is promised


class Registrar:
    """Registers the entries it is given until it is closed.

    Args:
        settings: Where the name server is.
        credentials: Certificates, for one off loopback.
    """

    def __init__(self, settings: Settings, credentials: Credentials | None = None) -> None:
        self._nameserver = NameServer(settings, credentials)
        self._wanted: dict[str, Entry] = {}
        self._unwanted: set[str] = set()
        self._registered: set[str] = set()
        self._lock = threading.Lock()  # guards the three above
        self._changed = threading.Event()
        self._settled = threading.Event()  # set while the name server knows what is wanted
        self._closing = False
        self._is_reachable = True
        self._thread = threading.Thread(target=self._run, name="seppo-registrar", daemon=True)

    def start(self) -> None:
        """Begin to register."""
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Keep this entry registered from now on."""
        with self._lock:
            self._wanted[entry.name] = entry
            self._unwanted.discard(entry.name)
            self._settled.clear()
        self._changed.set()

    def remove(self, name: str) -> None:
        """Take an entry out of the name server."""
        with self._lock:
            if self._wanted.pop(name, None) is not None:
                self._unwanted.add(name)
        self._changed.set()

    def wait_until_settled(self, timeout: float) -> bool:
        """Wait until the name server knows all entries; return whether it does."""
        return self._settled.wait(timeout)

    def close(self) -> None:
        """Take all entries out and end."""
        with self._lock:
            self._unwanted.update(self._wanted)
            self._wanted.clear()
            self._closing = True
        self._changed.set()
        self._thread.join(timeout=FAREWELL)

    def _run(self) -> None:
        tries = 0  # since it is being closed
        while True:
            self._changed.clear()
            closing = self._closing  # before agreeing: what was wanted last must be done
            tries += closing
            try:
                self._agree()
                if not self._is_reachable:
                    log.info("the name server at %s is back", self._nameserver.location)
                self._is_reachable = True
            except (NameServerError, SecurityError) as error:
                if self._is_reachable:
                    log.warning("%s; trying again every %g s", error, INTERVAL)
                self._is_reachable = False
                if 0 < tries < LAST_TRIES:
                    continue  # it may merely be slow
            except Exception:  # whatever a strange name server answers must not end this
                log.exception("no registration at %s", self._nameserver.location)
            if closing:
                return
            self._changed.wait(INTERVAL)

    def _agree(self) -> None:
        """Make the name server know what is wanted, and nothing else of ours."""
        with self._lock:
            wanted, unwanted = dict(self._wanted), set(self._unwanted)
        if not wanted and not unwanted:
            return
        for name in unwanted:
            self._nameserver.forget(name)
        for name, entry in wanted.items():
            if self._nameserver.get(name) != entry:
                self._nameserver.register(entry)
                verb = "registered again" if name in self._registered else "registered"
                log.info("%s: %s at %s", verb, name, self._nameserver.location)
                self._registered.add(name)
        with self._lock:
            self._unwanted -= unwanted
            if self._wanted.keys() <= wanted.keys():
                self._settled.set()
