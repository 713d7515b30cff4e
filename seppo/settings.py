"""Settings: an argument beats an environment variable, which beats the default.

``Settings.load()`` is called once where a door is entered; the frozen result is passed
down. Seppo's variables start with ``SEPPO_``: Pyro5 refuses to be imported when it
meets a ``PYRO_`` variable that it does not know. Pyro5's own ``PYRO_NS_HOST``,
``PYRO_NS_PORT`` and ``PYRO_HOST`` keep their meaning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from seppo.errors import ConfigurationError

MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What can be set from outside, with the names and units used inside.

    Attributes:
        ns_host: Host of the Pyro5 name server (``PYRO_NS_HOST``).
        ns_port: Port of the Pyro5 name server (``PYRO_NS_PORT``).
        host: Address that workers listen on (``PYRO_HOST``).
        group: Workers are found under this name (``SEPPO_GROUP``).
        grace: Seconds without any worker before a map gives up (``SEPPO_GRACE``).
        lookahead_bytes: Bytes of items and results that one map keeps in this process
            beyond those the consumer has taken (``SEPPO_LOOKAHEAD_BYTES``).
        connect_timeout: Seconds to wait for one worker or name server to answer
            (``SEPPO_CONNECT_TIMEOUT``).
        max_file_size: Bytes of the largest file of code or data that a worker takes; 0 for
            any (``SEPPO_MAX_FILE_SIZE``).
    """

    ns_host: str = "127.0.0.1"
    ns_port: int = 9090
    host: str = "127.0.0.1"
    group: str = "default"
    grace: float = 20.0
    lookahead_bytes: int = 64 * MIB
    connect_timeout: float = 1.0
    max_file_size: int = 0

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, group: str | None = None
    ) -> Settings:
        """Return the settings in force.

        Args:
            environ: The environment; None means this process's.
            group: Beats the environment when given.

        Raises:
            ConfigurationError: If a variable cannot be read as its type.
        """
        env = os.environ if environ is None else environ
        default = cls()
        return cls(
            ns_host=_host(env.get("PYRO_NS_HOST", default.ns_host)),
            ns_port=_integer(env, "PYRO_NS_PORT", default.ns_port, 1),
            host=_host(env.get("PYRO_HOST", default.host)),
            group=group if group is not None else env.get("SEPPO_GROUP", default.group),
            grace=_number(env, "SEPPO_GRACE", default.grace),
            lookahead_bytes=_integer(env, "SEPPO_LOOKAHEAD_BYTES", default.lookahead_bytes, 1),
            connect_timeout=_number(env, "SEPPO_CONNECT_TIMEOUT", default.connect_timeout),
            max_file_size=_integer(env, "SEPPO_MAX_FILE_SIZE", default.max_file_size, 0),
        )


def _host(name: str) -> str:
    # "localhost" may resolve to ::1 first, where pyro5-ns and our workers do not listen.
    return "127.0.0.1" if name in ("", "localhost") else name


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ConfigurationError(name, repr(text), "a number of seconds, 0 or more, is needed")
    return value


def _integer(env: Mapping[str, str], name: str, default: int, smallest: int) -> int:
    text = env.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        value = smallest - 1
    if value < smallest:
        raise ConfigurationError(name, repr(text), f"a whole number, {smallest} or more, is needed")
    return value
