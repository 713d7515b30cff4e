"""A join file: all that another machine needs to join, in one file.

It holds the shared key, the certificates if there are some and which of them are revoked, the
address of the name server and the group. Whoever can read it can run code as everybody who uses
the key. What it says is checked before anything is written, for it may come from anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seppo.errors import ConfigurationError, SecurityError
from seppo.settings import Settings, TlsFiles, format_settings, parse_settings, read_settings
from seppo.trust.authority import Certificate
from seppo.trust.certificates import AUTHORITY_FILE, ISSUED_FILE
from seppo.trust.keyfile import Key, parse_key, read_key, write_private
from seppo.trust.revoked import REVOKED_FILE, parse_list, read_list
from seppo.trust.tls import (
    CA_FILE,
    CERT_FILE,
    CERT_KEY_FILE,
    client_files,
    is_loopback,
    try_handshake,
)

FORMAT = "seppo join file 1"
LARGEST = 64 << 10  # bytes; one has about 4,000
KEY_FILE = "key"
SETTINGS_FILE = "settings"
CERTIFICATES = (CA_FILE, CERT_FILE, CERT_KEY_FILE)
NAMES = (*CERTIFICATES, REVOKED_FILE, SETTINGS_FILE, KEY_FILE)  # in the order of writing
OF_OLD_KEYS = (*CERTIFICATES, REVOKED_FILE, AUTHORITY_FILE, ISSUED_FILE, KEY_FILE)  # go with them
MAY_SET = {"PYRO_NS_HOST", "PYRO_NS_PORT", "SEPPO_GROUP"}
_TEXT = re.compile(r"(?:[ -~]*\n)+")


@dataclass(frozen=True)
class JoinFile:
    """What a machine that joins is given.

    Args:
        files: Contents by the names that they have in the folder of the key.

    Raises:
        SecurityError: If they are not what they should be.
    """

    files: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        for name, text in self.files.items():
            if name not in NAMES:
                raise _refusal(f"it names {name!r}")
            if not isinstance(text, str) or not _TEXT.fullmatch(text):
                raise _refusal(f"its {name} is not lines of ASCII")
        if KEY_FILE not in self.files:
            raise _refusal("it has no key")
        if len(set(CERTIFICATES) & self.files.keys()) not in (0, len(CERTIFICATES)):
            raise _refusal("some certificates are missing")
        try:
            parse_list(self.files.get(REVOKED_FILE, "").encode())
        except SecurityError as error:
            raise _refusal(f"its list of revoked certificates {error}") from error
        _ = self.key, self.settings

    @property
    def key(self) -> Key:
        """The shared key."""
        return parse_key(self.files[KEY_FILE].encode(), "in the join file")

    @property
    def settings(self) -> dict[str, str]:
        """What it sets, by the names of variables."""
        try:
            values = parse_settings(self.files.get(SETTINGS_FILE, "").encode(), "the join file")
            Settings.read(values)
        except ConfigurationError as error:
            raise _refusal(str(error)) from error
        if not values.keys() <= MAY_SET:
            raise _refusal(f"it sets {', '.join(sorted(values.keys() - MAY_SET))}")
        return values

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return json.dumps({"format": FORMAT, "files": self.files}, indent=1).encode() + b"\n"


def parse_join_file(data: bytes) -> JoinFile:
    """Return what a join file holds.

    Raises:
        SecurityError: If it is none, or something is wrong with it.
    """
    if len(data) > LARGEST:
        raise _refusal(f"it has more than {LARGEST} bytes")
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _refusal("it is not JSON") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _refusal("'seppo keys export' of this version has not made it")
    if value.keys() != {"format", "files"} or not isinstance(value["files"], dict):
        raise _refusal("it is incomplete")
    return JoinFile(value["files"])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def collect(settings: Settings, key_path: Path, own: Certificate | None = None) -> JoinFile:
    """Return what another machine needs to join this one.

    Args:
        settings: Name server and group; a name server on loopback is left out.
        key_path: The key; certificates that lie beside it go along, and which are revoked.
        own: The other machine's own certificate; None for the one of this machine.

    Raises:
        SecurityError: If there is no key, or one of the files cannot be used.
        ConfigurationError: If the settings cannot be written to a file.
    """
    files = {}
    folder = key_path.parent
    try:
        read_key(key_path)
        files[KEY_FILE] = key_path.read_text("ascii").rstrip() + "\n"
        if any((folder / name).exists() for name in CERTIFICATES):
            paths = client_files(Settings(key_file=str(key_path)))  # all are there, and private
            try_handshake(paths, paths)
            for name in CERTIFICATES:
                files[name] = (folder / name).read_text("ascii").rstrip() + "\n"
            if own is not None:
                files[CERT_FILE], files[CERT_KEY_FILE] = own.pem.decode(), own.key_pem.decode()
    except FileNotFoundError as error:
        raise SecurityError(f"there is no {error.filename}: run 'seppo keys new'") from error
    if lines := _lines(read_list(folder / REVOKED_FILE)):
        files[REVOKED_FILE] = lines
    files[SETTINGS_FILE] = format_settings(settings_to_tell(settings)).decode()
    return JoinFile(files)


def _lines(revoked: Mapping[str, str]) -> str:
    return "".join(f"{serial} {name}\n" for serial, name in revoked.items())


def settings_to_tell(settings: Settings) -> dict[str, str]:
    """Return what others are told of name server and group, by the names of variables."""
    values = {"SEPPO_GROUP": settings.group}
    if not is_loopback(settings.ns_host):
        values["PYRO_NS_HOST"] = settings.ns_host
        values["PYRO_NS_PORT"] = str(settings.ns_port)
    return values


def update_settings(folder: Path, values: Mapping[str, str]) -> bytes:
    """Return the content of the file of settings in a folder, with some set anew.

    Raises:
        ConfigurationError: If the old one makes no sense.
    """
    return format_settings({**read_settings(str(folder / SETTINGS_FILE)), **values})


def install(joined: JoinFile, folder: Path, replace: bool = False) -> list[Path]:
    """Put the files of a join file into a folder, all or none, and return them.

    Args:
        joined: What to put there.
        folder: The folder, made for this user alone if it is not there.
        replace: Also in the place of other keys.

    Raises:
        SecurityError: If other keys are there, the certificates do not fit together, or
            something cannot be written.
        ConfigurationError: If there is a file of settings that makes no sense.
    """
    is_other = any(_differs(folder / name, joined.files.get(name)) for name in (KEY_FILE, CA_FILE))
    if is_other and not replace:
        raise SecurityError(
            f"there are other keys in {folder}; --replace puts these in their place, and "
            "machines that use the old ones are out of reach then"
        )
    contents = {name: joined.files[name].encode() for name in NAMES if name in joined.files}
    contents[SETTINGS_FILE] = update_settings(folder, joined.settings)
    if not is_other and REVOKED_FILE in contents:  # what is revoked stays revoked
        there = {**read_list(folder / REVOKED_FILE), **parse_list(contents[REVOKED_FILE])}
        contents[REVOKED_FILE] = _lines(there).encode()
    is_new = not folder.exists()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".join-", dir=folder))  # its mode is 0700
        try:
            for name, content in contents.items():
                write_private(scratch / name, content)
            if CA_FILE in contents:
                files = TlsFiles(*(str(scratch / name) for name in CERTIFICATES))
                try_handshake(files, files)
            for name in contents:
                os.replace(scratch / name, folder / name)
            if is_other:
                for name in set(OF_OLD_KEYS) - contents.keys():
                    (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(scratch)
            if is_new:
                with suppress(OSError):  # it is not empty, if all went well
                    folder.rmdir()
    except SecurityError:
        raise
    except OSError as error:
        raise SecurityError(f"the keys cannot be written to {folder}: {error}") from error
    return [folder / name for name in contents]


def _differs(path: Path, text: str | None) -> bool:
    """Whether another content is there than this; None is like any."""
    try:
        return text is not None and path.read_bytes().strip() != text.encode().strip()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SecurityError(f"{path} cannot be read: {error.strerror}") from error


def _refusal(why: str) -> SecurityError:
    return SecurityError(f"this is no join file that can be used: {why}")
