"""Sealed values: encrypted and bound to a context, for state at rest and for shares in transit.

Guarantee: whoever lacks the key learns the length only, and altering the value or its context is
noticed (AES-256-GCM, random 96-bit nonces; a key seals far fewer than 2**32 values here).
Not guaranteed: where the key comes from; whoever calls derives and keeps it.
Source: NIST SP 800-38D.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedmkt.core.errors import SealBroken

_NONCE_BYTES = 12


def seal(key: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    """Encrypt `plaintext` under a 32-byte key; it opens only with the same `context`."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context)


def open_sealed(key: bytes, sealed: bytes, *, context: bytes, what: str) -> bytes:
    """Decrypt what `seal` made. Raises: SealBroken, naming `what`."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise SealBroken(what=what) from None
