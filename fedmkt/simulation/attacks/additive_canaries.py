"""The canary audit of an additive model: its releases are noised sums of residuals.

Canaries are customers in bins drawn at random, with the rarer target, so that their residuals are
large. One adds its residual to one bin of each feature, so the sums Y are linear in the coins, with
the canaries' contributions A: the best linear guess of all coins together takes into account that
canaries share bins. The residuals of a round follow from the public model before it, so the
auditor knows A.

Guarantee: sums, bounds, noise and steps are those of a node and a coordinator (`local_sums`,
`planned_sums`, `add_noise`, `apply_sum`). With trust `local` one partner's sums are audited, with
`distributed` the sum of the noise of the honest partners that the job counts on.
Not guaranteed: anything about a survey of edges, which canaries take no part in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedmkt.contract.job import Job
from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import Examples, FloatArray, IntArray, LocalUpdate, Trust
from fedmkt.data.binning import Binning
from fedmkt.horizontal.local_update import GRID, local_sums, residual_units, weight_units
from fedmkt.horizontal.newton import TrainingState, apply_sum, initial_state
from fedmkt.horizontal.plan import SumPlan, honest_shares, planned_sums
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.mechanisms import NoiseSource, add_noise, noise_event
from fedmkt.simulation.attacks.result import BoolArray

_NOISE_PARTS = tuple(2.0**-k for k in range(14))


@dataclass(frozen=True, slots=True)
class NoiseTerms:
    """The noise of a release, as the job states it."""

    multiplier: float
    shares: int
    trust: Trust


Noise = Callable[[LocalUpdate, NoiseTerms], IntArray]
"""From exact sums to what is released of them. An audit of a broken release hands in its own."""


def noise_of(source: NoiseSource) -> Noise:
    """Return the deployed mechanism: all shares that the job's guarantee counts on."""

    def noised(update: LocalUpdate, terms: NoiseTerms) -> IntArray:
        nobody = LocalUpdate(np.zeros_like(update.values), update.l2_bound)
        total = np.zeros_like(update.values)
        for share in range(terms.shares):
            total += add_noise(
                nobody if share else update,
                noise_multiplier=terms.multiplier,
                shares=terms.shares,
                trust=terms.trust,
                source=source,
            ).values
        return total

    return noised


