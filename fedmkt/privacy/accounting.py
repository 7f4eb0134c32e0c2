"""What events cost together: the epsilon that is reported, forecast and calibrated to.

Guarantee: the releases behind `events`, fixed beforehand, are together (epsilon, delta)-private
for one customer. The figure is an upper bound in every step: dp-accounting's privacy loss
distribution rounds pessimistically, the slack below is proven, and the result is rounded up.
Not guaranteed: that it may be used as a cap over events chosen one after another. `filter` is.

The slack. dp-accounting prices the continuous Gaussian; releases carry the discrete one. Queries
are integers, so rounding the continuous noise is post-processing and costs nothing; what remains is
the distance between the rounded Gaussian p and the discrete Gaussian q of scale s on the integers.
With f the Gaussian's density:

1. Midpoint rule: p(n) - f(n) = integral over [n - 1/2, n + 1/2] of (1/2 - |x - n|)^2 / 2 f''(x) dx,
   so sum |p - f| <= 1/8 integral |f''| = 1/8 * 4 |f'(s)| = 1 / (2 s^2 sqrt(2 pi e)).
2. Poisson summation: sum of f(n) over the integers is 1 + t with t = 2 sum_{k>=1}
   exp(-2 pi^2 s^2 k^2), so q = f / (1 + t) and sum |f - q| = t.
3. Hence TV(p, q) <= (1 / (2 s^2 sqrt(2 pi e)) + t) / 2 <= 0.0605 / s^2 + t / 2.

Noise in shares first becomes one discrete Gaussian: the two differ by a factor within exp(+-tau)
(Kairouz, Liu, Steinke 2021, arXiv:2102.06387, the convolution bound behind proposition 14; tau as
in `filter.cost_nano`), so TV <= tau. Independent coordinates and releases add up, also when later
queries depend on earlier results: eta = sum of all TV. With M the real and R the rounded releases,
P[M in S] <= P[R in S] + eta <= e^eps P[R' in S] + delta_R + eta
<= e^eps P[M' in S] + delta_R + (1 + e^eps) eta for any set S. Gaussian releases with multipliers
z_i lose what one with multiplier (sum z_i^-2)^(-1/2) loses (Dong, Roth, Su 2019, arXiv:1905.02383,
corollary 3.3).

A sum over sampled customers is a mixture of sums with and without the customer. Its total variation
is at most that of its parts, so eta adds up as before; dp-accounting's loss distribution of the
sampled Gaussian is that of Poisson sampling with one customer added or removed, the larger of both.

A label that was randomised once has a privacy loss of epsilon or -epsilon; labels compose with each
other and with noise as their loss distributions do, never above what simple addition says.

On a coarse grid or at a large epsilon that slack passes delta. There the Renyi bound, which holds
for the discrete Gaussian itself (arXiv:2004.00010, theorem 14), is the smaller one and is reported.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from dp_accounting.pld import privacy_loss_distribution as pld_library
from dp_accounting.rdp import rdp_privacy_accountant as rdp_library

from fedmkt.core.errors import EpsilonInvalid
from fedmkt.privacy.events import (
    Event,
    ExactEvent,
    GaussianEvent,
    PoissonGaussianEvent,
    RandomisedResponseEvent,
)
from fedmkt.privacy.filter import check_shares, response_divergence
from fedmkt.privacy.sampled import sampled_divergence

CURVATURE = 1 / (4 * math.sqrt(2 * math.pi * math.e))  # step 3: 0.0605
LARGEST_STEP = 1e-3  # grid of losses where randomised labels are among the events
STEPS_A_LOSS = 20_000  # grid points, at least, from no loss to the largest likely one
STEPS_A_MU = 500  # grid points of the loss distribution a standard deviation of the loss
SAMPLED_STEP = 1e-4  # grid of losses where sampled sums are among the events
LARGEST_SAMPLED = 50.0  # Renyi epsilon past which sampled sums' loss distribution grows too long
LARGEST_LOSS_MU = 20.0  # past it the loss distribution's tails no longer fit a float
LARGEST_LOSS = 700.0  # past it e^epsilon no longer fits a float
ORDERS = np.unique(np.r_[2.0:65.0, np.rint(np.geomspace(64, 1e6, 60))])  # labels are priced at
MICRO = 10**6
TRIALS = 64
Responses = tuple[tuple[float, int], ...]  # epsilon of a label, and how many labels have it
Sampled = tuple[tuple[float, float, int], ...]  # noise multiplier, sampling rate, how many steps


def epsilon_of(events: Sequence[Event], delta: float) -> float:
    """Return the epsilon that `events` cost together at `delta`, rounded up to 1e-6.

    0 for no events; infinity with an event without noise. Exact events are left out: no epsilon
    bounds them, the ledger counts them instead, and whoever reports this figure reports them too.
    Raises: EpsilonInvalid for a delta outside (0, 1) or shares too small to be priced.
    """
    if not 0 < delta < 1:
        raise EpsilonInvalid(name="delta", value=delta, rule="above 0 and below 1")
    responses, sampled = _responses_of(events), _sampled_of(events)
    apart = ExactEvent | RandomisedResponseEvent | PoissonGaussianEvent
    rest = [one for one in events if not isinstance(one, apart)]
    mu = mu_gdp(rest)
    if math.isinf(mu):
        return math.inf
    if not rest and not sampled:
        return _response_epsilon(responses, delta)
    slack = slack_of(events)
    alone = _noise_epsilon(mu, slack, delta, (), sampled)
    if not responses:
        return alone
    together = _noise_epsilon(mu, slack, delta, responses, sampled)
    # Basic composition: labels are private at delta 0.
    return min(together, _round_up(alone + _sum_of(responses)))


def mu_gdp(events: Sequence[Event]) -> float:
    """Return mu of the Gaussian differential privacy of `events` with continuous noise.

    0 for no events; infinity with an event without noise. The discrete noise adds `slack_of`.
    Randomised labels, sampled sums and exact events are no Gaussians: each counts as infinity.
    Source: Dong, Roth, Su 2019, arXiv:1905.02383, corollary 3.3.
    """
    inverses = (
        1 / event.noise_multiplier if isinstance(event, GaussianEvent) else math.inf
        for event in events
    )
    return math.hypot(*inverses)


def slack_of(events: Sequence[Event]) -> float:
    """Return eta: the total variation between the releases and rounded continuous ones.

    Raises: EpsilonInvalid for shares too small to add up to a discrete Gaussian.
    """
    noised = [(event, 1) for event in events if isinstance(event, GaussianEvent)]
    noised += [(one.noise, one.steps) for one in events if isinstance(one, PoissonGaussianEvent)]
    return math.fsum(steps * one.dimensions * total_variation(one) for one, steps in noised)


def total_variation(event: GaussianEvent) -> float:
    """Return a bound on the total variation a coordinate, as the module's docstring proves it.

    Raises: EpsilonInvalid for shares too small to add up to a discrete Gaussian.
    """
    check_shares(event)
    variance = event.shares * event.sigma**2
    first = math.exp(-2 * math.pi**2 * variance)
    theta = 2 * first / (1 - first) if first < 1 else math.inf
    # With k / (k + 1) >= 1/2, tau is at most 10 (shares - 1) exp(-pi^2 sigma^2).
    tau = 10 * (event.shares - 1) * math.exp(-((math.pi * event.sigma) ** 2))
    return min(1.0, CURVATURE / variance + theta / 2 + tau)


def _responses_of(events: Sequence[Event]) -> Responses:
    """Return the epsilons of the randomised labels among `events`, each with its number."""
    found: Counter[float] = Counter()
    for event in events:
        if isinstance(event, RandomisedResponseEvent):
            found[event.epsilon] += event.labels
    return tuple(sorted(found.items()))


def _sampled_of(events: Sequence[Event]) -> Sampled:
    """Return the sampled sums among `events`, those alike together: steps add up over events."""
    found: Counter[tuple[float, float]] = Counter()
    for event in events:
        if isinstance(event, PoissonGaussianEvent):
            found[event.noise.noise_multiplier, event.sampling_rate] += event.steps
    return tuple((*key, steps) for key, steps in sorted(found.items()))


def _noise_epsilon(
    mu: float, slack: float, delta: float, responses: Responses, sampled: Sampled
) -> float:
    """Return the smaller one of the epsilons of the loss distribution and of the Renyi bound."""
    renyi = _renyi_epsilon(mu, delta, responses, sampled)
    if sampled and renyi > LARGEST_SAMPLED:
        return renyi
    return min(renyi, _loss_epsilon(mu, slack, delta, responses, sampled))


def _sum_of(responses: Responses) -> float:
    """Return what the labels cost by simple addition, at delta 0."""
    return math.fsum(epsilon * labels for epsilon, labels in responses)


@lru_cache(maxsize=256)
def _response_epsilon(responses: Responses, delta: float) -> float:
    """Return the epsilon of randomised labels alone: their sum, or less at this delta."""
    total = _sum_of(responses)
    if len(responses) < 2 and all(labels == 1 for _, labels in responses):
        return total
    bounds = [_round_up(total), _renyi_epsilon(0.0, delta, responses, ())]
    if total <= LARGEST_LOSS:
        loss = _responses_loss(responses, _step(0.0, responses))
        bounds.append(_round_up(float(loss.get_epsilon_for_delta(delta))))
    return min(bounds)


def _responses_loss(responses: Responses, step: float) -> Any:
    """Return the privacy loss distribution of labels that were each randomised once."""
    whole: Any = pld_library.identity(value_discretization_interval=step)
    for epsilon, labels in responses:
        one = pld_library.from_randomized_response(
            2 / (1 + math.exp(epsilon)),  # a label is drawn anew, evenly, with this chance
            2,
            value_discretization_interval=step,
            pessimistic_estimate=True,
        )
        whole = whole.compose(one.self_compose(labels) if labels > 1 else one)
    return whole


def _step(mu: float, responses: Responses) -> float:
    """Return the grid of losses: each label's loss is rounded up to it, so it must be fine."""
    largest = _sum_of(responses) + mu**2 / 2 + 8 * mu
    return min(LARGEST_STEP, largest / STEPS_A_LOSS)


