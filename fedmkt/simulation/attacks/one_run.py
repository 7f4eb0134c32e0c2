"""A lower bound on epsilon from the right guesses of one training.

Guarantee: let each of m customers be in a training by a fair coin of its own, and let somebody who
sees what the training releases guess the coins of at most r of them, r fixed beforehand. If
the training is (epsilon, delta)-private for one customer added or removed, the chance of v or more
right guesses is at most `p_value`. So `epsilon_bound` is above the true epsilon in at most
1 - `confidence` of all audits.
Not guaranteed: that the bound is near the true epsilon. It counts right guesses and forgets how
sure they were, and m customers in one training blur each other; half the true epsilon is usual. A
bound below the stated epsilon proves nothing; one above it proves that the statement is wrong.

Proof, for delta = 0. Fix the releases, the guesses made of them and the coins before the i-th. A
fair coin has odds 1, and by Bayes the releases move them by a factor within e^-eps and e^eps,
whatever the coins after it are, so a guess is right with a chance of at most
q = e^eps / (1 + e^eps). By induction over i the number of right guesses is stochastically at most
W ~ Binomial(r, q). With delta, each coin's releases are those of an eps-private training but for an
event; F, the number of coins whose event happens, has expectation at most 2 m delta, and a guess
behind such an event may be right for certain: P[W + F >= v] <= P[W >= v] + sum over i of
P[F = i] P[v - i <= W < v] <= P[W >= v] + 2 m delta max over i of P[v - i <= W < v] / i.
Epsilon only has to be found where the p-value crosses 1 - confidence: what is (eps, delta)-private
is so at every larger epsilon, and more right guesses never give a smaller bound.
Source: Steinke, Nasr, Jagielski 2023, arXiv:2305.08846, theorem 5.2 and corollary 5.4.
"""

import math

import numpy as np
from scipy.stats import binom

from fedmkt.core.errors import SettingInvalid

_LARGEST = 64.0
_HALVINGS = 40


def p_value(*, canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Return the most the chance of so many right guesses can be at (epsilon, delta).

    Args: canaries: m, all whose coins were thrown. guesses: r, at most m. right: v, at most r.
    Raises: SettingInvalid.
    """
    if not 0 <= right <= guesses <= canaries:
        problem = "right guesses, guesses and canaries must not fall, in this order"
        raise SettingInvalid(setting="a canary audit", problem=problem)
    if not (epsilon >= 0 and 0 <= delta <= 1):
        raise SettingInvalid(setting="a canary audit", problem="epsilon or delta out of range")
    accuracy = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, accuracy))
    if right == 0 or delta == 0:
        return min(tail, 1.0)
    below = binom.pmf(np.arange(right - 1, -1, -1), guesses, accuracy)  # P[W = v - 1], …, P[W = 0]
    steepest = float((np.cumsum(below) / np.arange(1, right + 1)).max())
    return min(tail + 2 * canaries * delta * steepest, 1.0)


def epsilon_bound(
    *, canaries: int, guesses: int, right: int, delta: float, confidence: float = 0.95
) -> float:
    """Return a lower bound on epsilon at `delta` that holds with `confidence`; 0 says nothing.

    Args: as `p_value`. Guarantee: that of the module. Raises: SettingInvalid.
    """
    level = 1 - confidence

    def value(epsilon: float) -> float:
        return p_value(
            canaries=canaries, guesses=guesses, right=right, epsilon=epsilon, delta=delta
        )

    low, high = 0.0, 1.0
    if value(low) >= level:
        return 0.0
    while value(high) < level and high < _LARGEST:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if value(middle) < level:
            low = middle
        else:
            high = middle
    return low
