"""Mask keys and the keystreams they stand for.

Guarantee: a mask is an AES-256-CTR keystream under a key made for one run, one sum, one set of
signed keys, one circle of members and one owner or pair, so no two masks share a key unless their
secrets and all of these agree; without the key it looks uniform. The two sides of a pair make the
same mask and add it with opposite signs. Not given: a key must mask once only; the member's state
sees to that.
Source: Bonawitz et al. 2017, eprint 2017/281, section 4; RFC 7748 (X25519), RFC 5869 (HKDF),
NIST SP 800-38A (CTR).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedmkt.core.errors import MessageInvalid
from fedmkt.core.stages import RingArray
from fedmkt.wire.canonical import encode

KEY_BYTES = 32
_LABEL = "fedmkt/v1/secure_sum."
_TILE_BYTES = 1 << 18
_ZEROS = bytes(_TILE_BYTES)
_BLOCK_BYTES = 16


@dataclass(frozen=True, slots=True)
class SumContext:
    """What every mask key of one sum is bound to.

    keys: hash of all signed key bundles; circle: hash of the members whose shares were dealt.
    """

    run: str
    sum_index: int
    keys: bytes
    circle: bytes

    def binding(self) -> list[object]:
        """Return the context as plain values for the canonical encoding."""
        return [self.run, self.sum_index, self.keys, self.circle]


def derive(secret: bytes, label: str, binding: Sequence[object]) -> bytes:
    """Return a 32-byte key of `secret` for this label and binding and no other."""
    info = encode([_LABEL + label, list(binding)])
    return HKDF(SHA256(), KEY_BYTES, None, info).derive(secret)


def public_key(secret: bytes) -> bytes:
    """Return the X25519 public key of 32 secret bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, public: bytes, *, member: str) -> bytes:
    """Return the X25519 shared secret with the key of `member`.

    Raises: MessageInvalid when that key is one of the few whose result everybody knows.
    """
    try:
        peer = X25519PublicKey.from_public_bytes(public)
        return X25519PrivateKey.from_private_bytes(secret).exchange(peer)
    except ValueError:
        raise MessageInvalid(kind="key bundle", problem=f"a key of {member} is unusable") from None


def self_mask_key(context: SumContext, member: str, seed: bytes) -> bytes:
    """Return the key of a member's self mask in one sum."""
    return derive(seed, "self", [*context.binding(), member])


def pair_mask_key(
    context: SumContext, owner: str, secret: bytes, peer: str, public: bytes
) -> bytes:
    """Return the key of the mask between `owner` (mask secret) and `peer` (mask public key)."""
    first, second = sorted((owner, peer))
    shared = agree(secret, public, member=peer)
    return derive(shared, "pair", [*context.binding(), first, second])


def pair_sign(owner: str, peer: str) -> int:
    """Return with which sign `owner` adds its mask with `peer`."""
    return 1 if owner < peer else -1


def keystream(key: bytes, length: int) -> bytes:
    """Return the first `length` bytes of the keystream (counter from zero) of a 32-byte key."""
    # Security: the fixed counter start is sound because every key is used for one stream only.
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(length))


def add_masks(
    values: RingArray, streams: Sequence[tuple[bytes, int]], others: Sequence[RingArray] = ()
) -> None:
    """Add each keystream, with its sign, and all `others` to `values` (length,) in place.

    The bytes of a stream are read as little-endian words of the ring. Everything is added to one
    tile before the next, so the tile stays in the processor's cache.
    """
    word = values.dtype.newbyteorder("<")
    ciphers = [
        (Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor(), sign)
        for key, sign in streams
    ]
    buffer = bytearray(_TILE_BYTES + _BLOCK_BYTES)  # update_into wants a block to spare
    words = np.frombuffer(buffer, dtype=word)
    step = _TILE_BYTES // word.itemsize
    for start in range(0, values.size, step):
        tile = values[start : start + step]
        for other in others:
            np.add(tile, other[start : start + step], out=tile)
        zeros = _ZEROS if tile.size == step else _ZEROS[: tile.nbytes]
        for cipher, sign in ciphers:
            cipher.update_into(zeros, buffer)
            operation = np.add if sign > 0 else np.subtract
            operation(tile, words[: tile.size], out=tile)
