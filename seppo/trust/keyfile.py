"""The file of the shared key: where it lies, making it, and refusing one that is not safe.

Whoever can read the key can run code on all workers that use it, so the file is treated
as ssh treats a private key: it belongs to its user alone, or it is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
import time
from pathlib import Path

from seppo.errors import SecurityError
from seppo.settings import Settings, config_folder

KEY_BYTES = 32
LARGEST_FILE = 1024  # bytes; a key is 65
PATIENCE = 1.0  # seconds; somebody who makes the key at the same moment has it written by then

ADVICE = (
    "name another file with SEPPO_KEY_FILE or --key-file, or make keys there with 'seppo keys new'"
)


class _HoldsNoKey(SecurityError):
    """Nothing, or something else, lies where the key should be."""


class Key:
    """A shared key that keeps its bytes to itself.

    Args:
        secret: The bytes.
        path: Where it was read, for messages.

    >>> Key(bytes(32), "/home/me/.config/seppo/key")
    Key(/home/me/.config/seppo/key)
    """

    __slots__ = ("_secret", "path")

    def __init__(self, secret: bytes, path: str) -> None:
        self._secret = secret
        self.path = path

    def reveal(self) -> bytes:
        """Return the bytes; for whoever computes with them, at the last moment."""
        return self._secret

    @property
    def fingerprint(self) -> str:
        """What tells keys apart: of 256 random bits, a hash gives nothing away."""
        return "SHA256:" + hashlib.sha256(b"seppo key" + self._secret).hexdigest()

    @property
    def spoken(self) -> str:
        """The start of the fingerprint, to be read aloud: 64 bits tell one's own keys apart.

        >>> Key(bytes(32), "").spoken
        '11a3 2ab9 df42 cc76'
        """
        start = self.fingerprint.partition(":")[2][:16]
        return " ".join(start[i : i + 4] for i in range(0, 16, 4))

    def __repr__(self) -> str:
        return f"Key({self.path})"

    def __reduce__(self) -> str:
        raise TypeError("a key does not travel; its file can be copied")


def key_path(settings: Settings) -> Path:
    """Return where the key is, or is to be made.

    Raises:
        SecurityError: If none is named and there is no home directory to look in.
    """
    if settings.key_file:
        return Path(settings.key_file)
    folder = config_folder()
    if not folder:
        raise SecurityError(
            "there is no home directory in which the shared key could be: set HOME, or "
            "name a file with SEPPO_KEY_FILE"
        )
    return Path(folder, "key")


def read_key(path: Path) -> Key:
    """Return the key in a file.

    Raises:
        FileNotFoundError: If there is none.
        SecurityError: If others can read it, or it holds no key.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SecurityError(
            f"the key file {path} cannot be read: {error.strerror}; {ADVICE}"
        ) from error
    try:
        check_private("key file", path, os.fstat(fd))
        text = os.read(fd, LARGEST_FILE)
    finally:
        os.close(fd)
    return parse_key(text, str(path))


def parse_key(text: bytes, path: str) -> Key:
    """Return the key that is the content of a file.

    Raises:
        SecurityError: If it is none.
    """
    try:
        secret = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise _HoldsNoKey(
            f"the key file {path} holds no key ({KEY_BYTES} bytes as hexadecimal digits are "
            f"needed): copy the one of the other machines, or {ADVICE}"
        )
    return Key(secret, path)


def check_private(what: str, path: Path, info: os.stat_result) -> None:
    """Accept a file that nobody but its user can read.

    Raises:
        SecurityError: If others can.
    """
    if not stat.S_ISREG(info.st_mode):
        raise SecurityError(f"the {what} {path} is not a file: {ADVICE}")
    if os.name != "posix":
        return
    if info.st_uid not in (os.geteuid(), 0):
        raise SecurityError(
            f"the {what} {path} belongs to another user (id {info.st_uid}), who can read it: "
            f"{ADVICE}"
        )
    if info.st_mode & 0o077:
        raise SecurityError(
            f"the {what} {path} can be read by others (mode {stat.S_IMODE(info.st_mode):04o}): "
            f"run 'chmod 600 {path}', and make a new key if somebody may have read it"
        )


def ensure_key(path: Path) -> Key:
    """Return the key in a file, which is made if there is none.

    Two processes that make it at the same moment end with the same key.

    Raises:
        SecurityError: If it cannot be made or may not be used.
    """
    deadline = time.monotonic() + PATIENCE
    is_made = False
    while True:
        try:
            return read_key(path)
        except FileNotFoundError as error:
            if is_made:  # it is a link to nowhere, or somebody removes it
                raise SecurityError(f"the key file {path} vanished; {ADVICE}") from error
            _make_key(path)
            is_made = True
        except _HoldsNoKey:  # another process may be writing it just now
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _make_key(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(path, secrets.token_hex(KEY_BYTES).encode() + b"\n")
    except OSError as error:
        raise SecurityError(
            f"the shared key cannot be made at {path}: {error.strerror or error}; {ADVICE}"
        ) from error


def _write_new(path: Path, content: bytes) -> None:
    """Make a file that appears with all its content, unless there is one already."""
    fd, scratch = tempfile.mkstemp(prefix=".key-", dir=path.parent)  # its mode is 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        try:
            os.link(scratch, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links: who comes second waits for the first
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(content)
    finally:
        os.unlink(scratch)


def write_private(path: Path, content: bytes) -> None:
    """Put a file in the place of an older one, at once, readable by its user alone."""
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