@lru_cache(maxsize=256)  # one job is priced when it opens, closes and is explained
def _loss_epsilon(
    mu: float, slack: float, delta: float, responses: Responses, sampled: Sampled
) -> float:
    """Return the least multiple of 1e-6 with delta_PLD(eps) + (1 + e^eps) slack <= delta."""
    if mu > LARGEST_LOSS_MU or 2 * slack >= delta or _sum_of(responses) > LARGEST_LOSS:
        return math.inf
    loss = _whole_loss(mu, responses, sampled)
    epsilon = 0.0
    for _ in range(TRIALS):
        left = delta - (1 + math.exp(epsilon)) * slack
        if left <= 0:
            return math.inf
        epsilon = _round_up(float(loss.get_epsilon_for_delta(left)))
        if epsilon > LARGEST_LOSS:
            return math.inf
        if loss.get_delta_for_epsilon(epsilon) + (1 + math.exp(epsilon)) * slack <= delta:
            return epsilon
    return math.inf


def _whole_loss(mu: float, responses: Responses, sampled: Sampled) -> Any:
    """Return the privacy loss distribution of Gaussian noise, labels and sampled sums together."""
    steps = [SAMPLED_STEP] if sampled else []
    if mu or responses:
        steps.append(_step(mu, responses) if responses else mu / STEPS_A_MU)
    step = min(steps)
    whole: Any = pld_library.identity(value_discretization_interval=step)
    if mu:
        whole = _gaussian_loss(1.0, mu, 1.0, step)
    if responses:
        whole = whole.compose(_responses_loss(responses, step))
    for multiplier, rate, times in sampled:
        one = _gaussian_loss(multiplier, 1.0, rate, step)
        whole = whole.compose(one.self_compose(times) if times > 1 else one)
    return whole


