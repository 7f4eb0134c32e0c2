"""A member's long-lived Ed25519 identity.

Guarantee: a private key never prints, pickles or appears in an error. Signatures are bound to a
label, so one made for a message never passes as one made for an audit record.
Source: RFC 8032 (Ed25519), RFC 5869 (HKDF); primitives from the `cryptography` package.
"""

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedmkt.core.errors import SettingInvalid, SignatureInvalid

_LABEL = b"fedmkt/v1/"
_SECRET_BYTES = 32
_HEX_KEY = re.compile(r"[0-9a-f]{64}")
_P = 2**255 - 19
# The y-coordinates (modulo p) of edwards25519's eight points of small order: of order 1, 2, 4
# and 8. Source: Chalkias, Garillot, Nikolaenko 2020, "Taming the many EdDSAs", table 5.
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})


def _bound(label: str, data: bytes) -> bytes:
    # Security: the label is length-prefixed, so no label and data can be read as another pair.
    name = _LABEL + label.encode()
    return len(name).to_bytes(2, "big") + name + data


def _y_coordinate(raw: bytes) -> int:
    return (int.from_bytes(raw, "little") & (2**255 - 1)) % _P


class PublicIdentity:
    """The public half: verifies, compares and travels as 64 hexadecimal digits."""

    __slots__ = ("_key", "hex")

    def __init__(self, hex_key: str) -> None:
        """Parse 64 lower-case hexadecimal digits. Raises: SettingInvalid."""
        if not _HEX_KEY.fullmatch(hex_key):
            problem = "it is not 64 lower-case hexadecimal digits"
            raise SettingInvalid(setting="public key", problem=problem)
        raw = bytes.fromhex(hex_key)
        # Security: under a point of small order anybody can forge a signature on anything.
        if _y_coordinate(raw) in _SMALL_ORDER:
            raise SettingInvalid(setting="public key", problem="it is a point of small order")
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.hex = hex_key

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
        """Take 32 secret bytes. Raises: SettingInvalid."""
        if len(secret) != _SECRET_BYTES:
            raise SettingInvalid(setting="identity key", problem="it is not 32 bytes long")
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
