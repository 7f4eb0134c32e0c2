"""A member's long-lived Ed25519 identity.

Guarantee: a private key never prints, pickles or appears in an error. Signatures are bound to a
label, so one made for a message never passes as one made for an audit record.
Source: RFC 8032 (Ed25519), RFC 5869 (HKDF); primitives from the `cryptography` package.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedmkt.core.errors import SettingInvalid, SignatureInvalid

_LABEL = b"fedmkt/v1/"


def _bound(label: str, data: bytes) -> bytes:
    # Security: the label is length-prefixed, so no label and data can be read as another pair.
    name = _LABEL + label.encode()
    return len(name).to_bytes(2, "big") + name + data


class PublicIdentity:
    """The public half: verifies, compares and travels as 64 hexadecimal digits."""

    __slots__ = ("_key", "hex")

    def __init__(self, hex_key: str) -> None:
        """Parse 64 hexadecimal digits. Raises: SettingInvalid."""
        try:
            self._key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(hex_key))
        except ValueError:
            raise SettingInvalid(
                setting="public key", problem="it is not 64 hexadecimal digits"
            ) from None
        self.hex = hex_key.lower()

    def verify(self, label: str, data: bytes, signature: bytes, *, member: str) -> None:
        """Check a signature made by `sign(label, data)`. Raises: SignatureInvalid."""
        try:
            self._key.verify(signature, _bound(label, data))
        except InvalidSignature:
            raise SignatureInvalid(member=member, what=label) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicIdentity) and other.hex == self.hex

    def __hash__(self) -> int:
        return hash(self.hex)

    def __repr__(self) -> str:
        return f"PublicIdentity({self.hex[:8]}…)"


class Identity:
    """The private half. It signs and derives keys; it never shows itself."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        """Take 32 secret bytes."""
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = PublicIdentity(self._key.public_key().public_bytes_raw().hex())

    @classmethod
    def generate(cls) -> "Identity":
        """Make a new identity from the operating system's generator."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def sign(self, label: str, data: bytes) -> bytes:
        """Return the 64-byte signature of `data` under `label`."""
        return self._key.sign(_bound(label, data))

    def derive_key(self, label: str) -> bytes:
        """Return a 32-byte key that only this identity can make again (HKDF-SHA256)."""
        return HKDF(SHA256(), 32, None, _LABEL + b"derive/" + label.encode()).derive(
            self._key.private_bytes_raw()
        )

    def export_secret(self) -> bytes:
        """Return the 32 secret bytes, for writing the key file and nothing else."""
        return self._key.private_bytes_raw()

    def __repr__(self) -> str:
        return f"Identity({self.public.hex[:8]}…, secret hidden)"

    def __reduce__(self) -> str:
        raise TypeError("an identity is not pickled")