def _gaussian_loss(deviation: float, sensitivity: float, rate: float, step: float) -> Any:
    """Return the loss distribution of one noised sum over customers sampled at `rate`."""
    return pld_library.from_gaussian_mechanism(
        deviation,
        sensitivity=sensitivity,
        value_discretization_interval=step,
        pessimistic_estimate=True,
        sampling_prob=rate,
    )


def _renyi_epsilon(mu: float, delta: float, responses: Responses, sampled: Sampled) -> float:
    """Return the epsilon of the Renyi bound alpha mu^2 / 2 and others' at the best of some orders.

    What noise in shares adds to it, tau d < 2e-49 (`filter.cost_nano`), goes under in rounding up.
    """
    if mu:
        best = math.sqrt(-2 * math.log(delta)) / mu
        orders = 1 + np.maximum(best * np.geomspace(0.5, 2, 65), 0.02)
    else:
        orders = ORDERS
    if responses or sampled:
        # Labels and sampled sums are priced at integer orders, and may want others than noise.
        orders = np.union1d(np.maximum(np.rint(orders), 2), ORDERS)
        others = [_others_divergence(int(order), responses, sampled) for order in orders]
        bound = orders * mu**2 / 2 + np.array(others)
    else:
        bound = orders * mu**2 / 2
    epsilon, _ = rdp_library.compute_epsilon(orders, bound, delta)
    return _round_up(float(epsilon))


def _others_divergence(order: int, responses: Responses, sampled: Sampled) -> float:
    """Return the Renyi divergence of labels and sampled sums together at a whole order."""
    labels = (count * response_divergence(one, order) for one, count in responses)
    steps = (
        times * sampled_divergence(multiplier, rate, order) for multiplier, rate, times in sampled
    )
    return math.fsum([*labels, *steps])


def _round_up(epsilon: float) -> float:
    """Return the multiple of 1e-6 next above `epsilon`; infinity as it is."""
    # A loss distribution bounds nothing at a delta below the mass that was cut off its tails.
    if math.isinf(epsilon):
        return epsilon
    return (math.floor(epsilon * MICRO) + 1) / MICRO
