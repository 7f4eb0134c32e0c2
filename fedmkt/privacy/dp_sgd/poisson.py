"""Who takes part in a step: every customer with the same chance, independently (Poisson sampling).

Guarantee: whoever else was drawn, a customer is drawn with a chance of at most `rate`. That is all
that amplification by sampling needs: given the others, a step is a mixture of a sum with and a sum
without the customer, with a weight of at most `rate` on the first. Rows are not drawn: a customer
comes with all of them.
Not guaranteed: a batch of any size. It may be empty; who pads, drops or looks for a fuller batch
makes another mechanism.

Proof. The gaps between those drawn are geometric: P[gap >= g] = (1 - q)^g, so with u uniform on
(0, 1] a gap is floor(ln u / ln(1 - q)). Gaps are cut at L = about 2 / q: an L skips L customers,
takes nobody and draws anew, which changes nothing because geometric gaps have no memory. Errors: u
has 53 bits and logarithms are off by a few units in the last place, so P[gap >= g], at least e^-2
below L, is off by a part of less than 2^-47 and P[gap = g] by less than 2^-46 / q of itself. Given
all others, the odds of a customer are those of two gaps against those of one, and of at most 2^19
further cuts: together off by a part of less than 3 * 2^-46 / q + 2^-26 < 2^-23 for q >= 2^-20. So
q = rate (1 - 2^-20) stays below `rate`.

Source: the mechanism, Abadi et al. 2016, arXiv:1607.00133, section 3; gaps, Devroye 1986,
"Non-Uniform Random Variate Generation", X.2 and chapter XII.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.keystream import KeyStream
from fedmkt.privacy.events import SMALLEST_RATE

LARGEST_BATCH = 2**20  # customers expected in a step
_BELOW = 1 - 2.0**-20
_UNIT = 2.0**-53

IndexArray = NDArray[np.int64]


def draw_customers(customers: int, rate: float, stream: KeyStream) -> IndexArray:
    """Return the places of those drawn of so many customers, ascending, shape (drawn,).

    Raises: SettingInvalid for a rate outside [2^-20, 1] or more than 2^20 expected customers.
    """
    if not SMALLEST_RATE <= rate <= 1 or customers * rate > LARGEST_BATCH:
        problem = (
            f"a rate from 2^-20 to 1 and at most {LARGEST_BATCH} expected customers are needed"
        )
        raise SettingInvalid(setting=f"sampling rate {rate}", problem=problem)
    log_stay = math.log1p(-rate * _BELOW)
    cut = math.ceil(-2 / log_stay)
    parts = [np.empty(0, dtype=np.int64)]
    place = 0
    while place < customers:
        ends, taken = _next(place, customers - place, log_stay, cut, stream)
        parts.append(ends[taken] - 1)
        place = int(ends[-1])
    drawn = np.concatenate(parts)
    return drawn[: np.searchsorted(drawn, customers)]


def rows_of(drawn: IndexArray, starts: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return the rows of the customers drawn, and the customer of each row, both (rows,).

    Args: drawn: (customers drawn,), ascending. starts: (customers + 1,): the rows of customer c are
        starts[c] to starts[c + 1] - 1 of a table sorted by customer.
    """
    counts = starts[drawn + 1] - starts[drawn]
    customers = np.repeat(drawn, counts)
    before = np.cumsum(counts) - counts  # rows of those drawn earlier
    return np.arange(customers.size) + np.repeat(starts[drawn] - before, counts), customers


def _next(
    place: int, left: int, log_stay: float, cut: int, stream: KeyStream
) -> tuple[IndexArray, NDArray[np.bool_]]:
    """Return where gaps from `place` on end, and which of them end in somebody drawn."""
    expected = left * (1 / cut - log_stay)
    words = stream.words(int(expected + 4 * math.sqrt(expected)) + 16, np.uint64)
    uniform = ((words >> np.uint64(11)) + np.uint64(1)) * _UNIT  # (0, 1]
    gaps = np.minimum(np.log(uniform) / log_stay, cut).astype(np.int64)
    taken = gaps < cut
    return place + np.cumsum(gaps + taken), taken
