"""Three uneven partners' sums make the model of the pooled rows, on Adult's official split."""

import numpy as np
import pytest

from fedmkt.contract.job import AdditiveSettings
from fedmkt.core.stages import Examples, FloatArray
from fedmkt.data import bundled
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.evaluation.metrics import auc
from fedmkt.horizontal.local_update import GRID, local_sums
from fedmkt.horizontal.newton import Sums, TrainingState, advance, apply_sum, initial_state
from fedmkt.horizontal.pooled import train_pooled
from fedmkt.models.additive import AdditiveModel

FEATURES = (
    "age", "workclass", "education", "marital_status", "occupation", "relationship",
    "capital_gain", "capital_loss", "hours_per_week", "native_country",
)  # fmt: skip
BANK = ("Exec-managerial", "Prof-specialty", "Sales", "Adm-clerical")
MAP_PROVIDER = (
    "Transport-moving", "Craft-repair", "Machine-op-inspct", "Farming-fishing", "Handlers-cleaners",
)  # fmt: skip
SETTINGS = AdditiveSettings(max_bins=256, rounds=10, ridge=0.1, smoothness=0.01)


@pytest.fixture(scope="module")
def binning() -> Binning:
    return binning_from_schema(bundled.schema("adult"), FEATURES, max_bins=SETTINGS.max_bins)


def _examples(name: bundled.TableName, binning: Binning) -> tuple[Examples, np.ndarray]:
    table = bundled.load(name)
    target = (table["income"] == ">50K").to_numpy().astype(np.uint8)
    return Examples(encode(table, binning, dataset="adult"), target), table["occupation"].to_numpy()


@pytest.fixture(scope="module")
def parts(binning: Binning) -> tuple[Examples, ...]:
    """The bank's, the map provider's and the retailer's customers, by occupation."""
    whole, occupation = _examples("adult_train", binning)
    bank, roads = np.isin(occupation, BANK), np.isin(occupation, MAP_PROVIDER)
    return tuple(
        Examples(whole.codes[rows], whole.target[rows]) for rows in (bank, roads, ~bank & ~roads)
    )


@pytest.fixture(scope="module")
def pooled(parts: tuple[Examples, ...]) -> Examples:
    return Examples(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.target for part in parts]),
    )


@pytest.fixture(scope="module")
def test_split(binning: Binning) -> Examples:
    return _examples("adult_test", binning)[0]


def _federated(
    parts: tuple[Examples, ...], binning: Binning, *, count_weight: float
) -> TrainingState:
    """Add the updates up in the ring of the secure sum: uint64, wrapping."""
    state = initial_state(binning, SETTINGS)
    for round_index in range(SETTINGS.rounds):
        weight = count_weight if round_index == 0 else None
        ring = np.zeros(binning.total * (2 if weight else 1), dtype=np.uint64)
        for part in parts:
            ring += local_sums(part, state.model, count_weight=weight).values.view(np.uint64)
        state = apply_sum(state, ring.view(np.int64), noise_sigma=0.0, count_weight=count_weight)
    return state


def _float_residual_sums(examples: Examples, model: AdditiveModel) -> FloatArray:
    residuals = examples.target - model.probabilities(examples.codes)
    return np.concatenate(
        [
            np.bincount(examples.codes[:, place], residuals, feature.bins)
            for place, feature in enumerate(model.binning.features)
        ]
    )


@pytest.fixture(scope="module")
def by_floats(pooled: Examples, binning: Binning) -> TrainingState:
    """The central twin without any grid: plain float64 sums over the pooled rows."""
    counts = np.concatenate(
        [
            np.bincount(pooled.codes[:, place], minlength=feature.bins)
            for place, feature in enumerate(binning.features)
        ]
    ).astype(np.float64)
    state = initial_state(binning, SETTINGS)
    for round_index in range(SETTINGS.rounds):
        residuals = _float_residual_sums(pooled, state.model)
        state = advance(state, Sums(residuals, 0.0, counts if round_index == 0 else None))
    return state


def test_parts_are_uneven(parts: tuple[Examples, ...]) -> None:
    """Sizes and shares of yes as counted from the official training split by occupation."""
    assert [part.rows for part in parts] == [15_626, 10_062, 6_873]
    shares = [float(part.target.mean()) for part in parts]
    np.testing.assert_allclose(shares, [0.3403, 0.1690, 0.1199], atol=1e-4)


@pytest.mark.parametrize("count_weight", [0.1, 0.3, 1.0])
def test_federated_equals_pooled_to_the_last_bit(
    parts: tuple[Examples, ...], pooled: Examples, binning: Binning, count_weight: float
) -> None:
    federated = _federated(parts, binning, count_weight=count_weight).model
    central = train_pooled([pooled], binning, SETTINGS).model
    assert federated.hash == central.hash


def test_fixed_point_equals_float_sums_within_a_millionth(
    parts: tuple[Examples, ...], by_floats: TrainingState, binning: Binning, test_split: Examples
) -> None:
    federated = _federated(parts, binning, count_weight=0.3).model
    central = by_floats.model
    assert federated.intercept == pytest.approx(central.intercept, abs=1e-6)
    np.testing.assert_allclose(federated.effects, central.effects, atol=1e-6)
    values = [
        auc(test_split.target, model.scores(test_split.codes)) for model in (federated, central)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-3)


def test_rounding_to_the_grid_moves_a_sum_by_at_most_half_a_unit_a_row(
    pooled: Examples, by_floats: TrainingState
) -> None:
    on_grid = local_sums(pooled, by_floats.model, count_weight=None).values / GRID
    exact = _float_residual_sums(pooled, by_floats.model)
    counts = by_floats.counts  # floored at one half, which only widens the margin of empty bins
    # 1e-9: rounding errors of the float sums themselves.
    assert (np.abs(on_grid - exact) <= counts * 0.5 / GRID + 1e-9).all()


def test_adult_reaches_920_in_ten_rounds_without_race_and_sex(
    parts: tuple[Examples, ...], binning: Binning, test_split: Examples
) -> None:
    """The bar of the project: .920 in at most 15 rounds, three partners, ten columns, no noise."""
    model = _federated(parts, binning, count_weight=0.3).model
    assert auc(test_split.target, model.scores(test_split.codes)) >= 0.920


def test_joint_model_beats_every_partner_alone(
    parts: tuple[Examples, ...], binning: Binning, test_split: Examples
) -> None:
    def measured(tables: tuple[Examples, ...]) -> float:
        model = train_pooled(tables, binning, SETTINGS).model
        return auc(test_split.target, model.scores(test_split.codes))

    assert measured(parts) > max(measured((part,)) for part in parts)
