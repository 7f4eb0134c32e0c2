"""From a target epsilon to the noise that reaches it.

Guarantee: `releases` equal releases with the multiplier returned cost at most epsilon by
`accounting.epsilon_of`, on any grid and length that stay within the assumptions named below.
Not guaranteed: that a filter lets them pass; its cap is tighter than what is lost. Nor that a job
stays within the assumptions: a node prices what the job really does, and refuses what costs more.
"""

from collections.abc import Callable, Sequence

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import LARGEST_MULTIPLIER, SMALLEST_MULTIPLIER, Event, GaussianEvent
from fedmkt.privacy.filter import check_cap

COARSEST_BOUND = 2.0**24  # grid units: one customer's bound is at least this in every job
USUAL_LENGTH = 2**16  # dimensions of a release are at most this, unless the caller says more
PRECISION = 1 + 5e-4  # relative


def noise_multiplier_for(
    *,
    epsilon: float,
    delta: float,
    releases: int,
    dimensions: int = USUAL_LENGTH,
    grid_bound: float = COARSEST_BOUND,
) -> float:
    """Return the smallest noise multiplier, within 1e-3 of itself, that keeps to `epsilon`.

    `releases` releases with this multiplier each cost at most `epsilon` at `delta` together, if one
    customer's bound is at least `grid_bound` grid units (2^24 in every horizontal job) and no
    release is longer than `dimensions`.
    Raises: EpsilonInvalid for an epsilon, delta, number of releases or length no noise can reach.
    """
    check_cap(epsilon, delta)
    if releases < 1:
        raise EpsilonInvalid(name="releases", value=releases, rule="at least 1")

    def cost(multiplier: float) -> float:
        """Return the epsilon of equal releases on the coarsest grid and of the greatest length."""
        event = GaussianEvent(multiplier, multiplier * grid_bound, 1, dimensions)
        return epsilon_of([event] * releases, delta)

    return _smallest(epsilon, cost)


def smallest_multiplier(
    events: Callable[[float], Sequence[Event]], *, epsilon: float, delta: float
) -> float:
    """Return the smallest noise multiplier, within 1e-3 of itself, whose events cost `epsilon`.

    Args: events: all releases of a training with a noise multiplier; more noise costs no more.
    Raises: EpsilonInvalid for an epsilon or delta no noise can reach, and as `events`.
    """
    check_cap(epsilon, delta)
    return _smallest(epsilon, lambda multiplier: epsilon_of(events(multiplier), delta))


def _smallest(epsilon: float, cost: Callable[[float], float]) -> float:
    """Return the smallest multiplier that costs at most `epsilon`, within 1e-3 of itself."""
    low, high = _bracket(epsilon, cost)
    while high > low * PRECISION:
        middle = (low * high) ** 0.5
        if cost(middle) <= epsilon:
            high = middle
        else:
            low = middle
    return high


def _bracket(epsilon: float, cost: Callable[[float], float]) -> tuple[float, float]:
    """Return a multiplier that costs too much and one, at most twice as large, that does not."""
    multiplier = 1.0
    while cost(multiplier) > epsilon:
        multiplier *= 2
        if multiplier > LARGEST_MULTIPLIER:
            rule = "large enough for noise to reach; ask for more, or for fewer releases"
            raise EpsilonInvalid(name="epsilon", value=epsilon, rule=rule)
    while multiplier > SMALLEST_MULTIPLIER:
        below = max(multiplier / 2, SMALLEST_MULTIPLIER)
        if cost(below) > epsilon:
            return below, multiplier
        multiplier = below
    return multiplier, multiplier
