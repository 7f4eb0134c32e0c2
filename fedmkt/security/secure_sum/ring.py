"""Integers modulo 2**32 or 2**64, read as signed numbers.

Guarantee: integers within the ring's signed range come back exactly from a sum that stays within
it, and `check_headroom` refuses settings under which a noised sum could leave it.
Not given: a sum that does leave the range wraps around silently, as modular sums do.
Source: Bonawitz et al. 2017, eprint 2017/281, section 3; tail bound: Canonne, Kamath and Steinke
2020, arXiv:2004.00010 (the discrete Gaussian is subgaussian with the variance proxy sigma**2).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from fedmkt.core.errors import RangeExceeded
from fedmkt.core.stages import IntArray, RingArray

_WRAP_BITS = 40
_COORDINATE_BITS = 32
# Two tails and a union over 2**32 coordinates: 2 * 2**32 * exp(-t**2 / 2) <= 2**-40.
_TAIL_SIGMAS = math.sqrt(2 * math.log(2) * (_WRAP_BITS + _COORDINATE_BITS + 1))


@dataclass(frozen=True, slots=True)
class Ring:
    """The integers modulo 2**bits, read as signed numbers in two's complement."""

    bits: Literal[32, 64]

    def __post_init__(self) -> None:
        if self.bits not in (32, 64):
            raise RangeExceeded(problem=f"a ring of {self.bits} bits; 32 and 64 are there")

    @classmethod
    def of(cls, bits: int) -> "Ring":
        """Return the ring of so many bits, as a message states them. Raises: RangeExceeded."""
        return cls(cast("Literal[32, 64]", bits))

    @property
    def largest(self) -> int:
        """Return the largest signed value, 2**(bits - 1) - 1."""
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the numpy type of one element: uint32 or uint64."""
        return np.dtype(np.uint32 if self.bits == 32 else np.uint64)

    def to_ring(self, values: IntArray) -> RingArray:
        """Return a fresh array of `values` (length,) as ring elements.

        Raises: RangeExceeded when a value does not fit the signed range.
        """
        if self.bits == 32 and values.size:
            low, high = int(values.min()), int(values.max())
            if low < -self.largest - 1 or high > self.largest:
                raise RangeExceeded(problem="a value does not fit 32 bits")
        return values.astype(self.dtype)

    def from_ring(self, elements: RingArray) -> IntArray:
        """Return ring elements (length,) as signed int64 values; with 64 bits, a view of them."""
        signed = np.int32 if self.bits == 32 else np.int64
        return elements.view(signed).astype(np.int64, copy=False)


def check_headroom(max_abs_sum: int, sigma_total: float, ring: Ring) -> None:
    """Refuse a noised sum that could wrap the ring with probability above 2**-40.

    Args: max_abs_sum: largest absolute value of the exact sum; sigma_total: root of the summed
    variances of all members' discrete Gaussian noise; both in grid units.
    Guarantee: with probability at least 1 - 2**-40 none of up to 2**32 coordinates wraps.
    Raises: RangeExceeded.
    """
    if not (math.isfinite(sigma_total) and sigma_total >= 0 and max_abs_sum >= 0):
        raise RangeExceeded(problem="the bound and the noise must be finite and not negative")
    needed = max_abs_sum + math.ceil(_TAIL_SIGMAS * sigma_total)
    if needed > ring.largest:
        raise RangeExceeded(problem=f"sum and noise need {needed} of {ring.largest}")
