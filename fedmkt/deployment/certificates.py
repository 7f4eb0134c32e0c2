"""TLS certificates of a coordinator: made for its host, renewed, or brought along and checked.

Guarantee: private keys have mode 0600. An authority's key is kept only where a passphrase is given,
encrypted with it, so that the server's certificate can be renewed without new invitations; else it
is forgotten once it has signed one certificate. A certificate that was brought along fits its key
and host, and ends in the authority that partners check it against, before anything is written.
"""

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedmkt.core.errors import FileMissing, KeyLocked, SettingInvalid
from fedmkt.storage.key_file import require_passphrase
from fedmkt.storage.whole_file import write_private, write_together

AUTHORITY, AUTHORITY_KEY, SERVER, SERVER_KEY = "ca.crt", "ca.key", "server.pem", "server.key"
_AUTHORITY_LIFE, _SERVER_LIFE = timedelta(days=5 * 365), timedelta(days=397)
_EARLY = timedelta(minutes=5)
_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A chain (PEM), the authority that it ends in (PEM), and the server's private key (PEM)."""

    chain: bytes
    authority: bytes
    key: bytes = field(repr=False)

    def write(self, folder: Path) -> None:
        """Write ca.crt, server.pem and server.key (0600). Raises: OutputUnwritable."""
        write_private(folder / SERVER_KEY, self.key)
        write_together({folder / AUTHORITY: self.authority, folder / SERVER: self.chain})


def write_certificates(folder: Path, host: str, *, passphrase: bytes | None = None) -> None:
    """Make an authority and a certificate for an address or name; write them into `folder`.

    Args: passphrase: keeps the authority's key in ca.key, encrypted. Raises: OutputUnwritable.
    """
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("fedmkt coordinator's authority")
    authority = _builder(name, name, key.public_key(), key, _AUTHORITY_LIFE)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    root = authority.add_extension(_usage(signs=True), True).sign(key, hashes.SHA256())
    if passphrase is not None:
        write_private(folder / AUTHORITY_KEY, _encrypted(key, passphrase))
    _issued(root, key, host).write(folder)


def renew_certificate(folder: Path, host: str, passphrase: bytes) -> None:
    """Make a new key and certificate for the server, of the authority that partners know.

    Raises: FileMissing (no authority of its own), KeyLocked, OutputUnwritable.
    """
    key = _authority_key(folder, passphrase)
    _issued(_certificates(folder / AUTHORITY)[0], key, host).write(folder)


def reencrypted_authority(folder: Path, old: bytes, new: bytes) -> bytes:
    """Return the file of the authority's key under another passphrase.

    Raises: FileMissing, KeyLocked, SettingInvalid (a short passphrase).
    """
    require_passphrase(new)
    return _encrypted(_authority_key(folder, old), new)


def _encrypted(key: _Key, passphrase: bytes) -> bytes:
    scheme = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, scheme)


def _authority_key(folder: Path, passphrase: bytes) -> _Key:
    path = folder / AUTHORITY_KEY
    if not path.is_file():
        advice = "Its certificate was brought along: put a new chain and key in its place by hand."
        raise FileMissing(what="key of an authority", path=path, advice=advice)
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except (ValueError, TypeError):
        raise KeyLocked(path=path, problem="the passphrase is wrong, or the file damaged") from None
    if not isinstance(key, _Key):
        raise SettingInvalid(setting=str(path), problem="it is no elliptic curve key")
    return key


def read_certificate(chain: Path, key: Path, host: str) -> ServerCertificate:
    """Read a certificate that was brought along, and check that partners will take it.

    Raises: FileMissing, SettingInvalid (form, another host or key, expired, no authority in it).
    """
    found, secret = _certificates(chain), _bytes(key)
    problem = _problem(found, host)
    if problem:
        raise SettingInvalid(setting=str(chain), problem=problem)
    try:
        loaded = load_pem_private_key(secret, None)
    except (ValueError, TypeError):
        problem = "it cannot be read as a private key (PEM) without a passphrase"
        raise SettingInvalid(setting=str(key), problem=problem) from None
    if _spki(loaded.public_key()) != _spki(found[0].public_key()):  # type: ignore[arg-type]
        raise SettingInvalid(setting=str(key), problem="it is not the key of the certificate")
    pem = [one.public_bytes(Encoding.PEM) for one in found]
    return ServerCertificate(chain=b"".join(pem), authority=pem[-1], key=secret)


def is_certificate(pem: str) -> bool:
    """Tell whether a text holds certificates (PEM)."""
    try:
        return bool(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return False


def _problem(chain: list[x509.Certificate], host: str) -> str:
    """Return what is wrong with a chain for a host, or nothing."""
    if _alternative(host) not in _alternatives(chain[0]):
        return f"its subjectAltName does not name {host}"
    now = datetime.now(UTC)
    if not all(one.not_valid_before_utc <= now < one.not_valid_after_utc for one in chain):
        return "it has expired, or is not valid yet"
    try:
        for one, issuer in zip(chain, [*chain[1:], chain[-1]], strict=True):
            one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return (
            "it does not end in the authority that signed it; put server, intermediate and root "
            "certificate into one file, in that order"
        )
    return ""


def _alternatives(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _issued(root: x509.Certificate, authority: _Key, host: str) -> ServerCertificate:
    server = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        _builder(_name(host), root.subject, server.public_key(), authority, _SERVER_LIFE)
        .add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    secret = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem, authority_pem = leaf.public_bytes(Encoding.PEM), root.public_bytes(Encoding.PEM)
    return ServerCertificate(chain=pem, authority=authority_pem, key=secret)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: _Key,
    life: timedelta,
) -> x509.CertificateBuilder:  # fmt: skip
    now, signed_by = datetime.now(UTC), signer.public_key()
    # Python 3.13 checks strictly: without these two key identifiers it refuses a certificate.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by), False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs, crl_sign=signs,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _spki(key: CertificateIssuerPublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_bytes(path))
    except ValueError:
        problem = "it cannot be read as certificates (PEM)"
        raise SettingInvalid(setting=str(path), problem=problem) from None


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise FileMissing(what="certificate or key", path=path, advice="Give the path of a PEM.")
    return path.read_bytes()
