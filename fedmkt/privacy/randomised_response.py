"""Binary labels randomised once, and what can still be learnt from them.

Guarantee: with `OsNoise`, each label that `randomise_labels` returns is (epsilon, 0)-private for
that label. Proof: a label stays with probability 1 - p and is flipped with p, so any output is at
most (1 - p) / p times as likely under one label as under the other; p is a multiple of 2^-64 not
below 1 / (1 + e^epsilon), hence (1 - p) / p <= e^epsilon. Labels are flipped independently, so a
change of one label changes nothing else. Whatever is computed from the result is post-processing.
Not guaranteed: that drawing anew for the same labels costs nothing more. Each draw is charged.
Source: Warner 1965, doi:10.1080/01621459.1965.10480775; Kairouz, Oh, Viswanath 2014,
arXiv:1407.1338 (among all such mechanisms it keeps most).
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedmkt.core.stages import FloatArray
from fedmkt.privacy.events import RandomisedResponseEvent
from fedmkt.privacy.mechanisms import NoiseSource

_WORDS = 2**64


def randomise_labels(
    target: NDArray[np.uint8], *, epsilon: float, source: NoiseSource
) -> NDArray[np.uint8]:
    """Return the labels, each flipped with probability 1 / (1 + e^epsilon), shape (rows,).

    Args: target: (rows,); above 0 is a yes. source: `OsNoise` wherever the guarantee is to hold.
    Guarantee: that of the module; the same labels cost what `RandomisedResponseEvent` says.
    Raises: EpsilonInvalid for an epsilon no event can hold.
    """
    threshold = np.uint64(flip_threshold(epsilon))
    # Privacy: one word a label; a word for several would flip them together.
    flipped = source.words(target.size).reshape(target.shape) < threshold
    return (np.minimum(target, 1) ^ flipped).astype(np.uint8)


def flip_threshold(epsilon: float) -> int:
    """Return the number of 64-bit words, of all 2^64, on which a label is flipped.

    Never fewer than the share 1 / (1 + e^epsilon) of them, whatever the float error: the exact
    e^epsilon is bounded from below by a float two units in the last place smaller. From an epsilon
    of about 44 on it is one word, so the labels are more private than asked.
    Raises: EpsilonInvalid for an epsilon no event can hold.
    """
    RandomisedResponseEvent(epsilon)
    least = math.exp(epsilon)
    # Privacy: too small a chance would cost more than epsilon.
    for _ in range(2):
        least = math.nextafter(least, 0.0)
    return math.ceil(_WORDS / (1 + Fraction(least)))


def unbiased(target: NDArray[np.uint8], epsilon: float) -> FloatArray:
    """Return soft labels whose expectation is the true label, shape (rows,).

    With p the flip probability, a drawn label d stands for (d - p) / (1 - 2 p), outside [0, 1].
    Raises: EpsilonInvalid for an epsilon no event can hold.
    """
    share = flip_threshold(epsilon) / _WORDS
    return np.asarray((np.minimum(target, 1) - share) / (1 - 2 * share), dtype=np.float64)


def guess_accuracy(epsilon: float) -> float:
    """Return how often the randomised label is the true one.

    Raises: EpsilonInvalid for an epsilon no event can hold.
    """
    return 1 - flip_threshold(epsilon) / _WORDS
