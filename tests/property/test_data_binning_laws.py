"""Laws of public bins and of the one-row-a-customer bound, for any declared schema and table."""

import json

import numpy as np
import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.stages import Examples
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.data.customers import one_row_a_customer

finite = st.floats(-1e9, 1e9, allow_nan=False)


@st.composite
def number_columns(draw):
    kind = draw(st.sampled_from(["integer", "number"]))
    low = draw(st.integers(-10_000, 10_000))
    high = low + draw(st.integers(1, 100_000))
    log = draw(st.booleans()) and high > max(low, 0) + 1
    return Column(
        name="x",
        kind=kind,
        bounds=(low, high),
        scale="log" if log else "linear",
        log_from=max(low, 0) + 1 if log else None,
        nullable=draw(st.booleans()),
    )


def cut(column: Column, max_bins: int) -> Binning:
    schema = TableSchema(customer_key="k", columns=(column,))
    return binning_from_schema(schema, ["x"], max_bins=max_bins)


@given(number_columns(), st.integers(2, 300))
@settings(deadline=None, max_examples=60)
def test_a_number_has_at_most_max_bins_and_rising_edges_inside_its_bounds(column, max_bins):
    (bins,) = cut(column, max_bins).features
    assert 1 <= len(bins.values) <= max_bins
    assert list(bins.edges) == sorted(set(bins.edges))
    assert all(column.bounds[0] < edge <= column.bounds[1] for edge in bins.edges)


@given(number_columns(), st.integers(2, 300), st.lists(finite, min_size=1, max_size=50))
@settings(deadline=None, max_examples=60)
def test_codes_rise_with_values_and_stay_inside_the_block(column, max_bins, values):
    binning = cut(column, max_bins)
    codes = encode(pl.DataFrame({"x": sorted(values)}), binning, dataset="test")[:, 0]
    assert (np.diff(codes.astype(int)) >= 0).all()
    assert codes.max() < len(binning.features[0].values)


@given(number_columns(), st.integers(2, 300), finite)
@settings(deadline=None, max_examples=60)
def test_clamping_to_the_bounds_never_changes_the_code(column, max_bins, value):
    clamped = min(max(value, column.bounds[0]), column.bounds[1])
    first, second = encode(
        pl.DataFrame({"x": [value, clamped]}), cut(column, max_bins), dataset="test"
    )[:, 0]
    assert first == second


@given(number_columns(), st.integers(2, 300))
@settings(deadline=None, max_examples=60)
def test_a_binning_survives_its_json(column, max_bins):
    binning = cut(column, max_bins)
    assert Binning.from_json(json.loads(json.dumps(binning.to_json()))) == binning


tables = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3), st.integers(0, 1)),
    min_size=1,
    max_size=40,
)


def bound(rows):
    digests = np.array([(customer % 4, customer) for customer, *_ in rows], dtype=np.uint64)
    codes = np.array([row[1:3] for row in rows], dtype=np.uint16).reshape(-1, 2)
    target = np.array([row[3] for row in rows], dtype=np.uint8)
    return one_row_a_customer(digests, Examples(codes, target))


def contents(examples: Examples) -> list[tuple[int, ...]]:
    return sorted(map(tuple, np.column_stack([examples.codes, examples.target]).tolist()))


@given(tables)
@settings(deadline=None, max_examples=60)
def test_each_customer_keeps_exactly_its_lowest_row(rows):
    # Hashes agree in their first half on purpose: the second half must tell customers apart.
    examples, dropped = bound(rows)
    lowest = {}
    for customer, *cells in rows:
        lowest[customer] = min(lowest.get(customer, cells), cells)
    assert contents(examples) == sorted(map(tuple, lowest.values()))
    assert dropped == len(rows) - len(lowest)


@given(tables, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_the_order_of_rows_does_not_decide_which_are_kept(rows, random):
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert contents(bound(rows)[0]) == contents(bound(shuffled)[0])


@given(tables)
@settings(deadline=None, max_examples=60)
def test_removing_a_customer_removes_one_row_and_touches_no_other(rows):
    gone = rows[0][0]
    others = [row for row in rows if row[0] != gone]
    assume(others)
    with_all, without = contents(bound(rows)[0]), contents(bound(others)[0])
    for row in without:
        with_all.remove(row)
    assert len(with_all) == 1
