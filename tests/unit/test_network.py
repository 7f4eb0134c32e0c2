"""The tabular network: its formula, its inputs, its vector of parameters."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_twin import random_network, random_rows, score, shapes, small_shape

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import MessageInvalid, SchemaViolated, SettingInvalid
from fedmkt.models.network import Network
from fedmkt.models.network_shape import (
    NetworkInputs,
    NetworkShape,
    first_parameters,
    network_inputs,
    shape_from_schema,
)

SCHEMA = TableSchema(
    customer_key="id",
    columns=(
        Column(name="age", kind="integer", bounds=(20, 60)),
        Column(name="plan", kind="category", categories=("a", "b", "c"), nullable=True),
        Column(name="spend", kind="number", bounds=(0, 1000), scale="log", log_from=1.0),
        Column(name="visits", kind="number", bounds=(0, 10), nullable=True),
        Column(name="member", kind="boolean"),
    ),
)
FEATURES = ("age", "plan", "spend", "visits", "member")


def table(**columns: list[object]) -> pl.DataFrame:
    usual = {"age": [40], "plan": ["a"], "spend": [1.0], "visits": [5.0], "member": [True]}
    return pl.DataFrame(usual | columns)


def inputs_of(shape: NetworkShape, **columns: list[object]) -> NetworkInputs:
    return network_inputs(table(**columns), shape, dataset="cards")


@settings(deadline=None, max_examples=30)
@given(shapes(), st.integers(0, 2**32))
def test_a_score_is_what_the_formula_says(shape, seed):
    network = random_network(shape, seed)
    inputs, _ = random_rows(shape, 5, seed)
    vector = torch.from_numpy(network.parameters).double()
    expected = [
        float(score(shape, vector, numbers, codes))
        for numbers, codes in zip(
            torch.from_numpy(inputs.numbers).double(),
            torch.from_numpy(inputs.codes.astype(np.int64)),
            strict=True,
        )
    ]
    np.testing.assert_allclose(network.scores(inputs), expected, rtol=1e-4, atol=1e-4)


def test_width_zero_is_the_linear_model():
    shape = shape_from_schema(SCHEMA, FEATURES)
    # age, spend, visits and its flag; three categories and missing; false and true; the intercept.
    assert shape.length == 4 + 4 + 2 + 1
    network = random_network(shape, 1)
    one, other = inputs_of(shape, age=[25]), inputs_of(shape, age=[45], plan=["b"])
    both = NetworkInputs((one.numbers + other.numbers) / 2, one.codes)
    halfway = (network.scores(one) + network.scores(NetworkInputs(other.numbers, one.codes))) / 2
    np.testing.assert_allclose(network.scores(both), halfway, rtol=1e-5)
    # A category adds the same to every score.
    first, second = (
        network.scores(NetworkInputs(row.numbers, other.codes))
        - network.scores(NetworkInputs(row.numbers, one.codes))
        for row in (one, other)
    )
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_embeddings_have_half_as_many_columns_as_bins_and_at_most_16():
    shape = small_shape(1, [2, 5, 31, 400], 8, 0)
    assert shape.tables == ((2, 2), (5, 4), (31, 17), (400, 17))


def test_numbers_are_scaled_by_the_declared_bounds_and_clamped():
    shape = shape_from_schema(SCHEMA, ["age", "spend"])
    frame = pl.DataFrame(
        {"age": [20, 40, 60, -5, 10**6], "spend": [1.0, 1000**0.5, 1000.0, -3.0, float("inf")]}
    )
    found = network_inputs(frame, shape, dataset="cards")
    expected = [[-1, -1], [0, 0], [1, 1], [-1, -1], [1, 1]]
    np.testing.assert_allclose(found.numbers, expected, atol=1e-6)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_number_is_zero_with_its_flag_up(value):
    shape = shape_from_schema(SCHEMA, ["visits"])
    frame = pl.DataFrame({"visits": [value, 10.0]}, schema={"visits": pl.Float64})
    found = network_inputs(frame, shape, dataset="cards").numbers
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])


def test_a_number_that_is_none_is_zero_where_none_may_be_missing():
    shape = shape_from_schema(SCHEMA, ["age"])
    frame = pl.DataFrame({"age": [float("nan")]})
    np.testing.assert_array_equal(network_inputs(frame, shape, dataset="cards").numbers, [[0]])


def test_a_missing_category_has_a_code_and_an_undeclared_one_is_refused():
    shape = shape_from_schema(SCHEMA, ["plan"])
    frame = pl.DataFrame({"plan": ["c", None]})
    assert network_inputs(frame, shape, dataset="cards").codes.tolist() == [[2], [3]]
    with pytest.raises(SchemaViolated):
        network_inputs(pl.DataFrame({"plan": ["z"]}), shape, dataset="cards")


@settings(deadline=None, max_examples=20)
@given(shapes(), st.integers(0, 2**32), st.sampled_from([np.nan, np.inf, -np.inf, 3e38]))
def test_a_row_changes_no_other_rows_score(shape, seed, hostile):
    network = random_network(shape, seed)
    inputs, _ = random_rows(shape, 6, seed)
    before = network.scores(inputs)
    inputs.numbers[2] = hostile
    after = network.scores(inputs)
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(after[others], before[others], rtol=1e-5, atol=1e-5)


def test_a_training_starts_from_scores_of_zero():
    shape = small_shape(3, [4, 3], 8, 2)
    network = Network(shape, first_parameters(shape, 7))
    inputs, _ = random_rows(shape, 20, 1)
    np.testing.assert_array_equal(network.scores(inputs), 0.0)
    np.testing.assert_array_equal(network.probabilities(inputs), 0.5)


def test_first_parameters_follow_from_their_seed_and_from_nothing_else():
    shape = small_shape(3, [4, 3], 8, 2)
    torch.manual_seed(0)
    one = first_parameters(shape, 7)
    torch.manual_seed(1)
    np.testing.assert_array_equal(one, first_parameters(shape, 7))
    assert (one != first_parameters(shape, 8)).any()


def test_first_weights_keep_the_variance_through_relu():
    shape = small_shape(6, [], 300, 0)
    weight = first_parameters(shape, 3)[: 300 * shape.numbers]
    # He et al. 2015, section 2.2: 2 / in. A share of 1,800 uniform draws strays by about 2%.
    assert weight.var() == pytest.approx(2 / shape.numbers, rel=0.1)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_vector_of_another_length_is_refused(change):
    shape = small_shape(2, [3], 4, 1)
    with pytest.raises(MessageInvalid):
        Network(shape, np.zeros(shape.length + change, dtype=np.float32))


@pytest.mark.parametrize(
    ("width", "blocks"), [(-1, 0), (10**6, 0), (4, -1), (4, 1000), (0, 1)], ids=str
)
def test_a_shape_that_is_no_network_is_refused(width, blocks):
    with pytest.raises(SettingInvalid):
        small_shape(2, [3], width, blocks)


def test_an_unknown_task_or_feature_is_refused():
    with pytest.raises(SettingInvalid):
        NetworkShape((), small_shape(1, [2], 0, 0).categories, task="fortune")
    with pytest.raises(SettingInvalid):
        shape_from_schema(SCHEMA, ["shoe size"])


def test_parameters_and_rows_are_not_printed():
    network = random_network(small_shape(1, [2], 2, 0), 1)
    inputs, target = random_rows(network.shape, 3, 1)
    printed = f"{network!r} {inputs!r} {network.traces(inputs, target)!r}"
    assert "tensor" not in printed
    assert "array" not in printed
