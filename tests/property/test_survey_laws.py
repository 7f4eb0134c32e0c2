"""The survey's bound on any rows; edges it gives on any counts; coarse codes made of fine ones."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, binning_from_schema, binning_with_edges, encode, recode
from fedmkt.horizontal.local_update import GRID
from fedmkt.horizontal.survey import (
    check_edges,
    edges_from_survey,
    most_bins,
    number_features,
    survey_bound,
    survey_counts,
)

SCHEMA = TableSchema(
    customer_key="k",
    columns=(
        Column(name="age", kind="integer", bounds=(17, 90)),
        Column(name="region", kind="category", categories=("north", "south"), nullable=True),
        Column(
            name="spend", kind="number", bounds=(0, 1e6), scale="log", log_from=1, nullable=True
        ),
    ),
)
FEATURES = ("age", "region", "spend")
ROWS = st.lists(
    st.tuples(
        st.integers(0, 120),
        st.sampled_from(["north", "south", None]),
        st.one_of(st.none(), st.floats(-1e7, 1e7)),
    ),
    min_size=1,
    max_size=40,
)
GRID_BINS = st.integers(8, 200)
MAX_BINS = st.integers(2, 8)


def grid_of(bins: int) -> Binning:
    return binning_from_schema(SCHEMA, FEATURES, max_bins=bins)


def encoded(rows: list[tuple], binning: Binning) -> Examples:
    kinds = {"age": pl.Int64, "region": pl.String, "spend": pl.Float64}
    codes = encode(pl.DataFrame(rows, schema=kinds, orient="row"), binning, dataset="test")
    return Examples(codes, np.zeros(len(rows), np.uint8))


@given(rows=ROWS, bins=GRID_BINS, drop=st.integers(0, 39))
@settings(deadline=None, max_examples=100)
def test_one_customer_moves_the_survey_by_the_bound_of_the_proof(
    rows: list[tuple], bins: int, drop: int
) -> None:
    """Two number columns: sqrt(2) GRID, and at most the one unit more that rounding up costs."""
    grid = grid_of(bins)
    rest = [row for place, row in enumerate(rows) if place != drop % len(rows)]
    update = survey_counts(encoded(rows, grid), grid)
    moved = update.values - survey_counts(encoded(rest, grid), grid).values
    assert sum(int(step) ** 2 for step in moved) == 2 * GRID**2
    assert math.sqrt(2) * GRID <= update.l2_bound <= math.sqrt(2) * GRID + 1
    assert update.l2_bound == survey_bound(len(number_features(grid)))


@given(rows=ROWS, bins=GRID_BINS)
@settings(deadline=None, max_examples=50)
def test_the_survey_counts_every_customer_once_a_number_column(
    rows: list[tuple], bins: int
) -> None:
    grid = grid_of(bins)
    age, spend = number_features(grid)
    values = survey_counts(encoded(rows, grid), grid).values / GRID
    assert len(values) == age.bins + spend.bins
    assert values[: age.bins].sum() == values[age.bins :].sum() == len(rows)
    assert values[-1] == sum(row[2] is None for row in rows)


@given(data=st.data(), bins=GRID_BINS, max_bins=MAX_BINS)
@settings(deadline=None, max_examples=100)
def test_edges_of_any_counts_pass_the_nodes_check_and_fit_the_plan(
    data: st.DataObject, bins: int, max_bins: int
) -> None:
    grid = grid_of(bins)
    length = sum(column.bins for column in number_features(grid))
    seed = data.draw(st.integers(0, 2**32 - 1))
    scale = data.draw(st.sampled_from([0, 1, 2**20, 2**45]))
    values = np.random.default_rng(seed).integers(-scale, scale + 1, length)
    edges = edges_from_survey(values, grid, max_bins=max_bins)
    check_edges(edges, grid, max_bins=max_bins)
    total = binning_with_edges(SCHEMA, FEATURES, edges).total
    assert total <= most_bins(grid, max_bins=max_bins) <= grid.total


@given(rows=ROWS, bins=GRID_BINS, data=st.data())
@settings(deadline=None, max_examples=100)
def test_recoding_fine_codes_equals_encoding_the_table_with_the_coarse_bins(
    rows: list[tuple], bins: int, data: st.DataObject
) -> None:
    grid = grid_of(bins)
    edges = {
        column.name: sorted(data.draw(st.sets(st.sampled_from(column.edges), max_size=9)))
        for column in number_features(grid)
    }
    coarse = binning_with_edges(SCHEMA, FEATURES, edges)
    recoded = recode(encoded(rows, grid).codes, grid, coarse)
    np.testing.assert_array_equal(recoded, encoded(rows, coarse).codes)


@pytest.mark.parametrize("bins", [8, 200])
def test_declared_edges_given_back_make_the_declared_binning(bins: int) -> None:
    declared = grid_of(bins)
    edges = {column.name: column.edges for column in number_features(declared)}
    assert binning_with_edges(SCHEMA, FEATURES, edges) == declared
