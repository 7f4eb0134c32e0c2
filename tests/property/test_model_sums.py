"""The bound of one customer's contribution, on hostile rows and models."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.core.errors import RangeExceeded
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.horizontal import local_update
from fedmkt.horizontal.local_update import GRID, MOST_CUSTOMERS, local_sums, weight_units
from fedmkt.models.additive import AdditiveModel, zero_model
from fedmkt.models.tasks import TASKS, Propensity

BINNING = Binning(
    (
        FeatureBins("spend", ("0", "1", "2"), (1.0, 2.0), True),
        FeatureBins("region", ("north", "south"), (), False),
    )
)
HOSTILE = st.one_of(
    st.floats(-50, 50), st.sampled_from([0.0, math.inf, -math.inf, math.nan, 1e308, -1e308])
)
MODELS = st.one_of(
    st.just(zero_model(BINNING)),
    st.builds(
        lambda intercept, effects: AdditiveModel(BINNING, intercept, np.array(effects)),
        HOSTILE,
        st.lists(HOSTILE, min_size=5, max_size=5),
    ),
)
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 255)), min_size=1, max_size=30
)
WEIGHTS = st.one_of(st.none(), st.floats(1e-9, 10))


def _examples(rows: list[tuple[int, int, int]]) -> Examples:
    table = np.array(rows)
    return Examples(table[:, :2].astype(np.uint16), table[:, 2].astype(np.uint8))


@given(rows=ROWS, model=MODELS, weight=WEIGHTS, drop=st.integers(0, 29))
@settings(deadline=None, max_examples=200)
@np.errstate(over="ignore", invalid="ignore")  # a hostile model overflows, on purpose
def test_one_customer_moves_the_sums_by_at_most_the_bound(
    rows: list[tuple[int, int, int]], model: AdditiveModel, weight: float | None, drop: int
) -> None:
    with_all = local_sums(_examples(rows), model, count_weight=weight)
    examples = _examples(rows)
    keep = np.arange(examples.rows) != drop % examples.rows
    rest = Examples(examples.codes[keep], examples.target[keep])
    without = local_sums(rest, model, count_weight=weight)
    moved = [int(a) - int(b) for a, b in zip(with_all.values, without.values, strict=True)]
    assert sum(step**2 for step in moved) <= with_all.l2_bound**2


@pytest.mark.parametrize("weight", [None, 0.1, 0.3, 1.0])
def test_the_bound_is_reached(weight: float | None) -> None:
    """A bound that no customer reaches would buy noise for nothing; rounding up costs one unit."""
    one = _examples([(2, 1, 1)])
    sure_of_no = AdditiveModel(BINNING, -math.inf, np.zeros(5))
    for model in (sure_of_no, zero_model(BINNING)) if weight else (sure_of_no,):
        update = local_sums(one, model, count_weight=weight)
        norm = math.sqrt(sum(int(value) ** 2 for value in update.values))
        assert norm <= update.l2_bound <= norm + 1


def test_bound_is_that_of_the_proof() -> None:
    """sqrt(F (R^2 + W^2)), R = 1/2 under the zero model, 1 under any other; W on the grid."""
    one = _examples([(0, 0, 1)])
    weight = weight_units(0.3) / GRID
    opening = local_sums(one, zero_model(BINNING), count_weight=0.3).l2_bound
    assert opening / GRID == pytest.approx(math.sqrt(2 * (0.25 + weight**2)), rel=1e-7)
    later = local_sums(one, AdditiveModel(BINNING, 0.1, np.zeros(5)), count_weight=None).l2_bound
    assert later / GRID == pytest.approx(math.sqrt(2), rel=1e-7)


def test_a_score_that_is_no_number_counts_as_residual_zero() -> None:
    model = AdditiveModel(BINNING, math.nan, np.zeros(5))
    assert not local_sums(_examples([(0, 0, 1), (1, 1, 0)]), model, count_weight=None).values.any()


def test_a_task_that_breaks_its_own_bound_cannot_break_that_of_the_sums(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Boundless(Propensity):
        def residuals(self, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
            return np.full(scores.shape, 1e6)

    monkeypatch.setitem(TASKS, "boundless", Boundless())
    model = AdditiveModel(BINNING, 0.1, np.zeros(5), "boundless")
    update = local_sums(_examples([(2, 1, 1)]), model, count_weight=None)
    assert math.sqrt(sum(int(value) ** 2 for value in update.values)) <= update.l2_bound


@given(rows=ROWS, at_once=st.integers(1, 7))
@settings(deadline=None, max_examples=50)
def test_sums_do_not_depend_on_how_many_rows_are_taken_at_once(
    rows: list[tuple[int, int, int]], at_once: int
) -> None:
    model = AdditiveModel(BINNING, 0.3, np.linspace(-1, 1, 5))
    whole = local_sums(_examples(rows), model, count_weight=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_update, "ROWS_AT_ONCE", at_once)
        pieces = local_sums(_examples(rows), model, count_weight=0.3)
    np.testing.assert_array_equal(whole.values, pieces.values)


@given(rows=ROWS)
@settings(deadline=None, max_examples=50)
def test_sums_are_the_exact_integers_of_the_definition(rows: list[tuple[int, int, int]]) -> None:
    """Compared with Python's own integers, row by row."""
    model = AdditiveModel(BINNING, 0.3, np.linspace(-1, 1, 5))
    expected = [0] * 10
    for spend, region, target in rows:
        score = 0.3 + model.effects[spend] + model.effects[3 + region]
        units = round((min(target, 1) - 1 / (1 + math.exp(-score))) * GRID)
        for place in (spend, 3 + region):
            expected[place] += units
            expected[5 + place] += weight_units(0.3)
    values = local_sums(_examples(rows), model, count_weight=0.3).values
    # One unit a row: exp may differ in its last bit between libraries.
    assert np.abs(values - np.array(expected)).max() <= len(rows)
    np.testing.assert_array_equal(values[5:], expected[5:])


def test_a_code_outside_its_feature_is_refused() -> None:
    with pytest.raises(RangeExceeded):
        local_sums(_examples([(3, 0, 1)]), zero_model(BINNING), count_weight=None)


def test_more_customers_than_the_one_public_limit_are_refused() -> None:
    """A broadcast view stands in for the table."""
    rows = MOST_CUSTOMERS + 1
    many = Examples(
        np.broadcast_to(np.zeros(2, np.uint16), (rows, 2)),
        np.broadcast_to(np.zeros(1, np.uint8), (rows,)),
    )
    with pytest.raises(RangeExceeded):
        local_sums(many, AdditiveModel(BINNING, 0.1, np.zeros(5)), count_weight=None)


def test_an_empty_table_sums_to_nothing() -> None:
    nobody = Examples(np.zeros((0, 2), np.uint16), np.zeros(0, np.uint8))
    assert not local_sums(nobody, zero_model(BINNING), count_weight=0.3).values.any()
