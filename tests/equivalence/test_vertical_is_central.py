"""Vertical training through integers is central training: two tables, split by columns.

The reference is `horizontal.pooled.train_pooled` on the joined table: other sums (2^26 grid units),
one model over all features in place of one a party, one intercept, no rounding of scores. Without
noise and with fine levels the two must agree while the reference's step is never shortened, which
vertical training cannot do.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.stages import CodeArray, Examples, FloatArray
from fedmkt.data import bundled
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.evaluation.metrics import auc
from fedmkt.horizontal.newton import TrainingState
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.vertical.party import (
    PartyModel,
    begin,
    intercept_step,
    levels_of,
    step,
    step_size,
)
from fedmkt.vertical.residuals import bin_sums, residuals, training_rows
from fedmkt.vertical.small_bins import merge_small_bins
from fedmkt.vertical.twin import Columns, Twin, train_alone, train_twin

ADULT = {
    "bank": ("age", "capital_gain", "capital_loss", "hours_per_week", "workclass"),
    "retailer": ("marital_status", "relationship"),
    "map_provider": ("education", "occupation", "native_country"),
}
BANK_MARKETING = {
    "bank": ("balance", "default", "housing", "loan"),
    "agency": ("contact", "day", "month", "campaign", "pdays", "previous", "poutcome"),
    "retailer": ("age", "job", "marital", "education"),
}
NAMES = ("adult", "bank_marketing")
FINE = 2**20 + 1
SETTINGS = VerticalSettings(
    max_bins=32, rounds=15, ridge=1.0, smoothness=1.0, step=(0.7,), levels=FINE, limit=8.0
)
LEAST = 5
COEFFICIENT = 1e-4
"""Between them: residuals rounded to 2^-12 (at most half a unit a row, of random sign), and the
partners' effects in scores rounded to 2^-16."""


@dataclass(frozen=True)
class Case:
    """One table: the parties' columns, its labels, and the rows that are trained on."""

    parties: tuple[Columns, ...]
    target: np.ndarray
    rows: int


@cache
def _case(name: str) -> Case:
    splits = {"adult": ADULT, "bank_marketing": BANK_MARKETING}[name]
    table = bundled.load("adult_train" if name == "adult" else "bank_marketing")
    schema = bundled.schema("adult" if name == "adult" else "bank_marketing")
    yes = table["income" if name == "adult" else "y"] == schema.target_positive
    order = np.random.default_rng(11).permutation(table.height)
    parties = []
    for party, features in splits.items():
        binning = binning_from_schema(schema, features, max_bins=SETTINGS.max_bins)
        codes = encode(table, binning, dataset=party)[order]
        parties.append(Columns(party, binning, codes, least=LEAST))
    target = yes.to_numpy().astype(np.uint8)[order]
    return Case(tuple(parties), target, training_rows(len(target), SETTINGS.holdout))


@cache
def _twin(name: str) -> Twin:
    case = _case(name)
    return train_twin(case.parties, case.target, SETTINGS)


def _grouped(one: Columns, rows: int) -> tuple[Binning, CodeArray]:
    """The party's groups of bins as a binning, and every row's codes of it."""
    merging = merge_small_bins(one.codes[:rows], one.binning, least=one.least, dataset=one.name)
    codes = [groups[one.codes[:, k]] for k, groups in enumerate(merging.groups)]
    return merging.binning, np.stack(codes, axis=1).astype(np.uint16)


@cache
def _central(name: str) -> tuple[TrainingState, CodeArray]:
    case = _case(name)
    grouped = [_grouped(one, case.rows) for one in case.parties]
    joined = Binning(tuple(feature for binning, _ in grouped for feature in binning.features))
    codes = np.concatenate([each for _, each in grouped], axis=1)
    settings = AdditiveSettings(
        max_bins=SETTINGS.max_bins,
        rounds=SETTINGS.rounds,
        ridge=SETTINGS.ridge,
        smoothness=SETTINGS.smoothness,
        step=SETTINGS.step,
    )
    examples = Examples(codes[: case.rows], case.target[: case.rows])
    return train_pooled([examples], joined, settings), codes


