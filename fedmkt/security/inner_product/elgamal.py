"""The label owner's numbers, encrypted one by one: lifted ElGamal over secp256k1.

A number r becomes (k G, r G + k P) with P = x G and k fresh and uniform. Sums of ciphertexts are
ciphertexts of sums.
Guarantee: to whoever lacks x, encryptions of any two lists of equally many numbers look alike: with
fresh k this is IND-CPA secure if the decisional Diffie-Hellman problem is hard in secp256k1. A
message's size depends on the number of rows alone, a zero is sent as any other number is.
Not guaranteed: that an owner encrypts honest numbers; that ciphertexts stay as they are (anybody
can add to them, which is what they are for, so they travel sealed); secrecy of numbers under a key
or a k that was used elsewhere. A key is for one round, prepared multiples for one message.
Sources: ElGamal 1985, doi:10.1109/TIT.1985.1057074; Cramer, Gennaro and Schoenmakers 1997,
doi:10.1007/3-540-69053-0_9 (numbers in the exponent); Tsiounis and Yung 1998,
doi:10.1007/BFb0054019 (IND-CPA from DDH).
"""

from dataclasses import dataclass, field
from functools import cache
from typing import NoReturn

import numpy as np

from fedmkt.core.errors import RangeExceeded
from fedmkt.core.stages import IntArray
from fedmkt.security.inner_product.points import (
    SCALAR_BYTES,
    UNSHIFT,
    WIRE_BYTES,
    G,
    Points,
    Scalars,
    add,
    from_wire,
    multiply_base,
    multiply_scalars,
    progression,
    random_scalars,
    scalars_from,
    shifted,
    to_wire,
)

LARGEST_NUMBER = 2**40
_TABLE_REACH = 2**13


class OwnerKey:
    """A secret key for one round. It shows its public half only."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        """Take 32 secret bytes, a scalar (which all but one in 2^127 strings are)."""
        assert len(secret) == SCALAR_BYTES
        self._secret = scalars_from(secret)
        self.public = multiply_base(self._secret, workers=1)

    @classmethod
    def generate(cls) -> "OwnerKey":
        """Make a new key from the operating system's generator."""
        return cls(random_scalars(1).tobytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> "OwnerKey":
        """Return the key of 32 secret uniform bytes, as `to_bytes` wrote or a derivation gave."""
        return cls(data)

    def to_bytes(self) -> bytes:
        """Return the 32 secret bytes, for sealed state and nothing else."""
        return self._secret.tobytes()

    @property
    def scalar(self) -> Scalars:
        """Return the secret, shape (1, 32), for arithmetic."""
        return self._secret

    def __repr__(self) -> str:
        return "OwnerKey(secret hidden)"

    def __reduce__(self) -> NoReturn:
        # Security: `to_bytes` is the one way out, so that no queue or cache stores it unsealed.
        raise TypeError("an owner's key is not pickled")


@dataclass(frozen=True, slots=True)
class Multiples:
    """Encryptions of zero, made ahead: first = k G, second = k P, each (count, 64).

    Secret: who has them opens the message they were used in. For one message only.
    """

    public: Points = field(repr=False)
    first: Points = field(repr=False)
    second: Points = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ciphertexts:
    """Encrypted numbers: first = k G, second = r G + k P, each (count, 64)."""

    first: Points = field(repr=False)
    second: Points = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return all first halves, then all second halves."""
        return to_wire(self.first).tobytes() + to_wire(self.second).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, *, count: int, member: str) -> "Ciphertexts":
        """Return what `to_bytes` wrote. Raises: SetSizeWrong, PointInvalid."""
        points = from_wire(data, count=2 * count, member=member)
        return cls(points[:count], points[count:])


def prepare(key: OwnerKey, count: int, *, workers: int | None = None) -> Multiples:
    """Return `count` fresh encryptions of zero, which take most of an encryption's time.

    Args: workers: threads; all cores if None.
    """
    scalars = random_scalars(count)
    # The owner knows x, so k P = (k x) G is a multiple of the base point too: faster than k times
    # P, and of constant time.
    products = multiply_scalars(scalars, key.scalar)
    return Multiples(
        key.public,
        multiply_base(scalars, workers=workers),
        multiply_base(products, workers=workers),
    )


def encrypt(
    key: OwnerKey,
    numbers: IntArray,
    multiples: Multiples,
    *,
    workers: int | None = None,
) -> bytes:
    """Return the message to all partners: the public key and the encrypted numbers.

    Args: numbers: (rows,). multiples: as many, prepared with this key and never used before.
    workers: threads; all cores if None.
    Raises: RangeExceeded for a number past 2^40.
    Guarantee: that of the module.
    """
    assert len(numbers) == len(multiples.first)
    assert np.array_equal(key.public, multiples.public)
    if len(numbers) and max(-int(numbers.min()), int(numbers.max())) > LARGEST_NUMBER:
        raise RangeExceeded(problem=f"a number passes {LARGEST_NUMBER}")
    # Every number is added as (r + 2^64) G - 2^64 G, so a zero is no case of its own.
    second, there = add(multiples.second, _shifted_multiples(numbers, workers), UNSHIFT)
    assert there.all()  # k P = -r G: one in 2^256
    return to_wire(key.public).tobytes() + Ciphertexts(multiples.first, second).to_bytes()


def message_bytes(rows: int) -> int:
    """Return the length of the message that `encrypt` makes of so many numbers."""
    return (1 + 2 * rows) * WIRE_BYTES


def read_encrypted(data: bytes, *, rows: int, member: str) -> tuple[Points, Ciphertexts]:
    """Return the public key (1, 64) and the ciphertexts of a message that `encrypt` wrote.

    Args: rows: how many numbers were agreed. member: the owner.
    Raises: SetSizeWrong, PointInvalid.
    """
    public = from_wire(data[:WIRE_BYTES], count=1, member=member)
    return public, Ciphertexts.from_bytes(data[WIRE_BYTES:], count=rows, member=member)


def _shifted_multiples(numbers: IntArray, workers: int | None) -> Points:
    """Return (r + 2^64) G of each number, shape (rows, 64)."""
    if len(numbers) and np.abs(numbers).max() <= _TABLE_REACH:
        return _table()[numbers + _TABLE_REACH]
    distinct, places = np.unique(numbers, return_inverse=True)
    return multiply_base(shifted(distinct), workers=workers)[places]


@cache
def _table() -> Points:
    """Return (r + 2^64) G for |r| <= 2^13, made once a process."""
    first = multiply_base(shifted(np.array([-_TABLE_REACH])), workers=1)
    table = progression(first, G, 2 * _TABLE_REACH + 1)
    table.flags.writeable = False
    return table
