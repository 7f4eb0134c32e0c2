"""A keyed stream of uniform numbers: AES-256 in counter mode.

Guarantee: without the key, its numbers cannot be told from uniform and independent ones as long as
AES-256 cannot be told from a random permutation and far fewer than 2^64 blocks are drawn. A key is
used by one stream, from counter zero on, and no number is given out twice.
Not guaranteed: anything once the key is known. So `fresh` takes it from the operating system's
generator and keeps it to itself; only a test or a simulated run hands one in.
Source: NIST SP 800-38A, section 6.5.
"""

import os
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 32
Word = TypeVar("Word", np.uint16, np.uint64)


class KeyStream:
    """Uniform words that follow from a 32-byte key; each call goes on in the stream."""

    __slots__ = ("_cipher", "_process")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._process = os.getpid()

    @staticmethod
    def fresh() -> "KeyStream":
        """Return a stream under a new key that nobody else has."""
        return KeyStream(os.urandom(KEY_BYTES))

    def words(self, count: int, kind: type[Word]) -> NDArray[Word]:
        """Return the next `count` uniform words of this kind, shape (count,)."""
        # Security: a copy in a forked process would give the same numbers out again.
        assert self._process == os.getpid(), "a stream stays in the process that made it"
        word = np.dtype(kind)
        stream = self._cipher.update(bytes(count * word.itemsize))
        return np.frombuffer(stream, dtype=word.newbyteorder("<")).astype(word, copy=False)
