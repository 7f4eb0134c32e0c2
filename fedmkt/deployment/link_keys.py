"""Certificates of a SuperLink for trying out on one machine, and keys of its nodes.

Guarantee: the authority's key is forgotten once it has signed one certificate, for one address.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from cryptography.x509.oid import NameOID

from fedmkt.core.errors import SettingInvalid
from fedmkt.storage.whole_file import write_private, write_whole

_LIFE = timedelta(days=397)
_EARLY = timedelta(minutes=5)


def write_certificates(folder: Path, host: str) -> None:
    """Write ca.crt, server.pem and server.key (0600) for an address or name into `folder`.

    Raises: OutputUnwritable.
    """
    authority = ec.generate_private_key(ec.SECP256R1())
    server = ec.generate_private_key(ec.SECP256R1())
    name = _name("fedmkt, on this machine")
    root = (
        _builder(name, name, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        _builder(_name(host), name, server)
        .add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    write_whole(folder / "ca.crt", root.public_bytes(Encoding.PEM))
    write_whole(folder / "server.pem", leaf.public_bytes(Encoding.PEM))
    secret = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / "server.key", secret)


def write_node_key(path: Path) -> bytes:
    """Write a node's link key (0600); return its public key (PEM), as a SuperLink wants it.

    Raises: OutputUnwritable.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_link_key(path: Path) -> str:
    """Return the public half (PEM) of a node's link key. Raises: SettingInvalid."""
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError):
        problem = "it cannot be read as an OpenSSH private key"
        raise SettingInvalid(setting=str(path), problem=problem) from None
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + _LIFE)
    )
