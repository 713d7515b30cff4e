"""An authority that signs certificates for TLS, on elliptic curves; needs ``cryptography``."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from seppo.errors import ConfigurationError, SecurityError

COMMON_NAME = "seppo"


@dataclass(frozen=True)
class Certificate:
    """A certificate with its private key, as PEM.

    Attributes:
        name: Whom it is for.
        serial: Its number, in hexadecimal digits.
        pem: The certificate.
        key_pem: The private key.
    """

    name: str
    serial: str
    pem: bytes
    key_pem: bytes = field(repr=False)


class Authority:
    """Whoever shows a certificate that it has signed is one of us.

    Args:
        key: Its private key.
        certificate: Its own certificate.
    """

    def __init__(self, key: Any, certificate: Any) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def new(cls, days: int) -> Authority:
        """Return an authority that nobody knows yet.

        Raises:
            ConfigurationError: If the package for certificates is missing.
        """
        x509 = _x509()
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"{COMMON_NAME} authority")
        certificate = (
            _builder(name, name, key.public_key(), key.public_key(), _end(days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, key_pem: bytes, pem: bytes, passphrase: bytes) -> Authority:
        """Return an authority that was kept.

        Raises:
            SecurityError: If it is not the right passphrase, or the files do not fit together.
            ConfigurationError: If the package for certificates is missing.
        """
        x509 = _x509()
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key: Any = load_pem_private_key(key_pem, passphrase)
            certificate = x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError) as error:
            raise SecurityError("the authority's key does not open: wrong passphrase?") from error
        if key.public_key() != certificate.public_key():
            raise SecurityError("the authority's key is not the one of its certificate")
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        from cryptography.hazmat.primitives.serialization import Encoding

        pem: bytes = self._certificate.public_bytes(Encoding.PEM)
        return pem

    def key_pem(self, passphrase: bytes) -> bytes:
        """Return its private key, encrypted."""
        from cryptography.hazmat.primitives import serialization

        pem: bytes = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )
        return pem

    def issue(self, name: str, days: int) -> Certificate:
        """Return a new certificate, for clients and servers alike.

        Args:
            name: Whom it is for.
            days: How long it is good for, at most as long as the authority.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        ends = min(_end(days), self._certificate.not_valid_after_utc)
        sides = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(
                _name(name), self._certificate.subject, key.public_key(),
                self._key.public_key(), ends,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(sides), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(COMMON_NAME)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip
        pem = serialization.Encoding.PEM
        return Certificate(
            name,
            f"{certificate.serial_number:X}",
            certificate.public_bytes(pem),
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )


def _x509() -> Any:
    try:
        from cryptography import x509
    except ImportError as error:
        raise ConfigurationError(
            "keys", "new", "certificates need one package more: pip install 'seppo[keys]'"
        ) from error
    return x509


def _end(days: int) -> datetime.datetime:
    if days < 1:
        raise ConfigurationError("--days", str(days), "1 or more is needed")
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)


def _name(text: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    name: Any, issuer: Any, public_key: Any, issuer_key: Any, ends: datetime.datetime
) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(ends)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(digital_signature: bool = False, key_cert_sign: bool = False) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, crl_sign=False,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
