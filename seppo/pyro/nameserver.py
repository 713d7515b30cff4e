"""Registering, finding and forgetting workers in the Pyro5 name server.

Every call opens a connection of its own and closes it again: a plain ``pyro5-ns`` serves
80 connections at a time, and a worker that kept one would lock others out. Nothing is
ever broadcast, so that a missing name server is known at once.

A name server is not trusted: its entries are hints, parsed strictly, and whoever is found
under one still has to prove the shared key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from seppo.errors import NameServerError, ProtocolError, SecurityError
from seppo.place import user_domain
from seppo.pyro.proxy import ask_nameserver
from seppo.settings import Settings
from seppo.trust.credentials import Credentials
from seppo.version import PROTOCOL_VERSION
from seppo.wire.address import Address

log = logging.getLogger(__name__)

PYRO_NAME = "Pyro.NameServer"
SUPERVISOR = "seppo.supervisor"  # the object that every host publishes
MARK = "seppo"  # the metadata tag that every entry of ours carries


MOST_WARNINGS = 20  # of entries that make no sense, once each; anybody can make more


@dataclass(frozen=True)
class Entry:
    """A host as the name server knows it: a hint, not a fact.

    Attributes:
        name: The name it is registered under.
        address: Where it says it listens.
        facts: What it says of itself: group, host, pid, python, places, protocol, key, and, if
            it has a Unix socket, machine and unix.
    """

    name: str
    address: Address
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def speaks_our_protocol(self) -> bool:
        """Whether it claims the same protocol version."""
        return self.facts.get("protocol") == str(PROTOCOL_VERSION)

    @cached_property
    def nearest(self) -> Address:
        """The address to try first: on our own machine, a Unix socket of our own user's."""
        if self.facts.get("machine") == user_domain() and "unix" in self.facts:
            with suppress(ProtocolError):
                local = Address.parse(f"PYRO:{SUPERVISOR}@{self.facts['unix']}")
                return local if local.path else self.address
        return self.address


class NameServer:
    """The name server that the settings name.

    Args:
        settings: Where it is.
        credentials: Certificates, for one off loopback; None for those of the settings.
    """

    def __init__(self, settings: Settings, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials(settings)
        self._address = Address(PYRO_NAME, settings.ns_host, settings.ns_port)
        self._timeout = settings.connect_timeout
        self._warned: set[str] = set()

    @property
    def location(self) -> str:
        """``host:port``, or ``./u:path``, for messages."""
        return self._address.location

    def register(self, entry: Entry) -> None:
        """Make the entry known, in place of an older one of the same name.

        Raises:
            NameServerError: If the name server cannot be asked.
        """
        tags = [MARK, *(f"seppo.{key}={value}" for key, value in entry.facts.items())]
        self._call("register", entry.name, str(entry.address), False, tags)

    def forget(self, name: str) -> None:
        """Remove an entry, if it is there.

        Raises:
            NameServerError: If the name server cannot be asked.
        """
        self._call("remove", name)

    def find(self, group: str | None = None) -> list[Entry]:
        """Return the workers of a group, or all, by name; entries that make no sense are left out.

        Raises:
            NameServerError: If the name server cannot be asked.
        """
        tags = [MARK] if group is None else [MARK, f"seppo.group={group}"]
        answer = self._call("yplookup", tags, None, True)
        if not isinstance(answer, dict):
            raise NameServerError(self.location, "its answer is no list of workers")
        entries = []
        for name, value in sorted(answer.items()):
            try:
                uri, metadata = value
                entries.append(_entry(name, uri, metadata))
            except (ProtocolError, TypeError, ValueError) as error:
                if name not in self._warned and len(self._warned) < MOST_WARNINGS:
                    self._warned.add(name)
                    log.warning("ignoring the name server's entry %.100r: %s", name, error)
        return entries

    def find_ours(self, group: str | None = None) -> tuple[list[Entry], int]:
        """Return the hosts that say they hold our key, and how many say that of another.

        Users of one name server so do not see each other. What a host says is no proof.

        Raises:
            NameServerError: If the name server cannot be asked.
            SecurityError: If there are hosts, and our own key cannot be had.
        """
        entries = self.find(group)
        if not entries:
            return [], 0  # no key is made before somebody is there who may have it
        ours = self._credentials.key.fingerprint
        found = [entry for entry in entries if entry.facts.get("key") == ours]
        return found, len(entries) - len(found)

    def get(self, name: str) -> Entry | None:
        """Return one entry, or None if there is none of this name that makes sense.

        Raises:
            NameServerError: If the name server cannot be asked.
        """
        answer = self._call("list", name, None, True)
        try:
            return _entry(name, *answer[name])
        except (KeyError, ProtocolError, TypeError, ValueError):
            return None

    def names(self) -> set[str]:
        """Return the names of all our entries.

        Raises:
            NameServerError: If the name server cannot be asked.
        """
        answer = self._call("yplookup", [MARK], None, False)
        if not isinstance(answer, dict):
            raise NameServerError(self.location, "its answer is no list of workers")
        return set(answer)

    def _call(self, method: str, *args: Any) -> Any:
        try:
            return ask_nameserver(
                self._credentials, self._address, method, *args, timeout=self._timeout
            )
        except SecurityError:
            raise
        except OSError as error:
            raise NameServerError(self.location, str(error)) from error


def _entry(name: str, uri: Any, metadata: Any) -> Entry:
    """Return an entry of the name server's as one of ours.

    Raises:
        ProtocolError, TypeError, ValueError: If it is none.
    """
    address, facts = Address.parse(str(uri)), _facts(metadata)
    if not name.isprintable() or address.object != SUPERVISOR:
        raise ValueError("no entry of a host")
    if address.path and facts.get("machine") != user_domain():
        raise ValueError("a Unix socket of another user or machine")
    return Entry(name, address, facts)


def _facts(metadata: Any) -> dict[str, str]:
    facts = {}
    for tag in metadata or ():
        key, equals, value = str(tag).partition("=")
        if equals and key.startswith("seppo.") and value.isprintable():  # it may get printed
            facts[key.removeprefix("seppo.")] = value
    return facts
