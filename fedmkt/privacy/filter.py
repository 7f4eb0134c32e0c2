"""What a cap lets pass: a Renyi filter, in integers.

Guarantee: events chosen one after another, each in sight of what earlier ones released, whose
`cost_nano` adds up to at most the cap's `budget_nano` are together (epsilon, delta)-private. Costs
are rounded up and budgets down, so rounding never lets an event pass.
Not guaranteed: the tightest figure. `accounting` reports what was lost; a filter must not use it,
because privacy loss distributions are not sound for events chosen one after another.

Sources: the filter is Feldman and Zrnic 2021, arXiv:2008.11193, theorem 4.3, at one order fixed
when the account opens. The multivariate discrete Gaussian has at most the Gaussian's Renyi
divergence at every order, alpha / (2 z^2): Canonne, Kamath, Steinke 2020, arXiv:2004.00010,
theorem 14. From Renyi to (epsilon, delta): the same paper, proposition 12, and Asoodeh et al. 2020,
arXiv:2001.05990, equation 20.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from fedmkt.core.errors import EpsilonInvalid, EventUnknown
from fedmkt.privacy.events import (
    Event,
    GaussianEvent,
    PoissonGaussianEvent,
    RandomisedResponseEvent,
)
from fedmkt.privacy.sampled import sampled_divergence

NANO = 10**9
LARGEST_EPSILON = 1e6
ROUNDING = 2.0**-45  # relative; above the few units in the last place the budget's formula can lose
SMALLEST_SHARE = 4.0  # grid units
_CANCELLED = 2.0**-40  # absolute; above what cancelling terms of size up to 2^10 can lose


@dataclass(frozen=True, slots=True)
class FilterTerms:
    """A cap as its account holds it: the Renyi order and the Renyi budget in 1e-9."""

    order: int
    budget_nano: int


def check_cap(epsilon: float, delta: float) -> None:
    """Raise EpsilonInvalid unless (`epsilon`, `delta`) can be a cap or a target."""
    if not 0 < epsilon <= LARGEST_EPSILON:
        rule = f"above 0 and at most {LARGEST_EPSILON:g}"
        raise EpsilonInvalid(name="epsilon", value=epsilon, rule=rule)
    if not 0 < delta < 1:
        raise EpsilonInvalid(name="delta", value=delta, rule="above 0 and below 1")


def filter_terms(epsilon: float, delta: float) -> FilterTerms:
    """Return the order and the Renyi budget of the cap (`epsilon`, `delta`).

    With L = ln(1/delta) and rho = (sqrt(epsilon + L) - sqrt(L))^2, the zCDP that converts to the
    cap, order = max(2, round(1 + sqrt(L / rho))) and
    budget = epsilon - (ln(1 - 1/order) - ln(delta order)) / (order - 1), rounded down.

    Guarantee: whatever is (order, budget)-Renyi private is (epsilon, delta)-private. Proposition 12
    of arXiv:2004.00010 allows epsilon - ln(1 - 1/order) + ln(delta order) / (order - 1); the budget
    here divides the first logarithm by order - 1 too, so it is never larger.
    Raises: EpsilonInvalid, also for an epsilon too small to pay for anything.
    """
    check_cap(epsilon, delta)
    log_delta = -math.log(delta)
    root_rho = epsilon / (math.sqrt(epsilon + log_delta) + math.sqrt(log_delta))
    ideal = math.sqrt(log_delta) / root_rho if root_rho > 0 else math.inf
    # Privacy: any order is sound; one past 1e15 could no longer be told from its neighbours.
    order = max(2, round(1 + min(ideal, 1e15)))
    lost = (math.log1p(-1 / order) - math.log(delta) - math.log(order)) / (order - 1)
    budget_nano = math.floor((epsilon - lost) * NANO * (1 - ROUNDING))
    if budget_nano < 1:
        raise EpsilonInvalid(name="epsilon", value=epsilon, rule="large enough to pay for anything")
    return FilterTerms(order=order, budget_nano=budget_nano)


def cost_nano(event: Event, order: int) -> int:
    """Return what `event` costs at Renyi order `order`, in 1e-9, rounded up.

    A Gaussian costs order / (2 z^2), computed exactly from the float z. A sum of n discrete
    Gaussians is not one itself; it costs at most tau d more in d dimensions, with
    tau = 10 sum_{k=1}^{n-1} exp(-2 pi^2 sigma^2 k / (k + 1)): Kairouz, Liu, Steinke 2021,
    arXiv:2102.06387, proposition 14. With shares of at least 4 grid units that is under
    10 n d exp(-16 pi^2) < 2e-49, paid for by one nano more.

    A label flipped with probability p = 1 / (1 + e^eps) costs its exact Renyi divergence,
    ln(p^a (1-p)^(1-a) + (1-p)^a p^(1-a)) / (a - 1), computed in floats and raised by a margin far
    above their error; labels of one unit add up.

    Sums over sampled customers cost `sampled_divergence` a step, and the same one nano more.

    Raises: EventUnknown for an event without noise; EpsilonInvalid for shares below 4 grid units.
    """
    if isinstance(event, PoissonGaussianEvent):
        check_shares(event.noise)
        rate, multiplier = event.sampling_rate, event.noise.noise_multiplier
        a_step = Fraction(sampled_divergence(multiplier, rate, order)) * NANO
        return math.ceil(event.steps * a_step) + (event.steps if event.noise.shares > 1 else 0)
    if isinstance(event, RandomisedResponseEvent):
        divergence = Fraction(response_divergence(event.epsilon, order))
        return math.ceil(event.labels * divergence * NANO)
    if not isinstance(event, GaussianEvent):
        raise EventUnknown(kind=type(event).__name__, known=GaussianEvent.__name__)
    check_shares(event)
    exact = Fraction(order * NANO, 2) / Fraction(event.noise_multiplier) ** 2
    return math.ceil(exact) + (1 if event.shares > 1 else 0)


def response_divergence(epsilon: float, order: int) -> float:
    """Return the Renyi divergence of one randomised label at an integer order, rounded up.

    With q = 1 / (1 + e^-eps), the chance that a label stays, the two terms are q e^(eps (a - 1))
    and q e^(-eps a). Never above eps.
    Source: Mironov 2017, arXiv:1702.07476, section 6.1.
    """
    upper = epsilon * (order - 1) - math.log1p(math.exp(-epsilon))
    lower = -epsilon * order - math.log1p(math.exp(-epsilon))
    exact = (upper + math.log1p(math.exp(lower - upper))) / (order - 1)
    # Privacy: near 0 the terms cancel; the absolute margin covers what the floats may lose.
    return min(epsilon, exact * (1 + ROUNDING) + _CANCELLED)


def check_shares(event: GaussianEvent) -> None:
    """Raise EpsilonInvalid for noise in shares too small to add up to a discrete Gaussian."""
    if event.shares > 1 and event.sigma < SMALLEST_SHARE:
        rule = f"at least {SMALLEST_SHARE:g} grid units when noise comes in shares"
        raise EpsilonInvalid(name="sigma", value=event.sigma, rule=rule)


def spent_epsilon(epsilon: float, used_nano: int, budget_nano: int) -> float:
    """Return the part of a cap `epsilon` that `used_nano` of `budget_nano` stands for.

    cap x used / budget, rounded up to 1e-6; all of the budget is all of the cap.
    """
    if used_nano == budget_nano:
        return epsilon
    exact = Fraction(repr(epsilon)) * Fraction(used_nano, budget_nano)
    rounded = math.ceil(exact * 10**6) / 10**6
    return min(rounded, epsilon) if used_nano < budget_nano else rounded
