"""What a noised sum over sampled customers costs by itself: its Renyi divergence at a whole order.

Guarantee: `sampled_divergence` is never below the Renyi divergence, either way round, between the
sums with and without one customer, for the continuous and the discrete Gaussian alike.
Not guaranteed: that it is tight above order 1024, where sampling is left out of account.

Proof. Let m0 and m1 be the noise around the sums without and with the customer, Q = m0 and
P = (1 - q) m0 + q m1; conditioning on all others leaves only these. For a whole order a
    E_Q[(P / Q)^a] = sum over k of C(a, k) (1 - q)^(a - k) q^k E_m0[(m1 / m0)^k],
and E_m0[(m1 / m0)^k] <= exp(k (k - 1) / (2 z^2)): equality for the Gaussian, and for the discrete
one arXiv:2004.00010, theorem 14. (Binomial weights add up to 1, so what is summed here is each
weight times exp(...) - 1: no term cancels another.) The other way round D_a(Q || P) <= D_a(P || Q):
Mironov, Talwar, Zhang 2019, arXiv:1908.10530, theorem 5, for two distributions that an involution
swaps which keeps the measure; x -> s - x does, on the grid as on the reals, s being the sum of both
centres. A chance below q costs no more: D_a is convex in it and 0 at 0. Sampling never costs more
than a / (2 z^2), by quasi-convexity (van Erven and Harremoes 2014, arXiv:1206.2459, theorem 13).
Source: the expansion, arXiv:1908.10530, section 3.3.
"""

import math
from functools import lru_cache

LARGEST_EXPANDED = 1024
_MARGIN = 2.0**-30  # relative; terms are off by less than 2^-36 of themselves


@lru_cache(maxsize=4096)  # one job is priced at many orders, more than once
def sampled_divergence(noise_multiplier: float, sampling_rate: float, order: int) -> float:
    """Return a bound on the Renyi divergence of one sum at a whole `order`, at least 2."""
    whole = order / (2 * noise_multiplier * noise_multiplier) * (1 + _MARGIN)
    if sampling_rate == 1 or order > LARGEST_EXPANDED:
        return whole
    logs = [_log_term(noise_multiplier, sampling_rate, order, k) for k in range(2, order + 1)]
    peak = max(logs)
    excess = peak + math.log(math.fsum(math.exp(one - peak) for one in logs))
    moment = excess + math.log1p(math.exp(-excess)) if excess > 0 else math.log1p(math.exp(excess))
    return min(whole, moment / (order - 1) * (1 + _MARGIN))


def _log_term(noise_multiplier: float, rate: float, order: int, k: int) -> float:
    """Return ln of C(a, k) (1 - q)^(a - k) q^k (exp(k (k - 1) / (2 z^2)) - 1)."""
    exponent = k * (k - 1) / (2 * noise_multiplier * noise_multiplier)
    weight = math.log(math.comb(order, k)) + (order - k) * math.log1p(-rate) + k * math.log(rate)
    return weight + exponent + math.log(-math.expm1(-exponent))
