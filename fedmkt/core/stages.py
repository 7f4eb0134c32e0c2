"""The types an update passes through: one type a stage, so that a skipped stage is a type error.

    Examples -> LocalUpdate -> PrivateUpdate -> MaskedUpdate        (the protected way)
    Examples -> LocalUpdate -> NoiselessUpdate -> MaskedUpdate      (deliberately without noise)
    NetworkRows -> TrainedUpdate -> MaskedUpdate                    (every step of it was noised)
    NetworkRows -> TrainedUpdate | NoiselessUpdate -> SeenUpdate    (deliberately not masked)

Guarantee: none by itself. The types say which function made a value; the functions give the bounds.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.uint16]
RingArray = NDArray[np.uint64]
Trust = Literal["local", "distributed", "none"]
NoiseSourceName = Literal["operating system", "reproducible"]


@dataclass(frozen=True, slots=True)
class Examples:
    """One partner's customers, one row each, as bin codes and a target.

    codes: (rows, features), the bin of each feature; target: (rows,), 0 or 1.
    """

    codes: CodeArray
    target: NDArray[np.uint8]

    @property
    def rows(self) -> int:
        """Return the number of customers."""
        return int(self.codes.shape[0])


@dataclass(frozen=True, slots=True)
class LocalUpdate:
    """Exact integer sums over one partner's customers; never leaves the node.

    values: (length,) in grid units. l2_bound: what adding or removing one customer can move
    `values` by, in L2 norm and grid units.
    """

    values: IntArray
    l2_bound: float


@dataclass(frozen=True, slots=True)
class PrivateUpdate:
    """Sums with discrete Gaussian noise of scale `sigma` (grid units) already added.

    With trust `local` the values are private by themselves; with `distributed` they carry this
    partner's share of the noise and are private only inside a sum.
    """

    values: IntArray
    sigma: float
    trust: Trust


@dataclass(frozen=True, slots=True)
class TrainedUpdate:
    """What a partner's own training came to, on a grid, every step of which was noised by itself.

    values: (length,) in grid units. Private because it is made of noised sums and public numbers
    alone, at the cost of those sums; no noise of a known scale stands in it.
    """

    values: IntArray


@dataclass(frozen=True, slots=True)
class NoiselessUpdate:
    """Sums that carry no noise at all: a deliberately unprotected run, named in the evidence."""

    values: IntArray


@dataclass(frozen=True, slots=True)
class SeenUpdate:
    """Values as the coordinator sees them, partner by partner; named in the evidence."""

    values: IntArray


@dataclass(frozen=True, slots=True)
class MaskedUpdate:
    """Values plus masks modulo 2**64: uniform to everybody who does not know the masks."""

    values: RingArray
