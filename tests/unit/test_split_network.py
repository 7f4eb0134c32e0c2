"""The two sides of a split training: bounds, noise, first parameters, and what goes wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import norm

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.contract.split_job import SplitPrivacy, SplitSettings
from fedmkt.core.errors import MessageInvalid, TrainingDiverged
from fedmkt.models.network_shape import NetworkInputs, NetworkShape, shape_from_schema
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.mechanisms import OsNoise, ReproducibleNoise
from fedmkt.vertical.split_network import (
    OwnerRows,
    activations,
    clipped_rows,
    owner_round,
    owner_scores,
    partner_round,
)
from fedmkt.vertical.split_noise import noised, own_row_event
from fedmkt.vertical.split_shape import (
    bottom_shape,
    first_owner,
    first_part,
    first_partner,
    part_from,
)

SETTINGS = SplitSettings(activations=3, width=4, top_width=4, local_steps=2)
SCHEMA = TableSchema(
    customer_key="customer",
    columns=(
        Column(name="age", kind="integer", bounds=(0, 100)),
        Column(name="plan", kind="category", categories=("a", "b", "c")),
    ),
)


def shape() -> NetworkShape:
    return shape_from_schema(SCHEMA, ("age", "plan"), width=1)


def rows_of(count: int, seed: int = 0) -> NetworkInputs:
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(-1, 1, (count, shape().numbers)).astype(np.float32)
    return NetworkInputs(numbers, rng.integers(0, 3, (count, 1)).astype(np.uint16))


@given(seed=st.integers(0, 2**20), size=st.floats(-1e6, 1e6))
@settings(max_examples=50, deadline=None)
def test_activations_never_pass_their_bound_whatever_the_parameters(seed: int, size: float):
    first = first_partner(shape(), SETTINGS, seed.to_bytes(4))
    part = replace(first, parameters=first.parameters * np.float32(size))
    shown = activations(part, rows_of(20, seed), SETTINGS).astype(np.float64)
    assert np.linalg.norm(shown, axis=1).max() <= SETTINGS.activation_bound


@given(
    values=st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=10),
    bound=st.floats(1e-3, 1e3),
)
@settings(max_examples=100, deadline=None)
def test_a_clipped_row_never_passes_the_bound_whatever_stands_in_it(values, bound):
    clipped = clipped_rows(np.array(values, dtype=np.float32), l2_bound=bound).astype(np.float64)
    assert np.linalg.norm(clipped, axis=1).max() <= bound


def test_a_row_within_the_bound_is_left_as_it_is():
    values = np.array([[0.3, 0.4], [0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    clipped = clipped_rows(values, l2_bound=1.0)
    np.testing.assert_array_equal(clipped[:2], values[:2])
    np.testing.assert_allclose(clipped[2], [0.6, 0.8], rtol=1e-6)


def test_gradients_that_leave_the_owner_are_clipped():
    tight = SETTINGS.model_copy(update={"gradient_bound": 0.01})
    slopes = {}
    for one in (SETTINGS, tight):
        owner = first_owner(shape(), one, parties=2, secret=b"owner")
        seen = activations(first_partner(shape(), one, b"partner"), rows_of(50), one)
        target = (np.arange(50) % 3 == 0).astype(np.float64)
        rows = OwnerRows(rows_of(50, 1), target)
        _, (slopes[one.gradient_bound],) = owner_round(owner, rows, [seen], one, number=1)
    lengths = np.linalg.norm(slopes[SETTINGS.gradient_bound].astype(np.float64), axis=1)
    assert lengths.max() > 0.01
    clipped = np.linalg.norm(slopes[0.01].astype(np.float64), axis=1)
    assert clipped.max() <= 0.01
    np.testing.assert_allclose(clipped, np.minimum(lengths, 0.01), rtol=1e-4)


def test_the_gradient_is_that_of_each_customers_own_loss():
    one = SETTINGS.model_copy(update={"local_steps": 1})
    owner = first_owner(shape(), one, parties=2, secret=b"owner")
    inputs, target = rows_of(6, 1), np.array([1.0, 0, 0, 1, 0, 1])
    seen = activations(first_partner(shape(), one, b"partner"), rows_of(6), one)
    _, (slopes,) = owner_round(owner, OwnerRows(inputs, target), [seen], one, number=1)

    def losses(shown: np.ndarray) -> np.ndarray:
        scores = owner_scores(owner, inputs, [shown], one)
        return np.logaddexp(0, scores) - target * scores

    step = np.float32(2.0**-7)
    for place in range(one.activations):
        up, down = seen.copy(), seen.copy()
        up[:, place] += step
        down[:, place] -= step
        measured = (losses(up) - losses(down)) / (2 * step)
        np.testing.assert_allclose(slopes[:, place], measured, atol=2e-3)


def test_first_parameters_follow_from_their_secret_and_from_nothing_else():
    block = bottom_shape(shape(), SETTINGS)
    one, same, other = (first_part(block, secret) for secret in (b"a", b"a", b"b"))
    np.testing.assert_array_equal(one.parameters, same.parameters)
    assert not np.array_equal(one.parameters, other.parameters)


def test_a_part_survives_its_plain_values():
    part = first_partner(shape(), SETTINGS, b"secret")
    moved = partner_round(part, rows_of(9), np.ones((9, 3), dtype=np.float32), SETTINGS, number=1)
    read = part_from(part.shape, moved.to_plain())
    assert read.steps == moved.steps == SETTINGS.local_steps
    for name in ("parameters", "mean", "square"):
        np.testing.assert_array_equal(getattr(read, name), getattr(moved, name))
    with pytest.raises(MessageInvalid):
        part_from(replace(part.shape, width=5), moved.to_plain())


def test_a_training_that_leaves_the_finite_numbers_says_in_which_round():
    part = first_partner(shape(), SETTINGS, b"secret")
    wild = np.full((9, 3), np.inf, dtype=np.float32)
    with pytest.raises(TrainingDiverged) as failure:
        partner_round(part, rows_of(9), wild, SETTINGS, number=7)
    assert failure.value.fields["round"] == 7


def test_parameters_and_rows_are_not_printed():
    owner = first_owner(shape(), SETTINGS, parties=2, secret=b"owner")
    rows = OwnerRows(rows_of(3), np.array([0.0, 1.0, 0.0]))
    assert "array" not in repr(owner) + repr(rows)


# --- noise ------------------------------------------------------------------------------------


def test_noise_has_the_stated_deviation_and_neither_two_thirds_nor_three_halves_of_it():
    sigma, shown = 0.7, np.full((2000, 5), 1.25, dtype=np.float32)
    drawn = (noised(shown, sigma=sigma, source=OsNoise()) - shown).ravel().astype(np.float64)
    # The deviation of n normal draws spreads by sigma / sqrt(2 n); six of that never happen.
    spread = 6 * sigma / math.sqrt(2 * drawn.size)
    assert abs(drawn.std() - sigma) < spread
    assert all(abs(drawn.std() - wrong) > spread for wrong in (sigma * 2 / 3, sigma * 3 / 2))
    assert abs(drawn.mean()) < 6 * sigma / math.sqrt(drawn.size)


def test_without_noise_numbers_stay_as_they_are():
    shown = np.array([[1.0, 2.0]], dtype=np.float32)
    assert noised(shown, sigma=0.0, source=ReproducibleNoise(1)) is shown


def test_noise_on_a_customers_own_row_costs_what_a_gaussian_of_twice_the_bound_does():
    assert own_row_event(SETTINGS) is None
    sigma = 2 * SETTINGS.activation_bound  # a multiplier of 1
    event = own_row_event(SETTINGS.model_copy(update={"activation_noise": sigma}))
    assert event is not None
    # Balle and Wang 2018, arXiv:1805.06530, theorem 8, for multiplier 1: the delta of an epsilon.
    epsilon = epsilon_of([event], 1e-5)
    delta = norm.cdf(0.5 - epsilon) - math.exp(epsilon) * norm.cdf(-0.5 - epsilon)
    assert delta == pytest.approx(1e-5, rel=0.02)


# --- what a job states ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated",
    [
        {"mode": "split_label_private"},
        {"mode": "split_shared_labels", "epsilon": 1.0},
        {"mode": "encrypted", "epsilon": 1.0},
    ],
)
def test_a_protection_that_does_not_fit_its_mode_is_refused(stated):
    with pytest.raises(ValidationError):
        SplitPrivacy.model_validate(stated)