def _grouped_effects(name: str) -> FloatArray:
    """The twin's effects, one a group, in the order of the joined table."""
    case, effects = _case(name), []
    for one, model in zip(case.parties, _twin(name).models, strict=True):
        merging = merge_small_bins(
            one.codes[: case.rows], one.binning, least=one.least, dataset=one.name
        )
        effects.append(model.effects[merging.firsts])
    return np.concatenate(effects)


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_are_those_of_central_training(name: str) -> None:
    state, _ = _central(name)
    assert state.step_scale == 1.0  # else the reference took other steps
    assert np.abs(state.model.effects).max() > 0.5
    np.testing.assert_allclose(_grouped_effects(name), state.model.effects, atol=COEFFICIENT)
    intercepts = sum(model.intercept for model in _twin(name).models)
    assert intercepts == pytest.approx(state.model.intercept, abs=COEFFICIENT)


@pytest.mark.parametrize("name", NAMES)
def test_auc_on_rows_held_out_is_that_of_central_training(name: str) -> None:
    case, (state, codes) = _case(name), _central(name)
    held = slice(case.rows, None)
    central = auc(case.target[held], state.model.scores(codes[held]))
    vertical = auc(case.target[held], _twin(name).scores[held])
    assert vertical == pytest.approx(central, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_parties_apart_make_the_twins_models_to_the_last_bit(name: str) -> None:
    """Each party alone with its columns; only integers pass between them."""
    case, twin = _case(name), _twin(name)
    states: list[PartyModel] = [
        begin(one.codes[: case.rows], one.binning, least=one.least, dataset=one.name)
        for one in case.parties
    ]
    shown, intercept = np.zeros(len(case.target), dtype=np.int64), 0.0
    size = step_size(limit=SETTINGS.limit, levels=SETTINGS.levels)
    for index in range(SETTINGS.rounds):
        scores = intercept + states[0].model.scores(case.parties[0].codes) + shown * size
        sent = residuals(case.target[: case.rows], scores[: case.rows])
        states = [
            step(
                state,
                bin_sums(sent, state.merging.stand_ins(one.codes[: case.rows]), one.binning),
                noise=0.0,
                settings=SETTINGS,
            )
            for state, one in zip(states, case.parties, strict=True)
        ]
        intercept = intercept_step(
            intercept,
            int(sent.sum()),
            customers=case.rows,
            round_index=index,
            settings=SETTINGS,
        )
        answers = [
            levels_of(state.model, one.codes, limit=SETTINGS.limit, levels=SETTINGS.levels)
            for state, one in zip(states[1:], case.parties[1:], strict=True)
        ]
        shown = np.sum([answer.astype(np.int64) for answer in answers], axis=0)
        np.testing.assert_array_equal(shown, twin.totals[:, index])
    assert [state.model.hash for state in states[1:]] == [model.hash for model in twin.models[1:]]
    np.testing.assert_array_equal(states[0].model.effects, twin.models[0].effects)


def test_which_party_holds_a_column_makes_no_difference() -> None:
    """The same columns at two parties and at ten: within rounding."""
    case = _case("bank_marketing")
    held = slice(case.rows, None)
    pieces = [
        Columns(f"p{k}", Binning((feature,)), one.codes[:, k : k + 1], one.least)
        for one in case.parties
        for k, feature in enumerate(one.binning.features)
    ]
    apart = train_twin(pieces, case.target, SETTINGS)
    scores = _twin("bank_marketing").scores
    np.testing.assert_allclose(apart.scores[held], scores[held], atol=10 * COEFFICIENT)


@pytest.mark.parametrize(("name", "loss"), [("adult", 0.003), ("bank_marketing", 0.015)])
def test_coarse_levels_cost_little(name: str, loss: float) -> None:
    """33 levels of a quarter of a log-odds in place of a million.

    The second table holds out 1,130 rows of which 127 say yes: its AUC's standard error is .025.
    """
    case = _case(name)
    coarse = SETTINGS.model_copy(update={"levels": 33, "limit": 4.0})
    held = slice(case.rows, None)
    values = [
        auc(case.target[held], twin.scores[held])
        for twin in (_twin(name), train_twin(case.parties, case.target, coarse))
    ]
    assert values[1] > values[0] - loss


def test_adults_columns_together_beat_the_banks_alone_by_six_hundredths() -> None:
    case = _case("adult")
    held = slice(case.rows, None)
    alone = train_alone(case.parties[0], case.target, SETTINGS)
    own = auc(case.target[held], alone.scores(case.parties[0].codes[held]))
    joint = auc(case.target[held], _twin("adult").scores[held])
    assert joint > own + 0.06
