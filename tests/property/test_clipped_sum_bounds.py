"""One customer moves a sum of clipped gradients by at most the clip norm, whatever the rows hold.

The neighbouring relation is add or remove: all rows of one customer are there, or none is.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_twin import random_network, random_rows, shapes, small_shape

from fedmkt.core.errors import SettingInvalid
from fedmkt.privacy.dp_sgd.clipped_sum import ROWS_A_CUSTOMER, clipped_sum
from fedmkt.privacy.dp_sgd.terms import FLOAT_MARGIN, SINGLE_MARGIN, DpSgdTerms
from fedmkt.privacy.dp_sgd.traces import EmbeddingTrace, LinearTrace, Trace
from fedmkt.privacy.dp_sgd.weighted_sum import roundings

CLIP = 1.5
MOST = CLIP * (1 + FLOAT_MARGIN)
FEW = 2 * roundings(4) * 2.0**-24 * 4 * CLIP  # proven of two sums of at most four customers
ROWS = 6  # those of the other customers

# Whatever a hostile row can put into a trace, cancelling, vanishing and infinite values among them.
LARGE = [1e19, -1e19, 1e30, -1e30, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan]
extremes = st.sampled_from([0.0, 1.0, -1.0, 1e-45, 1e-30, 1e-20, *LARGE])
values = extremes | st.floats(-100, 100, width=32)


@st.composite
def hostile(draw, rows: int) -> list[Trace]:
    """Draw traces whose last rows may hold anything, and whose first are ordinary."""
    ordinary = np.random.default_rng(draw(st.integers(0, 2**32)))

    def matrix(columns: int) -> torch.Tensor:
        last = draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))
        whole = np.concatenate(
            [ordinary.normal(size=(ROWS, columns)), np.reshape(last, (rows, columns))]
        )
        with np.errstate(over="ignore"):
            return torch.from_numpy(whole.astype(np.float32))

    codes = torch.from_numpy(ordinary.integers(0, 2, ROWS + rows))
    return [
        EmbeddingTrace(codes, matrix(2), 2),
        LinearTrace(matrix(2), matrix(3)),
        LinearTrace(matrix(1), matrix(1)),
    ]


def first_rows(traces: Sequence[Trace], rows: int = ROWS) -> list[Trace]:
    return [
        EmbeddingTrace(one.codes[:rows], one.slopes[:rows], one.size)
        if isinstance(one, EmbeddingTrace)
        else LinearTrace(one.inputs[:rows], one.slopes[:rows])
        for one in traces
    ]


@settings(deadline=None, max_examples=150)
@given(hostile(rows=1))
def test_a_row_moves_the_sum_by_at_most_the_clip_norm(traces):
    moved = clipped_sum(traces, clip_norm=CLIP) - clipped_sum(first_rows(traces), clip_norm=CLIP)
    assert np.linalg.norm(moved) <= MOST


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3).flatmap(lambda rows: hostile(rows=rows)))
def test_a_customer_with_several_rows_moves_the_sum_by_at_most_the_clip_norm(traces):
    rows = len(traces[0].slopes) - ROWS
    others = np.repeat(np.arange(ROWS // 2), 2)
    customers = np.concatenate([others, np.full(rows, 99)])
    moved = clipped_sum(traces, clip_norm=CLIP, customers=customers) - clipped_sum(
        first_rows(traces), clip_norm=CLIP, customers=others
    )
    assert np.linalg.norm(moved) <= MOST


@pytest.mark.parametrize("scale", [1e10, 1e18, 1e30])
def test_rows_that_cancel_leave_no_rounding_behind(scale):
    # Two huge rows whose sum is small: what is left must not be their rounding errors.
    slopes = torch.tensor([[scale, 1.0], [-scale, 1.0]], dtype=torch.float32)
    trace = LinearTrace(torch.tensor([[0.1, 7.7], [0.1, 7.7]]), slopes)
    found = clipped_sum([trace], clip_norm=CLIP, customers=np.array([4, 4]))
    assert np.linalg.norm(found) <= MOST


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_adds_nothing(value):
    slopes, inputs = torch.ones(3, 2), torch.ones(3, 4)
    expected = clipped_sum([LinearTrace(inputs[:2], slopes[:2])], clip_norm=CLIP)
    inputs[2, 1] = value
    found = clipped_sum([LinearTrace(inputs, slopes)], clip_norm=CLIP)
    assert np.linalg.norm(found - expected) <= FEW


def test_a_customer_adds_nothing_where_one_of_several_rows_is_not_finite():
    slopes, inputs = torch.ones(4, 2), torch.ones(4, 4)
    expected = clipped_sum([LinearTrace(inputs[:2], slopes[:2])], clip_norm=CLIP)
    slopes[3, 0] = np.nan
    customers = np.array([0, 1, 2, 2])
    found = clipped_sum([LinearTrace(inputs, slopes)], clip_norm=CLIP, customers=customers)
    assert np.linalg.norm(found - expected) <= FEW


@settings(deadline=None, max_examples=25)
@given(shapes(), st.integers(0, 2**32), st.sampled_from([np.nan, np.inf, -np.inf, 3e38, 1e18]))
def test_hostile_inputs_of_a_network_move_its_sum_by_at_most_the_clip_norm(shape, seed, value):
    network = random_network(shape, seed)
    inputs, target = random_rows(shape, 8, seed)
    inputs.numbers[7] = value
    target[7] = 255
    traces = network.traces(inputs, target)
    alone = first_rows(traces, 7)
    moved = clipped_sum(traces, clip_norm=CLIP) - clipped_sum(alone, clip_norm=CLIP)
    assert np.linalg.norm(moved) <= MOST


def test_noise_is_sized_for_what_floats_move_a_sum_by():
    parameters = 100
    grid = DpSgdTerms(CLIP, 1.0, 0.5, 1, parameters).grid
    # Of the bound in grid units, the root of the number of parameters is for rounding to the grid.
    covered = grid.unit * (grid.l2_bound - np.sqrt(parameters))
    assert covered >= CLIP * (1 + 2 * SINGLE_MARGIN + 2.0**-15)


def test_the_bound_is_reached():
    trace = LinearTrace(torch.full((1, 3), 100.0), torch.full((1, 2), 100.0))
    found = clipped_sum([trace], clip_norm=CLIP)
    assert np.linalg.norm(found) == pytest.approx(CLIP, rel=roundings(1) * 2.0**-24)


def test_an_empty_batch_has_a_sum_of_zero():
    shape = small_shape(2, [3], 4, 1)
    inputs, target = random_rows(shape, 0, 1)
    traces = random_network(shape, 1).traces(inputs, target)
    none = np.empty(0, dtype=np.int64)
    for customers in (None, none):
        found = clipped_sum(traces, clip_norm=CLIP, customers=customers)
        np.testing.assert_array_equal(found, np.zeros(shape.length))


@pytest.mark.parametrize(
    ("clip_norm", "customers"),
    [
        (0.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (1.0, np.array([1, 0] * 50)),
        (1.0, np.arange(99)),
        (1.0, np.r_[np.zeros(ROWS_A_CUSTOMER + 1), np.ones(99 - ROWS_A_CUSTOMER)].astype(int)),
    ],
)
def test_what_the_proof_does_not_cover_is_refused(clip_norm, customers):
    trace = LinearTrace(torch.ones(100, 1), torch.ones(100, 1))
    with pytest.raises(SettingInvalid):
        clipped_sum([trace], clip_norm=clip_norm, customers=customers)
