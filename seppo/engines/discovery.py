"""Finding workers and connecting to them, in threads of its own.

What the name server says is a hint: an entry counts once its worker has greeted us and
speaks our protocol. Entries are tried side by side under a short limit, so that a dead
one delays nobody.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from seppo.engines.threads import start_thread
from seppo.errors import NameServerError, ProtocolError, SecurityError, SeppoError
from seppo.payload.protocol import PROTOCOL_VERSION, Welcome, from_frame
from seppo.settings import Settings
from seppo.transport.address import Address
from seppo.transport.credentials import Credentials
from seppo.transport.nameserver import Entry, NameServer
from seppo.transport.proxy import attach, knock
from seppo.transport.stream import Stream

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between looks while there are jobs; joining takes less than 2 s
CONNECTORS = 32  # threads that connect; a thousand workers on one host take well under 1 s
MOST_CONNECTORS = 256  # threads, when those that there are all wait for the dead
HELD_UP = 0.1  # seconds without any news, after which there are more of them
WAIT_FOR_ALL = 10.0  # seconds that the first call waits while entries have not been tried
SILENT = 5.0  # seconds until an address that did not answer in time is tried again
STRAGGLERS = 0.25  # seconds that the first call waits for more workers after the first one


@dataclass(frozen=True)
class Arrival:
    """A worker that has greeted us."""

    name: str
    address: Address
    stream: Stream
    facts: dict[str, Any]


class Discovery:
    """Looks for the workers of a group.

    Args:
        settings: Name server, group and time limits.
        on_arrival: Called in one of our threads for each worker that greeted.
        is_known: Whether a worker at this address is connected already.
    """

    def __init__(
        self,
        settings: Settings,
        on_arrival: Callable[[Arrival], None],
        is_known: Callable[[Address], bool],
    ) -> None:
        self._settings = settings
        self._credentials = Credentials(settings)
        self._nameserver = NameServer(settings, self._credentials)
        self._on_arrival = on_arrival
        self._is_known = is_known
        self._changed = threading.Condition()  # guards the five below
        self._trying: set[Address] = set()
        self._refusals: dict[Address, SeppoError] = {}  # live, but not for us
        self._silent: dict[Address, float] = {}  # did not answer; when to try again
        self._n_connectors = 0
        self._has_ticker = False
        self._looked_at = float("-inf")  # when the name server was last asked
        self._entries: SimpleQueue[Entry] = SimpleQueue()
        self._is_active = False
        self._wanted = threading.Event()  # another look
        self._warned: set[str] = set()
        self._removed: set[tuple[str, Address]] = set()  # stale entries; once is enough

    @property
    def location(self) -> str:
        """Where the name server is, for messages."""
        return self._nameserver.location

    def look_once(self) -> list[SeppoError]:
        """Find and connect, and wait until somebody is there or nobody can be.

        Returns:
            Why those workers that live cannot be used, when no worker is connected.

        Raises:
            NameServerError: If the name server cannot be asked.
            SecurityError: If it cannot prove that it belongs here.
        """
        entries = self._find()
        addresses = {entry.address for entry in entries}
        self._try(entries)
        began = time.monotonic()
        deadline = began + 2 * self._settings.connect_timeout  # to connect, and to be greeted
        with self._changed:
            while self._trying & addresses and self._n_connectors:
                now = time.monotonic()
                if any(map(self._is_known, addresses)):
                    deadline = min(deadline, now + STRAGGLERS)
                elif not self._entries.empty():  # the dead hold us up: it is nobody's fault
                    longer = now + 2 * self._settings.connect_timeout
                    deadline = min(longer, began + WAIT_FOR_ALL)
                if deadline <= now:
                    break
                if not self._changed.wait(min(deadline - now, HELD_UP)):
                    self._hire(CONNECTORS)
            if any(map(self._is_known, addresses)):
                return []
            return [why for address, why in self._refusals.items() if address in addresses]

    def set_active(self, active: bool) -> None:
        """Look again and again, or not; once in any case, when the last look is old.

        So short maps with pauses between them find new workers for the next one.
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
                log.debug("%s", error)  # the workers that are connected do without it

    def _find(self) -> list[Entry]:
        try:
            return self._nameserver.find(self._settings.group)
        finally:
            self._looked_at = time.monotonic()

    def _try(self, entries: Collection[Entry]) -> None:
        # In any order, lest false names that sort first are always first; but those last that
        # have kept us waiting before.
        entries = random.Random().sample(list(entries), len(entries))
        with self._changed:
            entries.sort(key=lambda entry: entry.address in self._silent)
            for entry in entries:
                if entry.address in self._trying or self._is_known(entry.address):
                    continue
                if self._silent.get(entry.address, 0.0) > time.monotonic():
                    continue
                self._trying.add(entry.address)
                self._entries.put(entry)
            self._hire(min(CONNECTORS, len(self._trying)) - self._n_connectors)
            found = {entry.address for entry in entries}
            for told in (self._silent, self._refusals):  # of others nobody wants to know
                for address in told.keys() - found:
                    del told[address]

    def _hire(self, n_wanted: int) -> None:
        """Have more threads connect, if there is anything to do for them."""
        room = MOST_CONNECTORS - self._n_connectors
        for _ in range(min(n_wanted, room, self._entries.qsize())):
            if not start_thread("seppo-connect", self._connect_all):
                break  # what waits is tried when one starts again
            self._n_connectors += 1

    def _connect_all(self) -> None:
        """Connect to entries as long as there are any."""
        while True:
            with self._changed:
                if self._entries.empty():
                    self._n_connectors -= 1
                    return
                entry = self._entries.get()
            refusal, is_stale = None, False
            try:
                self._on_arrival(self._connect(entry))
            except (ProtocolError, SecurityError) as error:
                refusal = type(error)(f"{entry.name} at {entry.address}: {error}")
                self._warn_once(str(refusal))
            except TimeoutError as error:
                log.info("%s (%s): %s", entry.address, entry.name, error)
                with self._changed:
                    self._silent[entry.address] = time.monotonic() + SILENT
            except (OSError, EOFError) as error:
                log.info("no worker at %s (%s): %s", entry.address, entry.name, error)
                is_stale = _is_refusal(error)
                if not is_stale:  # something else listens there
                    with self._changed:
                        self._silent[entry.address] = time.monotonic() + SILENT
            except Exception:  # whatever a strange peer answers must not end the thread
                log.exception("connecting to %s", entry.address)
            finally:
                with self._changed:
                    self._trying.discard(entry.address)
                    self._refusals.pop(entry.address, None)
                    if refusal is not None:
                        self._refusals[entry.address] = refusal
                    self._changed.notify_all()
            if is_stale:
                self._remove(entry)

    def _connect(self, entry: Entry) -> Arrival:
        timeout = self._settings.connect_timeout
        if not entry.speaks_our_protocol:
            knock(entry.address, timeout)  # one that is dead is none that refuses us
            raise ProtocolError(
                f"it speaks protocol {entry.facts.get('protocol', '?')}, this is "
                f"{PROTOCOL_VERSION}: install the same seppo on both sides"
            )
        sock = attach(self._credentials, entry.address, timeout)
        try:
            stream = Stream(sock, self._settings.max_frame_bytes)
            welcome = _greeting(stream, timeout)
            python = str(welcome.info.get("python", "?"))
            ours = f"{sys.version_info.major}.{sys.version_info.minor}"
            if not python.startswith(f"{ours}."):
                raise ProtocolError(
                    f"it runs Python {python}, this is {ours}: functions cannot travel between "
                    "minor versions of Python, start the worker with the same one"
                )
        except BaseException:
            sock.close()
            raise
        return Arrival(entry.name, entry.address, stream, welcome.info)

    def _remove(self, entry: Entry) -> None:
        """Take an entry out of the name server: nobody listens at its address any more.

        Once only: should its worker live, out of our reach, it registers itself again.
        """
        with self._changed:
            if (entry.name, entry.address) in self._removed:
                return
            self._removed.add((entry.name, entry.address))
        try:
            entries = self._nameserver.find(self._settings.group)
            if any((e.name, e.address) == (entry.name, entry.address) for e in entries):
                self._nameserver.forget(entry.name)
                log.info("removed the entry of %s: nobody listens there", entry.name)
        except NameServerError as error:
            log.debug("%s", error)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("not used: %s", text)


def _is_refusal(error: BaseException | None) -> bool:
    """Whether an error came of a port on which nobody listens."""
    seen: list[BaseException] = []  # causes and contexts may lead round in a circle
    while error is not None and error not in seen:
        if isinstance(error, ConnectionRefusedError):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _greeting(stream: Stream, timeout: float) -> Welcome:
    """Return the greeting of a worker.

    Raises:
        OSError, EOFError: If whoever listens there is no worker of any seppo.
    """
    try:
        welcome = from_frame(stream.receive_one(timeout))
    except ProtocolError as error:
        raise ConnectionError(f"no worker listens there: {error}") from error
    if not isinstance(welcome, Welcome):
        raise ConnectionError("no worker listens there")
    return welcome
