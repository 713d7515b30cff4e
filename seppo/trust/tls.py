"""TLS: when a connection is encrypted, and the settings of both sides.

The rule needs nothing but the server's address, which both ends see: off loopback there is
TLS, unless somebody said ``--insecure``; on loopback there is none, unless ``PYRO_SSL=1``;
on a Unix socket, which no other user can open, there is none.
So nobody in between can talk two peers out of it.

It is always mutual. Both sides trust one authority and no other, not even those of the
system, and ask for a certificate. What a host is called does not matter: whoever has a
certificate of our authority is one of us.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from datetime import datetime, timezone
from pathlib import Path

from seppo.errors import SecurityError
from seppo.settings import Settings, TlsFiles
from seppo.trust.keyfile import check_private, key_path
from seppo.wire.address import path_of

# The files of the bundle that 'seppo keys new' makes, beside the shared key.
CA_FILE = "ca.pem"
CERT_FILE = "cert.pem"
CERT_KEY_FILE = "cert-key.pem"

ADVICE = (
    "make certificates with 'seppo keys new' and copy the folder to all machines, name some "
    "with PYRO_SSL_CACERTS, PYRO_SSL_SERVERCERT, PYRO_SSL_SERVERKEY, PYRO_SSL_CLIENTCERT and "
    "PYRO_SSL_CLIENTKEY, or go without encryption with --insecure or SEPPO_INSECURE=1"
)


def is_loopback(host: str) -> bool:
    """Whether an IP address is of this machine's loopback interface.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("10.0.0.1")
    (True, True, False)
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False  # a name, not an address: better too careful
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def stays_here(host: str) -> bool:
    """Whether what is sent to somebody who listens there cannot leave this machine.

    >>> stays_here("127.0.0.1"), stays_here("./u:/run/seppo"), stays_here("10.0.0.1")
    (True, True, False)
    """
    return bool(path_of(host)) or is_loopback(host)


def wants_tls(settings: Settings, server_host: str) -> bool:
    """Return whether a connection to a server that listens there is encrypted."""
    if path_of(server_host):
        return False
    return settings.tls_on_loopback or not (settings.insecure or is_loopback(server_host))


def server_files(settings: Settings) -> TlsFiles:
    """Return the files that a server uses.

    Raises:
        SecurityError: If one is missing.
    """
    return _complete(settings, settings.server_tls, "SERVER")


def client_files(settings: Settings) -> TlsFiles:
    """Return the files that a client uses.

    Raises:
        SecurityError: If one is missing.
    """
    return _complete(settings, settings.client_tls, "CLIENT")


def _complete(settings: Settings, files: TlsFiles, side: str) -> TlsFiles:
    folder = key_path(settings).parent
    complete = TlsFiles(
        files.cacerts or str(folder / CA_FILE),
        files.cert or str(folder / CERT_FILE),
        files.key or str(folder / CERT_KEY_FILE),
        files.password,
    )
    for path, variable in (
        (complete.cacerts, "PYRO_SSL_CACERTS"),
        (complete.cert, f"PYRO_SSL_{side}CERT"),
        (complete.key, f"PYRO_SSL_{side}KEY"),
    ):
        if not Path(path).is_file():
            raise SecurityError(f"TLS is needed, but there is no {path} ({variable}): {ADVICE}")
    if not files.key:  # one that the user named is guarded as the user likes
        check_private("private key", Path(complete.key), os.stat(complete.key))
    return complete


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return what a server wraps connections with; clients must show a certificate.

    Raises:
        SecurityError: If a file cannot be used.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return what a client wraps connections with; it shows a certificate.

    Raises:
        SecurityError: If a file cannot be used.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def _context(protocol: ssl._SSLMethod, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)  # trusts nobody yet
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # every Python from 3.10 on has it
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    path = files.cacerts
    try:
        context.load_verify_locations(cafile=path)
        path = f"{files.cert} and {files.key}"
        context.load_cert_chain(files.cert, files.key, lambda: files.password)
    except (OSError, ValueError) as error:
        raise SecurityError(f"{path} cannot be used for TLS: {error}; {ADVICE}") from error
    return context


def session_binding(sock: ssl.SSLSocket, certificate: bytes) -> bytes:
    """Return what a proof of the key is bound to over TLS: the session and the certificate.

    All machines may have the same certificate. So somebody with certificate and private key,
    but without the shared key, could speak TLS with both ends and pass their proofs on; but
    these would be two sessions. What tells them apart is the first Finished message of the
    handshake, a hash of all that was said in it ("tls-unique", RFC 5929). That RFC is of TLS
    1.2; the message does the same in TLS 1.3, and both ends here are ours.

    Args:
        sock: The connection, after the handshake.
        certificate: The server's certificate in DER form.

    Raises:
        SecurityError: If this Python cannot tell: then nothing would be proved.
    """
    session = sock.get_channel_binding("tls-unique")
    if not session:
        raise SecurityError("this Python's ssl module cannot tell one TLS session from another")
    return b"tls " + hashlib.sha256(certificate).digest() + session


def read_certificate(path: str) -> bytes:
    """Return the first certificate of a PEM file, which is its owner's, in DER form."""
    text = Path(path).read_text()
    start = text.index(ssl.PEM_HEADER)
    end = text.index(ssl.PEM_FOOTER, start) + len(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(text[start:end])


def try_handshake(server: TlsFiles, client: TlsFiles) -> datetime:
    """Have a server and a client with these files meet in memory.

    Returns:
        When the first of their two certificates expires.

    Raises:
        SecurityError: If they would not accept each other, and why.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client_context(client).wrap_bio(to_client, to_server),
        server_context(server).wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):  # more than the flights of any handshake
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                why = getattr(error, "verify_message", "") or error.reason or str(error)
                raise SecurityError(f"these certificates do not work: {why}") from error
    seconds = [ssl.cert_time_to_seconds(str(_peer(end)["notAfter"])) for end in ends]
    return datetime.fromtimestamp(min(seconds), timezone.utc)


def _peer(end: ssl.SSLObject) -> dict[str, object]:
    return dict(end.getpeercert() or {})
