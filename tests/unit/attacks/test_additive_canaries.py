"""The canary audit of additive models: below the statement when honest, above it when broken."""

import numpy as np
import pytest

from fedmkt.contract.job import AdditiveSettings, Job, PrivacySettings
from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.horizontal.local_update import local_sums
from fedmkt.models.additive import AdditiveModel
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.privacy.mechanisms import ReproducibleNoise
from fedmkt.simulation.attacks.additive_canaries import (
    AuditedAdditive,
    Noise,
    NoiseTerms,
    contributions,
    made_up_customers,
    noise_of,
)
from fedmkt.simulation.attacks.canaries import CanaryAudit, audit

EPSILON = 2.0
BINNING = Binning(
    tuple(
        FeatureBins(f"x{place}", tuple(map(str, range(40))), (), ordered=False)
        for place in range(8)
    )
)


def job(trust: str = "local") -> Job:
    members = ("a", "b", "c")
    multiplier = noise_multiplier_for(epsilon=EPSILON, delta=1e-5, releases=3)
    noise = {} if trust == "none" else {"epsilon": EPSILON, "noise_multiplier": multiplier}
    return Job(
        name="trial",
        requester="a",
        purpose="prospecting",
        dataset="cards",
        members=members,
        target="yes",
        features=BINNING.names,
        model=AdditiveSettings(rounds=3),
        privacy=PrivacySettings(trust=trust, **noise),
    )


def customers(seed: int, rows: int = 1_500) -> Examples:
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 40, (rows, 8)).astype(np.uint16)
    target = draw.random(rows) < 1 / (1 + np.exp(2 - codes[:, 0] / 15))
    return Examples(codes, target.astype(np.uint8))


def audited(seed: int, noise: Noise, *, trust: str = "local", canaries: int = 300) -> CanaryAudit:
    draw = np.random.default_rng(seed)
    rows = customers(seed)
    made_up = made_up_customers(rows, BINNING, canaries, draw)
    training = AuditedAdditive(job(trust), BINNING, rows, made_up, noise)
    return audit(training, draw.random(canaries) < 0.5, defence="noise")


def weaker(seed: int, part: float) -> Noise:
    honest = noise_of(ReproducibleNoise(seed))

    def noised(update, terms):
        return honest(update, NoiseTerms(terms.multiplier * part, terms.shares, terms.trust))

    return noised


@pytest.mark.parametrize("trust", ["local", "distributed"])
def test_the_bound_of_an_honest_training_stays_below_its_epsilon(trust):
    bounds = [
        audited(seed, noise_of(ReproducibleNoise(seed)), trust=trust).result.value
        for seed in range(15)
    ]
    assert max(bounds) < EPSILON
    assert max(bounds) > 0


def test_noise_left_off_is_found():
    for seed in range(3):
        found = audited(seed, lambda update, terms: update.values)
        assert found.exceeds
        assert found.result.value > 1.4 * EPSILON


def test_a_tenth_of_the_noise_is_found():
    assert all(audited(seed, weaker(seed, 0.1)).exceeds for seed in range(3))


def test_half_of_the_noise_is_missed():
    # What the module's docstring admits.
    assert not any(audited(seed, weaker(seed, 0.5)).exceeds for seed in range(3))


@pytest.mark.parametrize("opening", [True, False])
def test_contributions_are_what_canaries_move_the_sums_by(opening):
    draw = np.random.default_rng(1)
    model = AdditiveModel(BINNING, 0.3, draw.normal(0, 1, BINNING.total))
    weight = 0.2 if opening else None
    rows = customers(1, 50)
    each = contributions(rows, model, count_weight=weight)
    assert np.array_equal(each.sum(axis=0), local_sums(rows, model, count_weight=weight).values)


def test_a_job_without_noise_has_nothing_to_audit():
    rows = customers(1, 10)
    with pytest.raises(SettingInvalid, match="no noise"):
        AuditedAdditive(job("none"), BINNING, rows, rows, noise_of(ReproducibleNoise(1)))


def test_coins_must_be_one_a_canary():
    rows = customers(1, 10)
    training = AuditedAdditive(job(), BINNING, rows, rows, noise_of(ReproducibleNoise(1)))
    with pytest.raises(SettingInvalid):
        audit(training, np.ones(3, dtype=bool), defence="noise")
