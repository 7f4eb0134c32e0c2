"""Which bins are joined, on tables counted by hand."""

import json

import numpy as np
import pytest

from fedmkt.core.errors import ColumnConstant
from fedmkt.core.stages import CodeArray
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.vertical.small_bins import Merging, merge_small_bins


def _column(counts: list[int]) -> CodeArray:
    return np.repeat(np.arange(len(counts)), counts).astype(np.uint16)[:, None]


def _number(bins: int, *, nullable: bool = False) -> FeatureBins:
    labels = tuple(str(10 * place) for place in range(bins))
    labels = (*labels, "missing") if nullable else labels
    return FeatureBins("age", labels, tuple(10.0 * k for k in range(1, bins)), True, nullable)


def _merged(counts: list[int], feature: FeatureBins, least: int = 10) -> list[int]:
    merging = merge_small_bins(_column(counts), Binning((feature,)), least=least, dataset="cards")
    return merging.groups[0].tolist()


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([10, 10, 10], [0, 1, 2]),
        ([3, 7, 10, 10], [0, 0, 1, 2]),  # joined upwards until 10 are there
        ([10, 10, 4, 5], [0, 1, 1, 1]),  # what is left at the end goes to the last group
        ([0, 0, 50, 0, 50, 0], [0, 0, 0, 1, 1, 1]),
        ([9, 9, 9, 9], [0, 0, 1, 1]),
    ],
)
def test_neighbouring_values_are_joined_until_there_are_enough(
    counts: list[int], groups: list[int]
) -> None:
    assert _merged(counts, _number(len(counts))) == groups


def test_enough_missing_values_stay_alone() -> None:
    assert _merged([10, 30, 10], _number(2, nullable=True)) == [0, 1, 2]


def test_too_few_missing_values_join_the_largest_group() -> None:
    assert _merged([10, 30, 20, 9], _number(3, nullable=True)) == [0, 1, 2, 1]


def test_small_categories_become_one_group() -> None:
    names = FeatureBins("city", tuple("abcde"), (), ordered=False)
    assert _merged([50, 6, 40, 3, 1], names) == [0, 1, 2, 1, 1]


def test_small_categories_too_few_together_join_the_smallest_other() -> None:
    names = FeatureBins("city", tuple("abcd"), (), ordered=False)
    assert _merged([50, 2, 40, 3], names) == [0, 1, 1, 1]


def test_a_category_nobody_has_joins_the_smallest_other() -> None:
    names = FeatureBins("city", tuple("abc"), (), ordered=False)
    assert _merged([50, 0, 40], names) == [0, 1, 1]


@pytest.mark.parametrize("counts", [[100, 0, 0], [95, 3, 2], [3, 3, 3]])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_feature_with_one_group_left_is_refused_by_name(counts: list[int], ordered: bool) -> None:
    feature = _number(3) if ordered else FeatureBins("age", tuple("abc"), (), ordered=False)
    with pytest.raises(ColumnConstant) as refused:
        _merged(counts, feature)
    assert "age" in str(refused.value)
    assert "cards" in str(refused.value)


def test_groups_become_bins_with_the_edges_between_them() -> None:
    public = Binning((_number(4, nullable=True),))
    merging = merge_small_bins(_column([4, 8, 20, 20, 15]), public, least=10, dataset="cards")
    (feature,) = merging.binning.features
    assert feature.labels == ("0", "20", "30", "missing")
    assert feature.edges == (20.0, 30.0)
    assert feature.missing == 3


def test_a_group_stands_at_its_first_bin_and_the_others_are_empty() -> None:
    public = Binning((_number(4), FeatureBins("city", tuple("abc"), (), ordered=False)))
    codes = np.concatenate([_column([4, 8, 20, 20]), _column([2, 30, 20])], axis=1)
    merging = merge_small_bins(codes, public, least=10, dataset="cards")
    # age: 0 and 10 joined; city: a (2 rows) joined to c, the smallest other, standing at a.
    assert merging.firsts.tolist() == [0, 2, 3, 4, 5]
    assert merging.members.tolist() == [0, 0, 1, 2, 3, 4, 3]
    told = merging.stand_ins(codes)
    assert np.bincount(told[:, 0], minlength=4).tolist() == [12, 0, 20, 20]
    assert np.bincount(told[:, 1], minlength=3).tolist() == [22, 30, 0]


def test_a_merging_survives_json() -> None:
    public = Binning((_number(4, nullable=True),))
    merging = merge_small_bins(_column([4, 8, 20, 20, 15]), public, least=10, dataset="cards")
    back = Merging.from_json(json.loads(json.dumps(merging.to_json())))
    assert (back.public, back.binning) == (merging.public, merging.binning)
    np.testing.assert_array_equal(back.groups[0], merging.groups[0])
