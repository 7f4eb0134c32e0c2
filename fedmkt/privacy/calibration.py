"""From a target epsilon to the noise that reaches it.

Guarantee: `releases` equal releases with the multiplier returned cost at most epsilon by
`accounting.epsilon_of`, on any grid and length that stay within the assumptions named below.
Not guaranteed: that a filter lets them pass; its cap is tighter than what is lost.
"""

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import LARGEST_MULTIPLIER, SMALLEST_MULTIPLIER, GaussianEvent
from fedmkt.privacy.filter import check_cap

COARSEST_BOUND = 2.0**24  # grid units: one customer's bound is at least this
LONGEST_VECTOR = 2**16  # dimensions of a release are at most this
PRECISION = 1 + 5e-4  # relative


def noise_multiplier_for(*, epsilon: float, delta: float, releases: int) -> float:
    """Return the smallest noise multiplier, within 1e-3 of itself, that keeps to `epsilon`.

    `releases` releases with this multiplier each cost at most `epsilon` at `delta` together, if one
    customer's bound is at least 2^26 grid units and a release has at most 2^16 dimensions.
    Raises: EpsilonInvalid for an epsilon, delta or number of releases no noise can reach.
    """
    check_cap(epsilon, delta)
    if releases < 1:
        raise EpsilonInvalid(name="releases", value=releases, rule="at least 1")
    low, high = _bracket(epsilon, delta, releases)
    while high > low * PRECISION:
        middle = (low * high) ** 0.5
        if _cost(middle, delta, releases) <= epsilon:
            high = middle
        else:
            low = middle
    return high


def _bracket(epsilon: float, delta: float, releases: int) -> tuple[float, float]:
    """Return a multiplier that costs too much and one, at most twice as large, that does not."""
    multiplier = 1.0
    while _cost(multiplier, delta, releases) > epsilon:
        multiplier *= 2
        if multiplier > LARGEST_MULTIPLIER:
            rule = "large enough for noise to reach; ask for more, or for fewer releases"
            raise EpsilonInvalid(name="epsilon", value=epsilon, rule=rule)
    while multiplier > SMALLEST_MULTIPLIER:
        below = max(multiplier / 2, SMALLEST_MULTIPLIER)
        if _cost(below, delta, releases) > epsilon:
            return below, multiplier
        multiplier = below
    return multiplier, multiplier


def _cost(multiplier: float, delta: float, releases: int) -> float:
    """Return the epsilon of equal releases on the coarsest grid and the longest vector."""
    event = GaussianEvent(multiplier, multiplier * COARSEST_BOUND, 1, LONGEST_VECTOR)
    return epsilon_of([event] * releases, delta)
