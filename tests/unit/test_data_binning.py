"""Public bins: what they look like and which code each value gets."""

import polars as pl
import pytest

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import ColumnMissing, MessageInvalid, SchemaViolated, SettingInvalid
from fedmkt.data.binning import Binning, FeatureBins, binning_from_schema, encode


def cut(*columns: Column, max_bins: int = 8) -> Binning:
    schema = TableSchema(customer_key="customer", columns=columns)
    return binning_from_schema(schema, [column.name for column in columns], max_bins=max_bins)


def codes(binning: Binning, **values: list) -> list[list[int]]:
    return encode(pl.DataFrame(values), binning, dataset="cards").tolist()


def test_integer_whose_range_fits_has_one_bin_a_value():
    (visits,) = cut(Column(name="visits", kind="integer", bounds=(3, 6))).features
    assert visits.labels == ("3", "4", "5", "6")
    assert visits.edges == (4, 5, 6)


def test_wider_linear_number_has_bins_of_equal_width():
    (share,) = cut(Column(name="share", kind="number", bounds=(0, 2)), max_bins=4).features
    assert share.edges == (0.5, 1.0, 1.5)
    assert share.labels == ("[0, 0.5)", "[0.5, 1)", "[1, 1.5)", "[1.5, 2]")


def test_log_scale_has_one_bin_below_its_start_and_equal_ratios_above():
    gain = Column(name="gain", kind="number", bounds=(0, 1000), scale="log", log_from=1)
    (bins,) = cut(gain, max_bins=5).features
    assert bins.edges == pytest.approx((1, 10, 100, 1000))
    assert bins.labels == ("[0, 1)", "[1, 10)", "[10, 100)", "[100, 1000)", "1000")


def test_log_edges_of_integers_are_whole_and_differ():
    gain = Column(name="gain", kind="integer", bounds=(0, 100), scale="log", log_from=1)
    (bins,) = cut(gain, max_bins=20).features
    assert all(edge == int(edge) for edge in bins.edges)
    assert bins.edges[:4] == (1, 2, 3, 4)
    assert bins.labels[:3] == ("0", "1", "2")
    assert bins.bins <= 20


def test_edges_belong_to_the_bin_above_them():
    binning = cut(Column(name="x", kind="number", bounds=(0, 2)), max_bins=4)
    assert codes(binning, x=[0.0, 0.49, 0.5, 2.0]) == [[0], [0], [1], [3]]


def test_values_outside_the_bounds_count_as_the_nearest_bound():
    binning = cut(Column(name="x", kind="integer", bounds=(0, 3)))
    assert codes(binning, x=[-(10**9), 0, 3, 10**9]) == [[0], [0], [3], [3]]


def test_category_codes_follow_the_declared_order_with_missing_last():
    colour = Column(name="c", kind="category", categories=("red", "blue"), nullable=True)
    binning = cut(colour)
    assert binning.features[0].labels == ("red", "blue", "missing")
    assert codes(binning, c=["blue", None, "red"]) == [[1], [2], [0]]


def test_boolean_has_two_bins():
    binning = cut(Column(name="b", kind="boolean"))
    assert codes(binning, b=[True, False]) == [[1], [0]]


def test_missing_number_has_a_bin_of_its_own_beyond_max_bins():
    binning = cut(Column(name="x", kind="number", bounds=(0, 8), nullable=True))
    (bins,) = binning.features
    assert (bins.bins, bins.missing, len(bins.values)) == (9, 8, 8)
    assert codes(binning, x=[None, 8.0]) == [[8], [7]]


def test_offsets_lay_blocks_one_after_another():
    binning = cut(
        Column(name="b", kind="boolean"),
        Column(name="x", kind="number", bounds=(0, 1)),
        Column(name="c", kind="category", categories=("p", "q", "r")),
    )
    assert binning.offsets == (0, 2, 10)
    assert binning.total == 13


@pytest.mark.parametrize("values", [["red", "SECRET"], ["red", None]])
def test_unknown_category_and_undeclared_missing_are_refused_without_quoting(values):
    binning = cut(Column(name="c", kind="category", categories=("red", "blue")))
    with pytest.raises(SchemaViolated, match="c: 1 values fit no declared bin") as caught:
        codes(binning, c=values)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_number_without_a_value_is_refused(value):
    with pytest.raises(SchemaViolated):
        codes(cut(Column(name="x", kind="number", bounds=(0, 1))), x=[0.5, value])


def test_lacking_column_is_refused():
    with pytest.raises(ColumnMissing, match="cards"):
        codes(cut(Column(name="b", kind="boolean")), other=[True])


def test_undeclared_feature_is_refused():
    schema = TableSchema(customer_key="k", columns=(Column(name="b", kind="boolean"),))
    with pytest.raises(SettingInvalid, match="feature c"):
        binning_from_schema(schema, ["b", "c"], max_bins=8)


def test_category_called_missing_in_a_nullable_column_is_refused():
    with pytest.raises(SettingInvalid, match="same label"):
        cut(Column(name="c", kind="category", categories=("missing", "x"), nullable=True))


@pytest.mark.parametrize(
    ("labels", "edges"), [(("a", "b"), ()), (("a", "b", "c"), (2.0, 1.0)), (("a", "a"), (1.0,))]
)
def test_bins_that_contradict_themselves_are_refused(labels, edges):
    with pytest.raises(SettingInvalid):
        FeatureBins("x", labels, edges, ordered=True)


@pytest.mark.parametrize("value", [{}, {"features": [{"name": "x"}]}, {"features": 3}])
def test_malformed_binning_is_refused(value):
    with pytest.raises(MessageInvalid):
        Binning.from_json(value)
