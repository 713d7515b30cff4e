"""Making the bundle of keys that joins several machines: an authority and a certificate.

All machines use the same certificate: whoever holds the bundle is one of us, and nobody
else is. The authority's own key is used once and thrown away, so that no second
certificate can ever be made for it.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from seppo.errors import ConfigurationError, SecurityError
from seppo.trust.keyfile import ensure_key, write_private
from seppo.trust.tls import CA_FILE, CERT_FILE, CERT_KEY_FILE

DAYS = 365  # days that a certificate is good for, unless the user says otherwise
COMMON_NAME = "seppo"


def make_bundle(key_path: Path, days: int = DAYS, replace: bool = False) -> list[Path]:
    """Make a shared key, an authority and a certificate, and return their files.

    Args:
        key_path: Where the key is, or is to be; the certificates are put beside it, in a
            folder that is made for this user alone if it is not there.
        days: How long the certificate is good for.
        replace: Make new ones in the place of old ones.

    Raises:
        ConfigurationError: If there are some, or the package for certificates is missing.
        SecurityError: If the files cannot be written.
    """
    if days < 1:
        raise ConfigurationError("--days", str(days), "1 or more is needed")
    try:
        certificates = _certificates(days)
    except ImportError as error:
        raise ConfigurationError(
            "keys", "new", "certificates need one package more: pip install 'seppo[keys]'"
        ) from error
    folder = key_path.parent
    paths = [folder / name for name in (CA_FILE, CERT_FILE, CERT_KEY_FILE)]
    if any(path.exists() for path in paths) and not replace:
        raise ConfigurationError(
            "keys", str(folder), "there are certificates already; --replace makes new ones, which "
            "then have to be copied to all machines"
        )  # fmt: skip
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if replace:
            key_path.unlink(missing_ok=True)
        ensure_key(key_path)  # without --replace one that is there stays: it may be in use
        for path, content in zip(paths, certificates, strict=True):
            write_private(path, content)
    except OSError as error:
        if isinstance(error, SecurityError):
            raise
        raise SecurityError(f"the keys cannot be written to {folder}: {error}") from error
    return [key_path, *paths]


def _certificates(days: int) -> tuple[bytes, bytes, bytes]:
    """Return an authority's certificate, one made by it, and the key of that one, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.timezone.utc)
    ends = now + datetime.timedelta(days=days)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"{COMMON_NAME} authority")]
    )
    key = ec.generate_private_key(ec.SECP256R1())

    def builder(name: x509.Name, public_key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
            .not_valid_after(ends)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    authority = (
        builder(authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
    certificate = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(COMMON_NAME)]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return (
        authority.public_bytes(pem),
        certificate.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _usage(digital_signature: bool = False, key_cert_sign: bool = False) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, crl_sign=False,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