@dataclass(frozen=True, slots=True)
class AuditedAdditive:
    """A training of an additive model with made-up customers among one partner's own.

    examples: the partner's customers. made_up: the canaries, in bins of the same `binning`.
    Raises: SettingInvalid for a job without noise.
    """

    job: Job
    binning: Binning
    examples: Examples = field(repr=False)
    made_up: Examples = field(repr=False)
    noise: Noise = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a job that states no epsilon. Raises: SettingInvalid."""
        if self.job.privacy.epsilon is None or self.job.privacy.noise_multiplier is None:
            problem = "it has no noise, so there is no epsilon to audit"
            raise SettingInvalid(setting=f"the job {self.job.name}", problem=problem)

    @property
    def what(self) -> str:
        """Return in words what is trained, by which terms, and which canaries it takes."""
        return (
            f"additive model of job {self.job.name}: {self.job.model.rounds} rounds, noise "
            f"multiplier {self.terms.multiplier:g}, trust {self.terms.trust}; "
            f"{self.canaries} canaries that are customers"
        )

    @property
    def epsilon(self) -> float:
        """Return the epsilon that the job states."""
        assert self.job.privacy.epsilon is not None
        return self.job.privacy.epsilon

    @property
    def delta(self) -> float:
        """Return the delta that the job states."""
        return self.job.privacy.delta

    @property
    def canaries(self) -> int:
        """Return how many canaries there are."""
        return self.made_up.rows

    @property
    def terms(self) -> NoiseTerms:
        """Return the noise that the job states."""
        privacy = self.job.privacy
        assert privacy.noise_multiplier is not None
        return NoiseTerms(privacy.noise_multiplier, honest_shares(self.job), privacy.trust)

    def scores(self, present: BoolArray) -> FloatArray:
        """Train once with the canaries `present`; return the best linear guess of each coin."""
        customers = _joined(self.examples, _chosen(self.made_up, present))
        weight = self.job.privacy.count_weight
        state = initial_state(self.binning, self.job.model)
        seen = _Seen.nothing(self.canaries)
        for plan in planned_sums(_declared(self.job), self.binning):
            exact = self._sums(customers, state.model, plan)
            known = self._sums(self.examples, state.model, plan)
            released = self.noise(exact, self.terms)
            sigma = self._sigma(plan)
            own = contributions(self.made_up, state.model, count_weight=self._weight(plan))
            seen = seen.after(own, released - known.values, sigma)
            state = _stepped(state, released, sigma, weight)
        return seen.coins()

    def _sums(self, customers: Examples, model: AdditiveModel, plan: SumPlan) -> LocalUpdate:
        update = local_sums(customers, model, count_weight=self._weight(plan))
        assert update.l2_bound == plan.l2_bound
        return update

    def _weight(self, plan: SumPlan) -> float | None:
        return self.job.privacy.count_weight if plan.with_counts else None

    def _sigma(self, plan: SumPlan) -> float:
        """Return the standard deviation of the stated noise of a sum, in grid units."""
        event = noise_event(
            l2_bound=plan.l2_bound,
            noise_multiplier=self.terms.multiplier,
            shares=self.terms.shares,
            dimensions=plan.length,
        )
        return event.sigma * math.sqrt(self.terms.shares)


def made_up_customers(
    examples: Examples, binning: Binning, count: int, draw: np.random.Generator
) -> Examples:
    """Return customers to be canaries: each bin as likely as another, all with the rarer target."""
    codes = np.column_stack([draw.integers(0, one.bins, count) for one in binning.features])
    rarer = int(examples.target.mean() < 0.5) if examples.rows else 1
    return Examples(codes.astype(np.uint16), np.full(count, rarer, dtype=np.uint8))


def contributions(
    customers: Examples, model: AdditiveModel, *, count_weight: float | None
) -> FloatArray:
    """Return what each customer adds to a sum, shape (customers, length), in grid units."""
    binning = model.binning
    where = np.zeros((customers.rows, binning.total))
    for place, start in enumerate(binning.offsets[: len(binning.features)]):
        where[np.arange(customers.rows), start + customers.codes[:, place].astype(np.int64)] = 1
    bound = residual_units(model.link, opening=count_weight is not None and model.is_zero)
    raw = model.link.residuals(customers.target, model.scores(customers.codes))
    units = np.clip(np.rint(raw * GRID), -bound, bound)
    residuals = np.asarray(where * units[:, None], dtype=np.float64)
    if count_weight is None:
        return residuals
    return np.concatenate([residuals, where * weight_units(count_weight)], axis=1)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What all releases so far say of the coins, in units of the stated noise.

    information: G = A A' (canaries, canaries). evidence: h = A y, y = Y - A' 1/2. square: y'y.
    numbers: the length of all releases.
    """

    information: FloatArray
    evidence: FloatArray
    square: float = 0.0
    numbers: int = 0

    @staticmethod
    def nothing(canaries: int) -> "_Seen":
        """Return what is known before the first release."""
        return _Seen(np.zeros((canaries, canaries)), np.zeros(canaries))

    def after(self, own: FloatArray, seen: IntArray, sigma: float) -> "_Seen":
        """Return what is known with one more release; `seen`: its part not of the customers."""
        scaled = own / sigma
        rest = seen / sigma - scaled.sum(axis=0) / 2
        return _Seen(
            self.information + scaled @ scaled.T,
            self.evidence + scaled @ rest,
            self.square + float(rest @ rest),
            self.numbers + rest.size,
        )

    def coins(self) -> FloatArray:
        """Return the best linear guess of each coin, shape (canaries,).

        With noise of s times the stated: 1/2 + (G + 4 s^2)^-1 h. Releases themselves say which s is
        likeliest, y being Gaussian with covariance s^2 + A'A / 4; so missing noise is made use of.
        """
        values, vectors = np.linalg.eigh(self.information)
        values, turned = np.maximum(values, 0.0), vectors.T @ self.evidence

        def unlikeliness(part: float) -> float:
            square = part * part
            explained = float((turned**2 / (values + 4 * square)).sum())
            spread = float(np.log1p(values / (4 * square)).sum())
            return self.numbers * math.log(square) + spread + (self.square - explained) / square

        part = min(_NOISE_PARTS, key=unlikeliness)
        guess = vectors @ (turned / (values + 4 * part * part))
        return np.asarray(guess + 0.5, dtype=np.float64)


def _stepped(
    state: TrainingState, released: IntArray, sigma: float, count_weight: float
) -> TrainingState:
    return apply_sum(state, released, noise_sigma=sigma, count_weight=count_weight)


def _declared(job: Job) -> Job:
    """Return the job with its bins given: a survey is over before its rounds begin."""
    return job.model_copy(update={"model": job.model.model_copy(update={"edges": "declared"})})


def _chosen(customers: Examples, chosen: BoolArray) -> Examples:
    return Examples(customers.codes[chosen], customers.target[chosen])


def _joined(one: Examples, other: Examples) -> Examples:
    return Examples(
        np.concatenate([one.codes, other.codes]), np.concatenate([one.target, other.target])
    )
