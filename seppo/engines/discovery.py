"""Discovery of hosts: asks the name server, and connects to supervisors, in threads.

What the name server says is a hint: an entry counts once its supervisor has proved the key
and has greeted us, and then its greeting says what it is called, which group it serves and
how many places it has. Entries are tried side by side under a short limit, so that a dead
one delays nobody.
"""

from __future__ import annotations

import logging
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from seppo.engines.connectors import Connectors, start_thread
from seppo.errors import NameServerError, ProtocolError, SecurityError, SeppoError
from seppo.pyro.nameserver import Entry, NameServer
from seppo.pyro.proxy import attach, knock
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address
from seppo.wire.codec import from_frame
from seppo.wire.liveness import watch_closely
from seppo.wire.messages import Welcome
from seppo.wire.stream import Stream

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between looks while there are jobs; joining takes less than 2 s
LARGEST = 1 << 16  # bytes of a message from a supervisor
HELD_UP = 0.1  # seconds without any news, after which more threads connect
WAIT_FOR_ALL = 10.0  # seconds that the first call waits while entries have not been tried
SILENT = 5.0  # seconds until an address that did not answer in time is tried again
STRAGGLERS = 0.25  # seconds that the first call waits for more hosts after the first one


@dataclass(frozen=True)
class HostArrival:
    """A supervisor that has greeted us.

    Attributes:
        address: Where it was found, its Unix socket if it offers us one.
        name: What it calls itself.
        places: Processes that it may hold for us.
        is_draining: Whether it leases none any more.
        stream: The connection.
    """

    address: Address
    name: str
    places: int
    is_draining: bool
    stream: Stream


