"""The keys that nodes connect with, in the form that Flower's processes want.

Guarantee: a private key has mode 0600.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fedmkt.core.errors import SettingInvalid
from fedmkt.storage.whole_file import write_private


def write_node_key(path: Path) -> bytes:
    """Write a node's link key (0600); return its public key (PEM), as a SuperLink wants it.

    Raises: OutputUnwritable.
    """
    private, public = new_link_key()
    write_private(path, private)
    return public


def new_link_key() -> tuple[bytes, bytes]:
    """Return a new link key as its file holds it, and its public half (PEM)."""
    key = ec.generate_private_key(ec.SECP384R1())
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def public_link_key(path: Path) -> str:
    """Return the public half (PEM) of a node's link key. Raises: SettingInvalid."""
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError):
        problem = "it cannot be read as an OpenSSH private key"
        raise SettingInvalid(setting=str(path), problem=problem) from None
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
