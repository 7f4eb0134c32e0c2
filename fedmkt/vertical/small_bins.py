"""Small bins are merged before they are used, so that no effect speaks of a few customers.

Guarantee: every group of bins holds at least `least` training rows. The layout of the protocol does
not change: sums come for all public bins, a group's sum stands at its first public bin, and the
others are empty. So nobody else learns what was merged.
Not guaranteed: that customers of a group are alike beyond the bin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from fedmkt.core.errors import ColumnConstant
from fedmkt.core.stages import CodeArray, IntArray
from fedmkt.data.binning import Binning, FeatureBins
from fedmkt.vertical.residuals import bin_sums


@dataclass(frozen=True, slots=True)
class Merging:
    """Which public bins stand together.

    public: the bins of the protocol. groups: for each feature (bins,), the group of each public
    bin. binning: the groups as bins, each with the label of its first public bin.
    """

    public: Binning
    groups: tuple[IntArray, ...]
    binning: Binning

    @property
    def firsts(self) -> IntArray:
        """Return where each group's first bin stands in the public vector, shape (groups,)."""
        places = [
            start + np.unique(groups, return_index=True)[1]
            for start, groups in zip(self.public.offsets, self.groups, strict=True)
        ]
        return np.concatenate([np.zeros(0), *places]).astype(np.int64)

    @property
    def members(self) -> IntArray:
        """Return the place of each public bin's group among all groups, shape (public total,)."""
        places = [
            start + groups for start, groups in zip(self.binning.offsets, self.groups, strict=True)
        ]
        return np.concatenate([np.zeros(0), *places]).astype(np.int64)

    def stand_ins(self, codes: CodeArray) -> CodeArray:
        """Return public codes with each bin replaced by its group's first, (rows, features)."""
        told = np.empty_like(codes)
        for place, groups in enumerate(self.groups):
            firsts = np.unique(groups, return_index=True)[1].astype(np.uint16)
            told[:, place] = firsts[groups][codes[:, place]]
        return told

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "public": self.public.to_json(),
            "groups": [[int(group) for group in groups] for groups in self.groups],
            "binning": self.binning.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> "Merging":
        """Return the merging of plain values that `to_json` wrote."""
        public, groups, binning = value["public"], value["groups"], value["binning"]
        assert isinstance(public, dict)
        assert isinstance(groups, list)
        assert isinstance(binning, dict)
        arrays = tuple(np.array(each, dtype=np.int64) for each in groups)
        return Merging(Binning.from_json(public), arrays, Binning.from_json(binning))


def merge_small_bins(codes: CodeArray, public: Binning, *, least: int, dataset: str) -> Merging:
    """Join bins with fewer than `least` training rows.

    Neighbouring values are joined upwards until each group has enough; missing values that are too
    few join the largest group, which they change least. Categories that are too few become one
    group, with the smallest other one if they still are too few.

    Args: codes: (training rows, features) of `public` bins.
    Raises: ColumnConstant (a feature of which one group is left).
    Guarantee: that of the module.
    """
    counts = bin_sums(np.ones(len(codes), dtype=np.int64), codes, public)
    groups, merged = [], []
    for start, feature in zip(public.offsets, public.features, strict=True):
        own = counts[start : start + feature.bins]
        grouped = _of_values(own, feature, least) if feature.ordered else _of_names(own, least)
        if grouped.max() == 0:
            advice = "Leave it out of the job."
            raise ColumnConstant(dataset=dataset, column=feature.name, advice=advice)
        groups.append(grouped)
        merged.append(_as_bins(feature, grouped))
    return Merging(public, tuple(groups), Binning(tuple(merged)))


def _of_values(counts: IntArray, feature: FeatureBins, least: int) -> IntArray:
    """Return the group of each bin of an ordered feature, shape (bins,)."""
    values = counts[: len(feature.values)]
    # A bin opens a group once the one before is full, if all that follow fill another.
    held = accumulate(values, lambda rows, more: (0 if rows >= least else rows) + more)
    full = np.array([rows >= least for rows in held])
    following = np.cumsum(values[::-1])[::-1]
    opens = np.append(False, full[:-1]) & (following >= least)
    groups = np.cumsum(opens)
    if feature.missing is None:
        return groups.astype(np.int64)
    sizes = np.bincount(groups, values)
    alone = counts[feature.missing] >= least and sizes.max() >= least
    joined = groups[-1] + 1 if alone else int(np.argmax(sizes))
    return np.append(groups, joined).astype(np.int64)


def _of_names(counts: IntArray, least: int) -> IntArray:
    """Return the group of each category, shape (bins,), numbered in the order of first bins."""
    small = counts < least
    keys = np.where(small, -1, np.arange(len(counts)))
    if small.any() and not small.all() and counts[small].sum() < least:
        keys[small] = np.flatnonzero(~small)[np.argmin(counts[~small])]
    _, firsts, groups = np.unique(keys, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[groups].astype(np.int64)


def _as_bins(feature: FeatureBins, groups: IntArray) -> FeatureBins:
    """Return the groups of one feature as its bins."""
    firsts = np.unique(groups, return_index=True)[1]
    labels = tuple(feature.labels[first] for first in firsts)
    if not feature.ordered:
        return FeatureBins(feature.name, labels, (), ordered=False)
    edges = tuple(feature.edges[first - 1] for first in firsts if 0 < first <= len(feature.edges))
    return FeatureBins(feature.name, labels, edges, True, nullable=len(labels) > len(edges) + 1)