class Discovery:
    """Looks for the hosts of a group.

    Args:
        settings: Name server, group and time limits.
        credentials: What proves that we belong together.
        connectors: Threads that connect.
        on_arrival: Called in one of these threads for each host that greeted.
        is_known: Whether a host at this address is connected already.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        connectors: Connectors,
        on_arrival: Callable[[HostArrival], None],
        is_known: Callable[[Address], bool],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._connectors = connectors
        self._nameserver = NameServer(settings, credentials)
        self._on_arrival = on_arrival
        self._is_known = is_known
        self._changed = threading.Condition()  # guards the four below
        self._trying: set[Address] = set()
        self._refusals: dict[Address, SeppoError] = {}  # live, but not for us
        self._silent: dict[Address, float] = {}  # did not answer; when to try again
        self._has_ticker = False
        self._looked_at = float("-inf")  # when the name server was last asked
        self._is_active = False
        self._wanted = threading.Event()  # another look
        self._warned: set[str] = set()
        self._removed: set[tuple[str, Address]] = set()  # stale entries; once is enough

    def look_once(self) -> list[SeppoError]:
        """Find and connect; wait until a host is connected or none can be.

        Returns:
            Why those hosts that live cannot be used, when none is connected.

        Raises:
            NameServerError: If the name server cannot be asked.
            SecurityError: If it cannot prove that it belongs here.
        """
        entries = self._find()
        addresses = {entry.nearest for entry in entries}
        self._try(entries)
        began = time.monotonic()
        deadline = began + 2 * self._settings.connect_timeout  # to connect, and to be greeted
        with self._changed:
            while self._trying & addresses and self._connectors.is_working:
                now = time.monotonic()
                if any(map(self._is_known, addresses)):
                    deadline = min(deadline, now + STRAGGLERS)
                elif self._connectors.is_held_up:  # by dead peers: others have not been tried
                    longer = now + 2 * self._settings.connect_timeout
                    deadline = min(longer, began + WAIT_FOR_ALL)
                if deadline <= now:
                    break
                if not self._changed.wait(min(deadline - now, HELD_UP)):
                    self._connectors.hire_more()
            if any(map(self._is_known, addresses)):
                return []
            return [why for address, why in self._refusals.items() if address in addresses]

    def set_active(self, active: bool) -> None:
        """Look again and again, or not; once in any case, when the last look is old.

        So short maps with pauses between them find new hosts for the next one.
        """
        self._is_active = active
        if not active:
            return
        self._wanted.set()
        with self._changed:
            if not self._has_ticker:
                self._has_ticker = start_thread("seppo-discovery", self._tick)

    def _tick(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(max(0.0, self._looked_at + INTERVAL - time.monotonic()))
            self._wanted.clear()
            if self._is_active:
                self._wanted.set()
            try:
                self._try(self._find())
            except (NameServerError, SecurityError) as error:
                log.debug("%s", error)  # the hosts that are connected do without it

    def _find(self) -> list[Entry]:
        try:
            return self._nameserver.find_ours(self._settings.group)[0]
        finally:
            self._looked_at = time.monotonic()

    def _try(self, entries: Collection[Entry]) -> None:
        # In any order, lest false names that sort first are always first; but those last that
        # have kept us waiting before.
        entries = random.Random().sample(list(entries), len(entries))
        with self._changed:
            entries.sort(key=lambda entry: entry.nearest in self._silent)
            for entry in entries:
                if entry.nearest in self._trying or self._is_known(entry.nearest):
                    continue
                if self._silent.get(entry.nearest, 0.0) > time.monotonic():
                    continue
                self._trying.add(entry.nearest)
                self._connectors.submit(partial(self._try_one, entry))
            self._connectors.resume()
            found = {entry.nearest for entry in entries}
            for told in (self._silent, self._refusals):  # others are not registered any more
                for address in told.keys() - found:
                    del told[address]

    def _try_one(self, entry: Entry) -> None:
        refusal, is_silent, is_stale = None, False, False
        try:
            self._on_arrival(self._connect(entry))
        except (ProtocolError, SecurityError) as error:
            refusal = type(error)(f"{entry.name} at {entry.address}: {error}")
            self._warn_once(str(refusal))
        except TimeoutError as error:
            log.info("%s (%s): %s", entry.address, entry.name, error)
            is_silent = True
        except (OSError, EOFError) as error:
            log.info("no supervisor at %s (%s): %s", entry.address, entry.name, error)
            is_stale = _is_refusal(error)
            is_silent = not is_stale  # something else listens there
        finally:
            with self._changed:
                self._trying.discard(entry.nearest)
                self._refusals.pop(entry.nearest, None)
                if refusal is not None:
                    self._refusals[entry.nearest] = refusal
                if is_silent:
                    self._silent[entry.nearest] = time.monotonic() + SILENT
                self._changed.notify_all()
        if is_stale:
            self._remove(entry)

    def _connect(self, entry: Entry) -> HostArrival:
        timeout = self._settings.connect_timeout
        if not entry.speaks_our_protocol:
            knock(entry.address, timeout)  # one that is dead is none that refuses us
            raise ProtocolError(
                f"it speaks protocol {entry.facts.get('protocol', '?')}, this is "
                f"{PROTOCOL_VERSION}: install the same seppo on both sides"
            )
        sock = self._attach(entry, timeout)
        try:
            watch_closely(sock, self._settings.silence)
            stream = Stream(sock, LARGEST)
            info = _greeting(stream, timeout)
            _check_python(info)
            if info.get("group") != self._settings.group:
                raise ProtocolError(
                    f"its entry says group {self._settings.group!r}, and it serves another"
                )
            return HostArrival(entry.nearest, *_who(info), stream)
        except BaseException:
            sock.close()
            raise

    def _attach(self, entry: Entry, timeout: float) -> socket.socket:
        if entry.nearest != entry.address:
            try:
                return attach(self._credentials, entry.nearest, timeout)
            except OSError as error:  # of many kinds, a SecurityError among them
                log.info("%s is tried by TCP: %s", entry.name, error)
        return attach(self._credentials, entry.address, timeout)

    def _remove(self, entry: Entry) -> None:
        """Take an entry out of the name server: nobody listens at its address any more.

        Once only: should its host live, out of our reach, it registers itself again.
        """
        with self._changed:
            if (entry.name, entry.address) in self._removed:
                return
            self._removed.add((entry.name, entry.address))
        try:
            if self._nameserver.get(entry.name) == entry:
                self._nameserver.forget(entry.name)
                log.info("removed the entry of %s: nobody listens there", entry.name)
        except NameServerError as error:
            log.debug("%s", error)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("not used: %s", text)


def _is_refusal(error: BaseException | None) -> bool:
    """Whether an error came from a port on which nothing listens."""
    seen: list[BaseException] = []  # causes and contexts may lead round in a circle
    while error is not None and error not in seen:
        if isinstance(error, ConnectionRefusedError):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _greeting(stream: Stream, timeout: float) -> dict[str, Any]:
    """Return what a supervisor says of itself.

    Raises:
        OSError, EOFError: If what listens there is no supervisor of any seppo.
    """
    try:
        welcome = from_frame(stream.receive_one(timeout))
    except ProtocolError as error:
        raise ConnectionError(f"no supervisor listens there: {error}") from error
    if not isinstance(welcome, Welcome):
        raise ConnectionError("no supervisor listens there")
    return welcome.info


def _check_python(info: dict[str, Any]) -> None:
    python = str(info.get("python", "?"))
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not python.startswith(f"{ours}."):
        raise ProtocolError(
            f"it runs Python {python}, this is {ours}: functions cannot travel between "
            "minor versions of Python, start the worker with the same one"
        )


def _who(info: dict[str, Any]) -> tuple[str, int, bool]:
    """Return a supervisor's name, its places, and whether it drains."""
    name, places = info.get("supervisor"), info.get("places")
    if not isinstance(name, str) or not name or type(places) is not int or places < 1:
        raise ProtocolError("its greeting does not say who it is")
    return name, places, bool(info.get("draining"))
