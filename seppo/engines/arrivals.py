"""Connections to hosts and workers, opened in threads of their own.

    discovery's threads: connect to a host      -->  queue  -->  the driver's thread
    connectors' threads: attach to a process    -->

The driver's thread is woken whenever something has arrived, and takes it out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from seppo.engines.connectors import Connectors
from seppo.engines.discovery import Discovery, HostArrival
from seppo.errors import ProtocolError, SecurityError, SeppoError
from seppo.place import caller_facts
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.wire.address import Address
from seppo.wire.codec import from_frame, to_parts
from seppo.wire.messages import Attach, Leased, Welcome
from seppo.wire.stream import Stream, Waker

ATTACH_SECONDS = 5.0  # for a process that was forked for us and need not be looked for
TOLD = 3  # refusals that an error tells; with a thousand workers they are all alike


@dataclass(frozen=True)
class WorkerArrival:
    """A leased process that has sent its greeting, or the reason why it has not.

    Attributes:
        lease: What its supervisor said.
        stream: The connection; None if there is none.
        sharing: Workers of the same name can map each other's memory; None if none can.
        error: Why there is no connection.
    """

    lease: Leased
    stream: Stream | None
    sharing: str | None = None
    error: Exception | None = None


class Arrivals:
    """Finds hosts, connects to them and to leased processes, and keeps what has arrived.

    Args:
        settings: Name server, group and time limits.

    Attributes:
        discovery: Looks for hosts.
        waker: Readable for a selector when something has arrived.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._credentials = Credentials(settings)
        self._connectors = Connectors()
        self._queue: SimpleQueue[HostArrival | WorkerArrival] = SimpleQueue()
        self._is_closed = False  # then what still arrives is let go
        self._known_lock = threading.Lock()
        # The hosts that are connected or have just arrived, by address: their names.
        self._known: dict[Address, str] = {}
        self.waker = Waker()
        self.discovery = Discovery(
            settings, self._credentials, self._connectors, self._on_host, self._is_known
        )

    # --- hosts

    @property
    def n_hosts(self) -> int:
        """Hosts connected or just arrived; from any thread."""
        with self._known_lock:
            return len(self._known)

    def find(self) -> bool:
        """Return whether there are hosts; look for some if none are known. From any thread.

        Raises:
            NameServerError: If the name server cannot be asked.
            ProtocolError: If there are hosts, but none that can work for us.
            SecurityError: If there are hosts, but none can prove that it has our key.
        """
        if self.n_hosts > 0:
            return True
        refusals = self.discovery.look_once()
        if self.n_hosts > 0:
            return True
        if refusals:
            raise _summary_of(refusals)
        return False

    def _is_known(self, address: Address) -> bool:
        with self._known_lock:
            return address in self._known

    def _on_host(self, arrival: HostArrival) -> None:
        with self._known_lock:
            self._known[arrival.address] = arrival.name
        self._arrive(arrival)

    def host_lost(self, host: str) -> None:
        """Take note that a host is not connected any more: discovery may find it again."""
        with self._known_lock:
            for address in [a for a, name in self._known.items() if name == host]:
                del self._known[address]

    # --- leased processes

    def attach(self, lease: Leased, env: dict[str, str]) -> None:
        """Have a process that was leased connected to; it arrives, or why it does not.

        Args:
            lease: Where it is.
            env: Environment variables that it is to get.
        """
        self._connectors.submit(partial(self._attach, lease, env))

    def _attach(self, lease: Leased, env: dict[str, str]) -> None:
        try:
            address = Address.parse(lease.address)
            sock = self._credentials.connect(address, ATTACH_SECONDS)
            try:
                stream = Stream(sock, self._settings.max_frame_bytes)
                stream.send(*to_parts(Attach(lease.token, {**caller_facts(), "env": env})))
                welcome = from_frame(stream.receive_one(ATTACH_SECONDS))
                if not isinstance(welcome, Welcome) or welcome.info.get("name") != lease.name:
                    raise ProtocolError("another process listens there")
            except BaseException:
                sock.close()
                raise
        except (OSError, EOFError, ProtocolError) as error:
            self._arrive(WorkerArrival(lease, None, error=error))
        except BaseException as error:  # the lease must not be waited for for ever
            self._arrive(WorkerArrival(lease, None, error=ConnectionError(repr(error))))
            raise
        else:
            sharing = welcome.info.get("sharing")
            sharing = sharing if isinstance(sharing, str) else None
            self._arrive(WorkerArrival(lease, stream, sharing))

    # --- the queue

    def _arrive(self, arrival: HostArrival | WorkerArrival) -> None:
        self._queue.put(arrival)
        self.waker.wake()
        if self._is_closed:
            self._let_go()

    def take(self) -> Iterator[HostArrival | WorkerArrival]:
        """Take out what has arrived; another thread may do the same."""
        with suppress(Empty):
            while True:
                yield self._queue.get_nowait()

    def close(self) -> None:
        """Let go of what has arrived and of what will."""
        self.discovery.set_active(False)
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        for arrival in self.take():
            if arrival.stream is not None:
                arrival.stream.close()


def _summary_of(refusals: Sequence[SeppoError]) -> SeppoError:
    """Return one error for all hosts that cannot be used."""
    kind = SecurityError if any(isinstance(e, SecurityError) for e in refusals) else ProtocolError
    more = len(refusals) - TOLD
    told = [*map(str, refusals[:TOLD]), *([f"and {more} more"] if more > 0 else [])]
    return kind("no worker can be used: " + "; ".join(told))
