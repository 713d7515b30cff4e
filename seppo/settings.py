"""Settings: an argument beats an environment variable, a file, and the default, in this order.

``Settings.load()`` is called once where a door is entered; the frozen result is passed
down. Seppo's variables start with ``SEPPO_``: Pyro5 refuses to be imported when it
meets a ``PYRO_`` variable that it does not know. Pyro5's own ``PYRO_NS_HOST``,
``PYRO_NS_PORT``, ``PYRO_HOST`` and ``PYRO_SSL*`` keep their meaning. The file is ``settings``
in the user's configuration directory for seppo; its lines are ``NAME=VALUE``, with the names
of the variables.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from seppo.errors import ConfigurationError

MIB = 1 << 20
GIB = 1 << 30
LARGEST_FILE = 64 << 10  # bytes of a file of settings

# What a file may set: no passwords, and nothing that switches encryption off unseen.
FILE_NAMES = frozenset(
    [
        "PYRO_NS_HOST", "PYRO_NS_PORT", "PYRO_HOST", "SEPPO_GROUP", "SEPPO_GRACE",
        "SEPPO_LOOKAHEAD_BYTES", "SEPPO_CONNECT_TIMEOUT", "SEPPO_MAX_FILE_SIZE", "SEPPO_KEY_FILE",
        "SEPPO_MAX_FRAME_BYTES", "SEPPO_SILENCE", "PYRO_SSL", "PYRO_SSL_CACERTS",
        "PYRO_SSL_SERVERCERT", "PYRO_SSL_SERVERKEY", "PYRO_SSL_CLIENTCERT", "PYRO_SSL_CLIENTKEY",
    ]
)  # fmt: skip
_EDGE = "[!#-&(-~]"  # ASCII, but no space and no quote
_LINE = re.compile(rf"([A-Z_]+) ?= ?({_EDGE}(?:[ -~]*{_EDGE})?)?")


@dataclass(frozen=True)
class TlsFiles:
    """Which PEM files TLS uses; an empty name means the one of the bundle beside the key.

    Attributes:
        cacerts: Certificates of the authority that all peers must have theirs from.
        cert: This machine's certificate, shown to clients and to servers alike.
        key: The private key of ``cert``.
        password: Of an encrypted ``key``.
    """

    cacerts: str = ""
    cert: str = ""
    key: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Settings:
    """The settings of a process, with the names and units used inside.

    Attributes:
        ns_host: Host of the Pyro5 name server (``PYRO_NS_HOST``); ``./u:PATH`` for a Unix socket.
        ns_port: Port of the Pyro5 name server (``PYRO_NS_PORT``).
        host: Address that workers listen on (``PYRO_HOST``).
        group: Workers are found under this name (``SEPPO_GROUP``).
        grace: Seconds without any worker before a map gives up (``SEPPO_GRACE``).
        lookahead_bytes: Bytes of items and results that one map keeps in this process
            beyond those the consumer has taken (``SEPPO_LOOKAHEAD_BYTES``). One item for
            each worker always has room; items of sequences do not count.
        connect_timeout: Seconds to wait for one worker or name server to answer
            (``SEPPO_CONNECT_TIMEOUT``).
        max_file_size: Bytes of the largest data file that a worker takes; 0 for any
            (``SEPPO_MAX_FILE_SIZE``).
        key_file: File of the shared key (``SEPPO_KEY_FILE``); empty means ``seppo/key`` in
            the user's configuration directory.
        insecure: Go without TLS off loopback (``SEPPO_INSECURE=1``).
        max_frame_bytes: The largest message accepted from a peer that has proved the key
            (``SEPPO_MAX_FRAME_BYTES``).
        tls_on_loopback: Use TLS on loopback, too (``PYRO_SSL=1``).
        server_tls: What we show to clients (``PYRO_SSL_SERVERCERT``, ``PYRO_SSL_SERVERKEY``,
            ``PYRO_SSL_SERVERKEYPASSWD``, ``PYRO_SSL_CACERTS``).
        client_tls: What we show to servers (``PYRO_SSL_CLIENTCERT``, ``PYRO_SSL_CLIENTKEY``,
            ``PYRO_SSL_CLIENTKEYPASSWD``, ``PYRO_SSL_CACERTS``).
        silence: Seconds without a sign of life after which a machine, or a client, counts
            as lost (``SEPPO_SILENCE``).
    """

    ns_host: str = "127.0.0.1"
    ns_port: int = 9090
    host: str = "127.0.0.1"
    group: str = "default"
    grace: float = 20.0
    lookahead_bytes: int = 64 * MIB
    connect_timeout: float = 1.0
    max_file_size: int = 0
    key_file: str = ""
    insecure: bool = False
    max_frame_bytes: int = 16 * GIB
    tls_on_loopback: bool = False
    server_tls: TlsFiles = TlsFiles()
    client_tls: TlsFiles = TlsFiles()
    silence: float = 15.0

    @classmethod
    def load(
        cls, environ: Mapping[str, str] | None = None, *, group: str | None = None
    ) -> Settings:
        """Return the settings in force.

        Args:
            environ: The environment; None means this process's. It says where the file is.
            group: Beats the environment when given.

        Raises:
            ConfigurationError: If a variable cannot be read as its type, or the file not at all.
        """
        folder = config_folder(environ)
        env: Mapping[str, str] = os.environ if environ is None else environ
        if folder and (there := read_settings(f"{folder}/settings")):
            env = {**there, **env}
        return cls.read(env, group=group)

    @classmethod
    def read(cls, env: Mapping[str, str], *, group: str | None = None) -> Settings:
        """Return the settings that variables name, without looking at a file.

        Raises:
            ConfigurationError: If a variable cannot be read as its type.
        """
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
            key_file=env.get("SEPPO_KEY_FILE", default.key_file),
            insecure=_truth(env, "SEPPO_INSECURE"),
            max_frame_bytes=_integer(env, "SEPPO_MAX_FRAME_BYTES", default.max_frame_bytes, 1),
            tls_on_loopback=_truth(env, "PYRO_SSL"),
            server_tls=TlsFiles(
                env.get("PYRO_SSL_CACERTS", ""),
                env.get("PYRO_SSL_SERVERCERT", ""),
                env.get("PYRO_SSL_SERVERKEY", ""),
                env.get("PYRO_SSL_SERVERKEYPASSWD", ""),
            ),
            client_tls=TlsFiles(
                env.get("PYRO_SSL_CACERTS", ""),
                env.get("PYRO_SSL_CLIENTCERT", ""),
                env.get("PYRO_SSL_CLIENTKEY", ""),
                env.get("PYRO_SSL_CLIENTKEYPASSWD", ""),
            ),
            silence=_number(env, "SEPPO_SILENCE", default.silence),
        )


def config_folder(environ: Mapping[str, str] | None = None) -> str:
    """Return the folder of key and settings, which need not exist; "" if there is no home.

    Args:
        environ: The environment; None means this process's.
    """
    env = os.environ if environ is None else environ
    base = env.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # the standard says that a relative one is ignored
        home = os.path.expanduser("~") if environ is None else environ.get("HOME", "")
        if not os.path.isabs(home):
            return ""
        base = os.path.join(home, ".config")
    return os.path.join(base, "seppo")


def read_settings(path: str) -> Mapping[str, str]:
    """Return what a file sets, by the names of variables; nothing if there is no file.

    Raises:
        ConfigurationError: If it cannot be read, others can change it, or a line makes no sense.
    """
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _refusal(path, f"it cannot be read: {error.strerror}") from error
    return _read_file(path, (info.st_ino, info.st_mtime_ns, info.st_size, info.st_mode))


@functools.lru_cache(maxsize=8)  # each map looks at it
def _read_file(path: str, stamp: tuple[int, ...]) -> Mapping[str, str]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(fd, "rb") as file:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode):
                raise _refusal(path, "it is not a file")
            # Who can change it can name a key that he knows.
            if os.name == "posix" and (
                info.st_uid not in (os.geteuid(), 0) or info.st_mode & 0o022
            ):
                raise _refusal(path, f"others can change it: chown it, and 'chmod 600 {path}'")
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _refusal(path, f"it cannot be read: {error.strerror}") from error
    return parse_settings(data, path)


def parse_settings(data: bytes, name: str) -> dict[str, str]:
    r"""Return what the content of a file sets.

    Args:
        data: The content.
        name: The file, for messages.

    Raises:
        ConfigurationError: If a line makes no sense.

    >>> parse_settings(b"# the lab\nSEPPO_GROUP = lab\n", "settings")
    {'SEPPO_GROUP': 'lab'}
    """
    if len(data) > LARGEST_FILE:
        raise _refusal(name, f"more than {LARGEST_FILE} bytes")
    found: dict[str, str] = {}
    for number, raw in enumerate(data.split(b"\n"), 1):
        line = raw.decode("ascii", "replace").strip(" \r\t")
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise _refusal(name, f"line {number} is not NAME=VALUE, in ASCII and without quotes")
        if match[1] not in FILE_NAMES:
            raise _refusal(name, f"line {number} sets {match[1]}, which is not set in a file")
        if match[1] in found:
            raise _refusal(name, f"line {number} sets {match[1]} again")
        found[match[1]] = match[2] or ""
    if found.get("SEPPO_KEY_FILE") and not os.path.isabs(found["SEPPO_KEY_FILE"]):
        raise _refusal(name, "SEPPO_KEY_FILE has to be an absolute path")
    return found


def format_settings(values: Mapping[str, str]) -> bytes:
    """Return the content of a file that sets this.

    Raises:
        ConfigurationError: If it could not be read again.
    """
    data = "".join(f"{name}={value}\n" for name, value in values.items()).encode()
    if parse_settings(data, "settings") != values:
        raise ConfigurationError("settings", repr(dict(values)), "plain values are needed")
    Settings.read(values)
    return data


def _refusal(path: str, why: str) -> ConfigurationError:
    return ConfigurationError("settings", path, why)


def _host(name: str) -> str:
    # "localhost" may resolve to ::1 first, where pyro5-ns and our workers do not listen.
    return "127.0.0.1" if name in ("", "localhost") else name


def _truth(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").strip().lower()
    if text in ("1", "on", "yes", "true"):
        return True
    if text in ("", "0", "off", "no", "false"):
        return False
    raise ConfigurationError(name, repr(text), "1 or 0 is needed")


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
