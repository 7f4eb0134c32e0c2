"""Shamir's secret sharing over the prime field of 2**521 - 1.

Guarantee: fewer than `threshold` shares say nothing about the secret; any `threshold` of them
give it back. Not given: a wrong share is not noticed here; callers check the secret they get
against what its owner committed to.
Source: Shamir 1979, "How to share a secret", Communications of the ACM 22(11).
"""

from collections.abc import Mapping, Sequence

PRIME = 2**521 - 1
SHARE_BYTES = 66


def split(secret: int, coefficients: Sequence[int], points: Sequence[int]) -> list[int]:
    """Return the value at each point of the polynomial secret + c1 x + c2 x**2 + …

    Args: coefficients: threshold - 1 secret, uniform field elements; points: distinct, not zero.
    """
    assert len(set(points)) == len(points)
    assert all(0 < point < PRIME for point in points)
    shares = []
    for point in points:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value + coefficient) * point % PRIME
        shares.append((value + secret) % PRIME)
    return shares


def weights_at_zero(points: Sequence[int]) -> dict[int, int]:
    """Return each point's Lagrange weight, so that the secret is the weighted sum of shares."""
    weights = {}
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        weights[point] = numerator * pow(denominator, -1, PRIME) % PRIME
    return weights


def combine(shares: Mapping[int, int], weights: Mapping[int, int]) -> int:
    """Return the secret from shares by point and `weights_at_zero` of the very same points."""
    return sum(weights[point] * share for point, share in shares.items()) % PRIME


def to_bytes(share: int) -> bytes:
    """Return a field element as 66 bytes, big-endian."""
    return share.to_bytes(SHARE_BYTES, "big")
