"""One party's state, its scores in steps, and where it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.errors import RangeExceeded, TrainingDiverged
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.models.additive import AdditiveModel
from fedmkt.vertical.party import (
    PartyModel,
    begin,
    intercept_step,
    levels_of,
    step,
    step_size,
)
from fedmkt.vertical.residuals import GRID

PUBLIC = Binning(
    (
        FeatureBins("spend", ("0", "1", "2", "3"), (1.0, 2.0, 3.0), True),
        FeatureBins("city", tuple("abc"), (), ordered=False),
    )
)
SETTINGS = VerticalSettings(step=(1.0,))


def _party(rows: int = 400, seed: int = 1) -> tuple[PartyModel, np.ndarray]:
    rng = np.random.default_rng(seed)
    spend = rng.choice(4, rows, p=[0.02, 0.4, 0.38, 0.2])
    codes = np.stack([spend, rng.integers(0, 3, rows)], axis=1).astype(np.uint16)
    return begin(codes, PUBLIC, least=20, dataset="cards"), codes


def _model(effects: list[float], offset: float = 0.0) -> AdditiveModel:
    return AdditiveModel(PUBLIC, offset, np.array(effects))


# --- state ------------------------------------------------------------------------------------


def test_counts_are_those_of_the_training_rows_in_each_group() -> None:
    party, codes = _party()
    spend = np.bincount(codes[:, 0], minlength=4)
    assert spend[0] < 20
    assert party.counts.tolist()[:3] == [spend[0] + spend[1], spend[2], spend[3]]
    assert party.customers == 400


def test_counts_and_effects_do_not_print() -> None:
    party, _ = _party()
    assert str(int(party.counts[0])) not in repr(replace(party, customers=0))


def test_a_state_survives_json_to_the_last_bit() -> None:
    party, _ = _party()
    sums = np.arange(PUBLIC.total, dtype=np.int64) * 1000
    stepped = step(party, sums, noise=5_000.0, settings=SETTINGS)
    back = PartyModel.from_json(json.loads(json.dumps(stepped.to_json())))
    assert back.model.hash == stepped.model.hash
    again = step(back, sums, noise=5_000.0, settings=SETTINGS)
    assert again.model.hash == step(stepped, sums, noise=5_000.0, settings=SETTINGS).model.hash


def test_bins_of_one_group_have_one_effect_and_effects_are_centred_over_groups() -> None:
    party, _ = _party()
    sums = np.array([0, 9, -5, 3, 4, 5, 6], dtype=np.int64) * GRID
    stepped = step(party, sums, noise=0.0, settings=SETTINGS)
    _, spend = stepped.model.shape("spend")
    assert spend[0] == spend[1]
    assert len(set(spend.tolist())) == 3
    assert spend[1:].sum() == pytest.approx(0.0, abs=1e-12)


def test_sums_outside_the_first_bins_are_not_looked_at() -> None:
    party, _ = _party()
    sums = np.array([9, 0, -5, 3, 4, 5, 6], dtype=np.int64) * GRID
    other = sums.copy()
    other[1] = 12345 * GRID  # bin 1 of spend stands with bin 0
    one, two = (step(party, values, noise=0.0, settings=SETTINGS) for values in (sums, other))
    assert one.model.hash == two.model.hash


def test_one_noise_for_each_group_equals_one_number() -> None:
    party, _ = _party()
    sums = np.arange(PUBLIC.total, dtype=np.int64) * 1000
    each = np.full(party.binning.total, 7_000.0)
    one = step(party, sums, noise=7_000.0, settings=SETTINGS)
    assert step(party, sums, noise=each, settings=SETTINGS).model.hash == one.model.hash


def test_a_party_without_features_steps_to_itself() -> None:
    empty = Binning(())
    party = begin(np.zeros((50, 0), dtype=np.uint16), empty, least=20, dataset="cards")
    stepped = step(party, np.zeros(0, dtype=np.int64), noise=1.0, settings=SETTINGS)
    assert stepped.round == 1
    levels = levels_of(stepped.model, np.zeros((50, 0), dtype=np.uint16), limit=4.0, levels=33)
    assert not levels.any()


def test_a_step_that_leaves_the_finite_numbers_is_refused_with_its_round() -> None:
    party, _ = _party()
    settings = VerticalSettings.model_construct(ridge=0.3, smoothness=1.0, step=(1e308,))
    sums = np.full(PUBLIC.total, 2**50, dtype=np.int64) * np.array([1, 1, -1, 1, 1, -1, 1])
    with pytest.raises(TrainingDiverged) as refused:
        step(replace(party, round=3), sums, noise=0.0, settings=settings)
    assert "round 4" in str(refused.value)


def test_the_intercept_opens_at_the_log_odds_of_the_prevalence() -> None:
    """200 yes of 1,000: the total is 200 - 500 in units of 1, whatever the step."""
    opened = intercept_step(
        0.0, -300 * GRID, customers=1_000, round_index=0, settings=VerticalSettings(step=(0.5,))
    )
    assert opened == pytest.approx(np.log(0.2 / 0.8))


def test_later_the_intercept_takes_the_share_of_newtons_step() -> None:
    """4 total / customers, times the step: 4 * 50 / 1000 * 0.5 = 0.1."""
    settings = VerticalSettings(step=(1.0, 0.5))
    moved = intercept_step(-1.0, 50 * GRID, customers=1_000, round_index=7, settings=settings)
    assert moved == pytest.approx(-0.9)


# --- scores in steps --------------------------------------------------------------------------


def test_levels_are_effects_clipped_and_rounded_and_the_offset_rounded() -> None:
    # Limit 4, 33 levels: a step is 0.25. Effects in steps: 1, -16 (clipped), 16 (clipped), 0.
    assert step_size(limit=4.0, levels=33) == 0.25
    model = _model([0.3, -9.0, 4.1, 0.1, 0.0, 0.0, 1.0], offset=-0.6)
    codes = np.array([[0, 0], [1, 0], [2, 2], [3, 1]], dtype=np.uint16)
    levels = levels_of(model, codes, limit=4.0, levels=33)
    assert levels.tolist() == [1 - 2, -16 - 2, 16 + 4 - 2, 0 - 2]
    assert levels.dtype == np.int32


def test_an_even_number_of_levels_is_not_passed() -> None:
    model = _model([-99.0, 99.0, 0, 0, 0, 0, 0])
    codes = np.array([[0, 0], [1, 0]], dtype=np.uint16)
    assert levels_of(model, codes, limit=4.0, levels=4).tolist() == [-1, 1]


def test_a_wild_offset_is_clipped_to_what_all_features_together_can_move() -> None:
    codes = np.zeros((1, 2), dtype=np.uint16)
    assert levels_of(_model([0.0] * 7, 1e9), codes, limit=4.0, levels=33).tolist() == [32]


def test_fine_levels_tell_a_score_within_half_a_step_a_term() -> None:
    party, codes = _party()
    rng = np.random.default_rng(3)
    sums = rng.integers(-(2**16), 2**16, PUBLIC.total)
    model = step(party, sums, noise=0.0, settings=SETTINGS).model
    size = step_size(limit=8.0, levels=2**20 + 1)
    levels = levels_of(model, codes, limit=8.0, levels=2**20 + 1)
    # Two features and the offset, each off by at most half a step.
    np.testing.assert_allclose(levels * size, model.scores(codes), atol=1.5 * size)


def test_more_than_a_sum_of_parties_can_hold_is_refused() -> None:
    """2 F half <= (2^31 - 1) / 8 with half = 2^19: at most 255 features."""
    features = tuple(FeatureBins(f"f{k}", ("0", "1"), (), ordered=False) for k in range(256))
    codes = np.zeros((1, 256), dtype=np.uint16)
    model = AdditiveModel(Binning(features), 0.0, np.zeros(512))
    fewer = AdditiveModel(Binning(features[:255]), 0.0, np.zeros(510))
    levels_of(fewer, codes[:, :255], limit=4.0, levels=2**20 + 1)
    with pytest.raises(RangeExceeded):
        levels_of(model, codes, limit=4.0, levels=2**20 + 1)


# --- explanations -----------------------------------------------------------------------------


def test_an_explanation_is_the_largest_part_first_and_adds_up_to_the_score() -> None:
    model = _model([0.5, -0.5, 0.0, 0.0, 1.0, -2.0, 1.0], offset=-1.0)
    codes = np.array([1, 1], dtype=np.uint16)
    told = model.explain(codes)
    assert told == (("city", "b", -2.0), ("spend", "1", -0.5))
    total = model.intercept + sum(effect for _, _, effect in told)
    assert total == pytest.approx(float(model.scores(codes[None, :])[0]))
