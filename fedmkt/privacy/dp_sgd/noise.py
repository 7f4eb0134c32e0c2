"""Discrete Gaussian noise on a fine grid, fast enough for every step of a training.

Guarantee: with a `KeyStream` nobody knows the key of, `add_gaussian` costs what `noise_event` says
for the same arguments: its noise is the discrete Gaussian of scale SIGMA up to a total variation of
2^-112 a value, and the grid is so fine that rounding is in the bound of one customer.
Not guaranteed: speed from a generator with a seed. torch's and numpy's never draw here, because
whoever knows such a seed takes the noise off again.

Why not OpenDP's sampler, which other releases use: it takes about 10 microseconds a value; a
network has tens of thousands, a training hundreds of steps.

Proof of the noise. X with P[x] proportional to exp(-x^2 / (2 s^2)) on the integers is D(s).
1. One D(256) is read from a table: a uniform number of 128 bits is looked up among the cumulated
   probabilities, cut at 14 * 256. Each probability is off by at most 2^-128, of fewer than 2^13
   values, and what is cut off weighs 2 exp(-98) < 2^-140: together below 2^-115.
2. With independent U ~ D(s), V ~ D(t), completing the square gives
   P[U + k V = y] proportional to exp(-y^2 / (2 r^2)) * sum_v exp(-(v - c(y))^2 / (2 w^2)),
   r^2 = s^2 + k^2 t^2, w = s t / r. By Poisson summation the last sum is w sqrt(2 pi) up to a
   factor 1 +- 3 exp(-2 pi^2 w^2). Strides k are the largest with w^2 >= 6, so U + k V is D(r) but
   for a part of 1e-50. Four tables in a row make D(SIGMA), within 4 * 2^-115 + 1e-49 < 2^-112.
Sources: Peikert 2010, eprint 2010/088, theorem 3.1; Micciancio and Walter 2017, eprint 2017/259.
The mechanism: Canonne, Kamath, Steinke 2020, arXiv:2004.00010, as in `mechanisms`.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import EpsilonInvalid, SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import FloatArray, IntArray, LocalUpdate, PrivateUpdate, Trust
from fedmkt.privacy.events import check_noise_multiplier
from fedmkt.privacy.mechanisms import add_noise

TABLE_SIGMA = 256
REACH = 14 * TABLE_SIGMA
SMOOTH = 6  # w^2 of the proof
TABLES = 4
_BITS = 128
_UNDECIDED = np.int16(-(2**15))
_SEARCHED = np.int16(-1)


def _strides() -> tuple[int, ...]:
    """Return by what each table's number is multiplied: the largest with w^2 >= 6."""
    strides, ratio = [1], 1  # ratio: variance so far over that of a table
    for _ in range(TABLES - 1):
        strides.append(math.isqrt(ratio * (TABLE_SIGMA**2 - SMOOTH) // SMOOTH))
        ratio += strides[-1] ** 2
    return tuple(strides)


STRIDES = _strides()
VARIANCE = TABLE_SIGMA**2 * sum(stride**2 for stride in STRIDES)  # exact
SIGMA = math.sqrt(VARIANCE)  # grid units, about 2^28
_ROUNDING = 2.0**-30  # relative; above what floats lose between a sum and its grid


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid a training's sums are rounded to, so that SIGMA is the right noise for all of them.

    unit: of the grid, in units of the gradient. l2_bound: what one customer moves a rounded sum by.
    """

    unit: float
    l2_bound: float


def grid_for(*, bound: float, noise_multiplier: float, shares: int, dimensions: int) -> Grid:
    """Return the grid on which noise of scale SIGMA is `noise_multiplier` times a customer's bound.

    Args: bound: what one customer moves a sum of floats by, in L2 norm. shares: as in `add_noise`.
    Rounding moves each of d coordinates of a difference of sums by at most 1 more, so
    l2_bound >= bound / unit + sqrt(d). The unit depends on public numbers alone: all partners of a
    secure sum use the same.
    Raises: EpsilonInvalid, SettingInvalid for noise or a length the grid is too coarse for.
    """
    check_noise_multiplier(noise_multiplier)
    if not 0 < bound < math.inf:
        raise SettingInvalid(setting=f"bound {bound}", problem="it must be above 0 and finite")
    l2_bound = SIGMA * math.sqrt(shares) / noise_multiplier * (1 - _ROUNDING)
    rounded = math.sqrt(dimensions)
    if rounded > l2_bound / 2:
        problem = f"it is too large for {dimensions} parameters on this grid"
        raise SettingInvalid(setting=f"noise multiplier {noise_multiplier}", problem=problem)
    return Grid(bound / (l2_bound - rounded) * (1 + _ROUNDING), l2_bound)


def on_grid(total: FloatArray, grid: Grid) -> LocalUpdate:
    """Return a sum of clipped gradients (parameters,) in units of the grid."""
    return LocalUpdate(np.rint(total / grid.unit).astype(np.int64), grid.l2_bound)


def add_gaussian(
    update: LocalUpdate, *, noise_multiplier: float, shares: int, trust: Trust, stream: KeyStream
) -> PrivateUpdate:
    """Add one partner's noise, or its share, to a sum on the grid of `grid_for`.

    Guarantee: that of the module. Raises: as `mechanisms.add_noise`; EpsilonInvalid for an update
        that is not on the grid of these arguments.
    """
    return add_noise(
        update,
        noise_multiplier=noise_multiplier,
        shares=shares,
        trust=trust,
        source=KeyedNoise(stream),
    )


class KeyedNoise:
    """Discrete Gaussian noise of the one scale SIGMA, from a keyed stream."""

    name: Final = "keyed stream"

    def __init__(self, stream: KeyStream) -> None:
        self._stream = stream

    def add_to(self, values: IntArray, *, sigma: float) -> IntArray:
        """Return `values` plus fresh noise, shape (length,). Raises: EpsilonInvalid (scale)."""
        # Privacy: noise of any other scale would not cost what its event says.
        if not SIGMA * (1 - 4 * _ROUNDING) <= sigma <= SIGMA:
            raise EpsilonInvalid(name="sigma", value=sigma, rule=f"{SIGMA:g}, the grid's own")
        drawn = _table().draw(TABLES * len(values), self._stream).reshape(TABLES, len(values))
        noised = values.copy()
        for stride, row in zip(STRIDES, drawn, strict=True):
            noised += np.multiply(row, stride, dtype=np.int64)
        return noised


@lru_cache(maxsize=1)
def _table() -> "GaussianTable":
    return GaussianTable(TABLE_SIGMA, REACH)


class GaussianTable:
    """The discrete Gaussian of one scale, to be read with uniform bits.

    16 bits name a cell; most cells lie within one value. Others take 48 bits more, and where these
    still lie on the border of two values, 64 more.
    """

    def __init__(self, sigma: int, reach: int) -> None:
        self._borders = _borders(sigma, reach)
        self._high = np.array([border >> 64 for border in self._borders], dtype=np.uint64)
        cells = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
        least = np.searchsorted(self._high, cells, side="left")
        most = np.searchsorted(self._high, cells | np.uint64(2**48 - 1), side="right")
        self._cells = np.where(least == most, least - reach, _UNDECIDED).astype(np.int16)
        # A cell with one border needs no search: its value is this one or the next.
        self._least = np.where(most - least == 1, least, _SEARCHED).astype(np.int16)
        self._reach = reach

    def draw(self, count: int, stream: KeyStream) -> NDArray[np.int16]:
        """Return independent values, shape (count,)."""
        cells = stream.words(count, np.uint16)
        values = np.take(self._cells, cells)
        undecided = np.flatnonzero(values == _UNDECIDED)
        values[undecided] = self._look_up(np.take(cells, undecided), stream)
        return values

    def _look_up(self, cells: NDArray[np.uint16], stream: KeyStream) -> NDArray[np.int16]:
        """Return the values of uniform numbers whose first 16 bits are `cells`."""
        words = stream.words(len(cells), np.uint64)
        numbers = (cells.astype(np.uint64) << np.uint64(48)) | (words >> np.uint64(16))
        least = np.take(self._least, cells)
        places = least + (np.take(self._high, least, mode="clip") <= numbers)
        searched = np.flatnonzero(least == _SEARCHED)
        places[searched] = np.searchsorted(self._high, numbers[searched], side="right")
        for place in np.flatnonzero(self._high[np.maximum(places, 1) - 1] == numbers):
            whole = (int(numbers[place]) << 64) | int(stream.words(1, np.uint64)[0])
            places[place] = bisect_right(self._borders, whole)
        return (places - self._reach).astype(np.int16)


def _borders(sigma: int, reach: int) -> list[int]:
    """Return floor(2^128 P[X <= x]) for x from -reach to reach - 1; X is cut at `reach`."""
    with localcontext(Context(prec=60)):
        half = [(Decimal(-x * x) / (2 * sigma * sigma)).exp() for x in range(reach + 1)]
        weights = [*half[:0:-1], *half]
        scale = Decimal(2**_BITS) / sum(weights)
        cumulated, borders = Decimal(0), []
        for weight in weights[:-1]:
            cumulated += weight
            borders.append(int(cumulated * scale))
    return borders
