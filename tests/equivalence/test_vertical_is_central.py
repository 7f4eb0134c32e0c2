"""Vertical training without noise is the additive model trained centrally.

The protocol equals its twin in one place to the last bit (tests/end_to_end/test_vertical_runs.py).
Here the twin is held to code that shares nothing with it but the Newton step: the horizontal
trainer on the joined table, whose residuals lie on a grid 16,000 times finer. What is left between
them is fixed point.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from fedmkt.contract.job import AdditiveSettings
from fedmkt.contract.schema import TableSchema
from fedmkt.contract.vertical_jobs import VerticalSettings
from fedmkt.core.stages import Examples
from fedmkt.data import bundled
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.evaluation.metrics import auc
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.vertical.party import begin
from fedmkt.vertical.twin import Columns, Twin, train_alone, train_twin

ROUNDS, STEP = 12, (0.7,)
COEFFICIENTS, AUC = 1e-4, 1e-3
LEAST_BIN = 20  # as a contract has it by default
FINE = VerticalSettings(
    rounds=ROUNDS, max_bins=32, step=STEP, levels=2**20 + 1, limit=16.0, holdout=0.0
)


@dataclass(frozen=True)
class Table:
    """A bundled table, its schema, its target, and who holds which columns."""

    frame: pl.DataFrame
    schema: TableSchema
    target: str
    parties: dict[str, tuple[str, ...]]

    def binning(self, features: tuple[str, ...]) -> Binning:
        return binning_from_schema(self.schema, features, max_bins=FINE.max_bins)

    def columns(self, *, least: int = LEAST_BIN) -> list[Columns]:
        found = []
        for name, features in self.parties.items():
            binning = self.binning(features)
            codes = encode(self.frame, binning, dataset=name)
            found.append(Columns(name, binning, codes, least))
        return found

    def labels(self) -> np.ndarray:
        positive = self.frame[self.target] == self.schema.target_positive
        return positive.to_numpy().astype(np.uint8)


ADULT = Table(
    bundled.load("adult_train"),
    bundled.schema("adult"),
    "income",
    {
        "bank": ("age", "capital_gain", "capital_loss", "hours_per_week", "workclass"),
        "retailer": ("marital_status", "relationship"),
        "map_provider": ("education", "occupation", "native_country"),
    },
)
_BANK = bundled.schema("bank_marketing")
_TARGET = next(column.name for column in _BANK.columns if column.use == "target")
_FEATURES = tuple(column.name for column in _BANK.columns if column.use == "feature")
BANK_MARKETING = Table(
    bundled.load("bank_marketing"),
    _BANK,
    _TARGET,
    {"bank": _FEATURES[:4], "agency": _FEATURES[4:9], "retailer": _FEATURES[9:]},
)
TABLES = pytest.mark.parametrize("table", [ADULT, BANK_MARKETING], ids=["adult", "bank marketing"])


def settings_for(rounds: int = ROUNDS) -> AdditiveSettings:
    return AdditiveSettings(
        rounds=rounds,
        max_bins=FINE.max_bins,
        ridge=FINE.ridge,
        smoothness=FINE.smoothness,
        step=STEP,
    )


def groups_of(columns: Columns) -> tuple[Binning, np.ndarray, np.ndarray]:
    """Return the bins a party trains on (small ones joined), its codes of them, and their places.

    Joining is each party's own affair and happens before training; both methods start after it.
    """
    merging = begin(columns.codes, columns.binning, least=LEAST_BIN, dataset=columns.name).merging
    codes = np.stack(
        [groups[columns.codes[:, place]] for place, groups in enumerate(merging.groups)], axis=1
    )
    return merging.binning, codes.astype(np.uint16), merging.members


def central(columns: list[Columns], target: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Train on the joined table, by the horizontal trainer.

    Returns: effects over all parties' public bins, the intercept, and every row's score.
    """
    parts = [groups_of(one) for one in columns]
    binning = Binning(tuple(feature for part in parts for feature in part[0].features))
    codes = np.hstack([part[1] for part in parts])
    state = train_pooled([Examples(codes, target)], binning, settings_for())
    # The central trainer shortens steps that overshoot; here it never does: both are one method.
    assert state.step_scale == 1.0
    starts = np.cumsum([0, *(part[0].total for part in parts)])[:-1]
    places = np.concatenate([start + part[2] for start, part in zip(starts, parts, strict=True)])
    return state.model.effects[places], state.model.intercept, state.model.scores(codes)


def joined(twin: Twin) -> tuple[np.ndarray, float]:
    """Return the parts' effects one after another, and what is left for the intercept."""
    effects = np.concatenate([model.effects for model in twin.models])
    return effects, sum(model.intercept for model in twin.models)


@TABLES
def test_coefficients_are_the_central_ones_within_fixed_point(table: Table) -> None:
    effects, intercept, _ = central(table.columns(), table.labels())
    found, offset = joined(train_twin(table.columns(), table.labels(), FINE))
    assert np.abs(found - effects).max() < COEFFICIENTS
    assert abs(offset - intercept) < COEFFICIENTS


@TABLES
def test_auc_is_the_central_one(table: Table) -> None:
    _, _, scores = central(table.columns(), table.labels())
    twin = train_twin(table.columns(), table.labels(), FINE)
    assert abs(auc(table.labels(), twin.scores) - auc(table.labels(), scores)) < AUC


@pytest.mark.parametrize(("table", "most"), [(ADULT, 0.002), (BANK_MARKETING, 0.012)])
def test_coarse_scores_cost_what_the_docs_say(table: Table, most: float) -> None:
    """Steps of a quarter log-odds are large beside the small effects of Bank Marketing."""
    _, _, scores = central(table.columns(), table.labels())
    coarse = FINE.model_copy(update={"levels": 33, "limit": 4.0})
    twin = train_twin(table.columns(), table.labels(), coarse)
    assert 0 < auc(table.labels(), scores) - auc(table.labels(), twin.scores) < most


@TABLES
def test_it_takes_no_more_than_15_rounds_to_settle(table: Table) -> None:
    settled = train_twin(table.columns(), table.labels(), FINE.model_copy(update={"rounds": 15}))
    earlier = train_twin(table.columns(), table.labels(), FINE.model_copy(update={"rounds": 8}))
    assert abs(auc(table.labels(), settled.scores) - auc(table.labels(), earlier.scores)) < AUC


@TABLES
def test_the_owner_alone_is_the_central_model_of_its_columns(table: Table) -> None:
    owner = table.columns()[0]
    effects, intercept, _ = central([owner], table.labels())
    alone = train_alone(owner, table.labels(), FINE)
    # One party's few features leave rounding nowhere to cancel; still far below any bin's error.
    assert np.abs(alone.effects - effects).max() < 5 * COEFFICIENTS
    assert abs(alone.intercept - intercept) < 5 * COEFFICIENTS
