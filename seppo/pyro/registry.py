"""A name server of our own: Pyro5's registry on a daemon that strangers cannot block.

Anybody who reaches it may register, so it takes plain, printable values alone, and so many
that a list of them all is some two megabytes. Regular expressions are refused: a bad one
would hold the whole process up for ever.

Apart from ``nameserver``, which asks one: clients need not load a server.
"""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

from Pyro5 import core, errors, server
from Pyro5 import nameserver as pyro_nameserver

from seppo.pyro.daemon import PyroServer
from seppo.pyro.nameserver import PYRO_NAME
from seppo.trust.credentials import Credentials

MOST_ENTRIES = 2_000  # a host is one, however many workers it has
LARGEST_ENTRY = 1024  # bytes of name, URI and metadata in JSON; a host's has about 700
LARGEST_PAGE = 100  # metadata tags in a query


# misc: Pyro5 has no types, so that its class is Any to the type checker.
@server.expose
class Registry(pyro_nameserver.NameServer):  # type: ignore[misc]
    """Pyro5's name server, bounded."""

    def __init__(self) -> None:
        super().__init__(pyro_nameserver.MemoryStorage())

    def lookup(self, name: Any, return_metadata: Any = False) -> Any:
        """Return an entry."""
        return super().lookup(_text(name), bool(return_metadata))

    def register(self, name: Any, uri: Any, safe: Any = False, metadata: Any = None) -> None:
        """Add or replace an entry."""
        uri = str(uri) if isinstance(uri, core.URI) else _text(uri)
        metadata = _tags(metadata)
        size = len(json.dumps([_text(name), uri, *(metadata or ())]))
        if size > LARGEST_ENTRY:
            raise errors.NamingError(f"an entry of {size} bytes is too large")
        with self.lock:
            if len(self.storage) >= MOST_ENTRIES and name not in self.storage:
                raise errors.NamingError(f"{MOST_ENTRIES} entries are registered already")
            super().register(name, uri, bool(safe), metadata)

    def set_metadata(self, name: Any, metadata: Any) -> None:
        """Replace the metadata of an entry."""
        with self.lock:
            self.register(name, self.lookup(name), False, metadata)

    def remove(self, name: Any = None, prefix: Any = None, regex: Any = None) -> Any:
        """Remove entries; return how many."""
        _refuse_regex(regex)
        return super().remove(_text_or_none(name), _text_or_none(prefix))

    def list(self, prefix: Any = None, regex: Any = None, return_metadata: Any = False) -> Any:
        """Return entries by name."""
        _refuse_regex(regex)
        return super().list(_text_or_none(prefix), None, bool(return_metadata))

    def yplookup(
        self, meta_all: Any = None, meta_any: Any = None, return_metadata: Any = True
    ) -> Any:
        """Return the entries with all or any of some metadata tags."""
        return super().yplookup(_tags(meta_all), _tags(meta_any), bool(return_metadata))


def _text(value: object) -> str:
    # One lone surrogate would make every list that has it fail to encode.
    if not isinstance(value, str) or not value.isprintable():
        raise errors.NamingError("a printable text is needed")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _tags(value: object) -> set[str] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple, set, frozenset)) or len(value) > LARGEST_PAGE:
        raise errors.NamingError(f"metadata is a list of at most {LARGEST_PAGE} texts")
    return {_text(tag) for tag in value}


def _refuse_regex(regex: object) -> None:
    if regex is not None:
        raise errors.NamingError("this name server matches no regular expressions")


class NameServerThread:
    """A name server in threads of this process, which answers no broadcasts.

    Pyro's own tools can ask it too. It holds no key, and nobody trusts what it says.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        credentials: Certificates, needed off loopback.

    Attributes:
        host: The address to reach it under.
        port: Its port.

    Raises:
        OSError: If the address cannot be listened on.
        SecurityError: If what is needed to listen there safely is missing.
    """

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        registry = Registry()
        self._server = PyroServer(PYRO_NAME, registry, host, port, credentials, keyless=True)
        address = self._server.address
        self.host, self.port = address.host, address.port
        registry.register(PYRO_NAME, str(address), metadata={"class:Pyro5.nameserver.NameServer"})
        self._server.listener.start()

    def close(self) -> None:
        """Stop; its entries are forgotten."""
        self._server.listener.close()


def ignore_warnings_of_parsers() -> None:
    """Keep strangers from filling this process's standard error.

    Python's own parser, which reads serpent, warns of thousands of odd literals in one
    message, and Pyro5 logs an error for each message of a wrong kind. It is for processes
    that are a name server and nothing else.
    """
    warnings.simplefilter("ignore", SyntaxWarning)
    logging.getLogger("Pyro5").setLevel(logging.CRITICAL)
