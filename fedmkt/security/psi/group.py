"""Identifiers as points of Curve25519, blinded by secret scalars.

Guarantee: an identifier becomes a point of the prime-order subgroup by Elligator 2, and blinding is
X25519, so blinding under several keys gives the same tag in every order. To whoever lacks one of
the keys a tag is a random point (decisional Diffie-Hellman, the hash taken as a random oracle):
Elligator 2 is uniform on the half of the curve it reaches, so a proof may program it by rejection.
Not guaranteed: secrecy of an identifier from whoever holds every key, constant time of the
arithmetic on hashed identifiers (they stay at their owner), or that a member blinds honestly.

Hashing straight to a u-coordinate would be unsound: half of all values lie on the curve's twist,
blinding keeps a point where it lies, and so a tag would tell one bit of its identifier.
Sources: RFC 7748 (X25519); RFC 9380, sections 6.7.1 and 6.8.2 (Elligator 2 and its map to
edwards25519); Bernstein et al. 2013, eprint 2013/325. Primitives: libsodium, by PyNaCl.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from nacl.bindings import crypto_core_ed25519_from_uniform, crypto_scalarmult
from nacl.exceptions import RuntimeError as RefusedByLibrary
from numpy.typing import NDArray

from fedmkt.core.errors import PointInvalid, SetReplayed
from fedmkt.security.chunks import in_chunks

POINT_BYTES = 32
KEY_BYTES = 32
Points = NDArray[np.uint8]  # (points, 32), little-endian u-coordinates

_P = 2**255 - 19
_Y_BITS = 2**255 - 1
# Small enough that threads end together, large enough that one inversion serves many points.
_CHUNK = 512
# The u-coordinates below p of all points of order 1, 2, 4 or 8 on the curve and on its twist.
# Source: cr.yp.to/ecdh.html, "How do I validate Curve25519 public keys?".
_ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
SMALL_ORDER = tuple(value.to_bytes(POINT_BYTES, "little") for value in (0, 1, _P - 1, *_ORDER_8))


class BlindingKey:
    """A secret scalar for one run. It blinds; it never shows itself."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Take 32 secret bytes; X25519 clamps them when it uses them."""
        assert len(secret) == KEY_BYTES
        self._secret = secret

    @classmethod
    def generate(cls) -> "BlindingKey":
        """Make a new key from the operating system's generator."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def from_bytes(cls, data: bytes) -> "BlindingKey":
        """Return the key that `to_bytes` wrote."""
        return cls(data)

    def to_bytes(self) -> bytes:
        """Return the 32 secret bytes, for sealed state and nothing else."""
        return self._secret

    def __repr__(self) -> str:
        return "BlindingKey(secret hidden)"

    def __reduce__(self) -> NoReturn:
        # Security: `to_bytes` is the one way out, so that no queue or cache stores it unsealed.
        raise TypeError("a blinding key is not pickled")


def hash_to_points(values: Sequence[bytes], *, domain: bytes, workers: int | None = None) -> Points:
    """Return a point for each value, shape (values, 32).

    Args: domain: what the points are for, under 2**16 bytes; equal values under different domains
    give unrelated points. workers: threads; all cores if None.
    Guarantee: every point lies in the prime-order subgroup and nobody knows its discrete logarithm.
    Source: RFC 9380, section 3 (encode_to_curve), with BLAKE2b for the field element.
    """
    # Security: the domain is length-prefixed, so no domain and value can be read as another pair.
    prefix = len(domain).to_bytes(2, "big") + domain
    points = np.empty((len(values), POINT_BYTES), dtype=np.uint8)

    def work(start: int, stop: int) -> None:
        edwards = [
            crypto_core_ed25519_from_uniform(
                hashlib.blake2b(prefix + value, digest_size=32).digest()
            )
            for value in values[start:stop]
        ]
        points[start:stop] = _from_bytes(_to_montgomery(edwards))

    in_chunks(len(values), work, size=_CHUNK, workers=workers)
    return points


def blind(points: Points, key: BlindingKey, *, member: str, workers: int | None = None) -> Points:
    """Return each point times the key, shape (points, 32), in the same order.

    Args: member: whose points these are. workers: threads; all cores if None.
    Guarantee: blinding by several keys commutes; equal points give equal results. Distinct points
    of the prime-order subgroup give distinct results.
    Raises: PointInvalid for a point of small order, which would come out as zero under every key.
    Source: RFC 7748, section 5 and the all-zero check of section 6.1.
    """
    secret, blinded = key.to_bytes(), np.empty_like(points)

    def work(start: int, stop: int) -> None:
        data = points[start:stop].tobytes()
        blinded[start:stop] = _from_bytes(
            [
                crypto_scalarmult(secret, data[at : at + POINT_BYTES])
                for at in range(0, len(data), POINT_BYTES)
            ]
        )

    try:
        in_chunks(len(points), work, size=_CHUNK, workers=workers)
    except RefusedByLibrary:
        raise PointInvalid(member=member, problem="it has small order") from None
    return blinded


def check_points(points: Points, *, member: str) -> None:
    """Refuse a column of points, shape (points, 32), that honest members cannot have sent.

    Accepted: canonical u-coordinates (below p) of large order, each once. That lets in points of
    the twist and points with a small-order part, which X25519 is made for. The twist's group has
    four times a prime as its order, so a key is as hard to find from blinded twist points as from
    others; a twist point stays on the twist and never equals an identifier's tag, so it does no
    more than a dummy. A small-order part is cleared by the first blinding (clamped scalars are
    multiples of 8); two points that differ in it only then collide, which the next check refuses.
    Raises: PointInvalid for a wrong shape, an encoding that is not canonical or a small order;
    SetReplayed for a point that stands there twice.
    Source: RFC 7748, sections 5 and 7; Bernstein 2006, "Curve25519", section 3 (twist).
    """
    if points.dtype != np.uint8 or points.ndim != 2 or points.shape[1] != POINT_BYTES:
        raise PointInvalid(member=member, problem="it is not 32 bytes")
    words = np.ascontiguousarray(points).view("<u8")
    high = (words[:, 3] >= 2**63 - 1) & (words[:, 2] == 2**64 - 1) & (words[:, 1] == 2**64 - 1)
    # Security: without this one point has two encodings, which would pass as two customers.
    if bool((words[:, 3] >= 2**63).any() or (high & (words[:, 0] >= 2**64 - 19)).any()):
        raise PointInvalid(member=member, problem="its encoding is not canonical")
    sortable = as_strings(points)
    # Security: every key takes a point of small order to zero, a tag that matches everybody's.
    if bool(np.isin(sortable, np.array(SMALL_ORDER, dtype="S32")).any()):
        raise PointInvalid(member=member, problem="it has small order")
    if has_repeats(np.sort(sortable)):
        raise SetReplayed(member=member, problem="it holds an element twice")


def as_strings(points: Points) -> NDArray[np.bytes_]:
    """Return points (points, 32) as numpy strings (points,), which sort in the order of bytes.

    numpy drops trailing zero bytes from a string it hands out; among strings of one length that
    changes neither equality nor order, and the array keeps all 32 bytes.
    """
    return np.ascontiguousarray(points).view("S32").reshape(-1)


def has_repeats(ordered: NDArray[np.bytes_]) -> bool:
    """Return whether sorted strings (points,) hold one twice."""
    return bool((ordered[1:] == ordered[:-1]).any())


def _to_montgomery(edwards: Sequence[bytes]) -> list[bytes]:
    """Return u = (1 + y) / (1 - y) of Edwards points, with one inversion for all (Montgomery).

    y = 1, the neutral point, would need an identifier whose hash is one of a few in 2**255.
    """
    ys = [int.from_bytes(point, "little") & _Y_BITS for point in edwards]
    product, before = 1, []
    for y in ys:
        before.append(product)
        product = product * (1 - y) % _P
    inverse, out = pow(product, -1, _P), []
    for y, rest in zip(reversed(ys), reversed(before), strict=True):
        out.append(((1 + y) * (inverse * rest % _P) % _P).to_bytes(POINT_BYTES, "little"))
        inverse = inverse * (1 - y) % _P
    out.reverse()
    return out


def _from_bytes(points: Sequence[bytes]) -> Points:
    return np.frombuffer(b"".join(points), dtype=np.uint8).reshape(-1, POINT_BYTES)
