"""The survey: customers counted on a fine public grid, and the bin edges made of those counts.

Guarantee: adding or removing one customer (one row) moves `survey_counts` by at most
`survey_bound` in L2 norm, whatever the row says.
Proof: a row lands in exactly one cell of each of the F number columns (a missing value in the last
one) and adds the same integer W there, so it moves F entries by exactly W: sqrt(F W^2). W is
`GRID`, so rounding the bound up adds less than 2^-26 of it. Integer sums are exact.
`edges_from_survey` is post-processing: it sees the released sum and public numbers alone, so edges
cost what the survey cost. A node never makes edges; it takes those it is asked with, if they lie
on its own public grid.
Not guaranteed: that a coordinator states the edges the survey gave. Others cost accuracy, never
privacy: the bound of a round holds over any bins.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from fedmkt.contract.job import Job
from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import JobInvalid, MessageInvalid
from fedmkt.core.stages import Examples, IntArray, LocalUpdate
from fedmkt.data.binning import Binning, FeatureBins, binning_from_schema
from fedmkt.horizontal.local_update import GRID, bound_over, check_customers
from fedmkt.privacy.quantiles import edges_from_noised_counts

Edges = Mapping[str, Sequence[float]]


def public_binning(job: Job, schema: TableSchema) -> Binning:
    """Return the bins a node encodes its rows with: the declared ones, or a survey's fine grid.

    Raises: JobInvalid for a survey without a number column; SettingInvalid for unknown features.
    """
    bins = job.model.grid_bins if job.model.surveys else job.model.max_bins
    binning = binning_from_schema(schema, job.features, max_bins=bins)
    if job.model.surveys and not number_features(binning):
        problem = "model.edges must be declared: no feature is a number"
        raise JobInvalid(job=job.name, problem=problem)
    return binning


def number_features(binning: Binning) -> tuple[FeatureBins, ...]:
    """Return the features that are numbers, in order."""
    return tuple(feature for feature in binning.features if feature.ordered)


def most_bins(grid: Binning, *, max_bins: int) -> int:
    """Return the most bins that edges from a survey on `grid` can make, all features together."""
    spared = (max(0, len(feature.values) - max_bins) for feature in number_features(grid))
    return grid.total - sum(spared)


def survey_bound(columns: int) -> float:
    """Return what one customer can move a survey of so many number columns by, in grid units."""
    return bound_over(columns, residual=0, weight=GRID)


def survey_counts(examples: Examples, grid: Binning) -> LocalUpdate:
    """Count customers in the cells of each number column, `GRID` a customer.

    Args: examples: codes of `grid`, one row a customer.
    Returns: values of shape (cells of all number columns,), in grid units.
    Raises: RangeExceeded (more than `MOST_CUSTOMERS`).
    Guarantee: that of the module.
    """
    check_customers(examples)
    counts = [
        np.bincount(examples.codes[:, place], minlength=feature.bins)
        for place, feature in enumerate(grid.features)
        if feature.ordered
    ]
    values = np.concatenate(counts).astype(np.int64) * GRID
    return LocalUpdate(values, survey_bound(len(counts)))


def edges_from_survey(
    values: IntArray, grid: Binning, *, max_bins: int
) -> dict[str, tuple[float, ...]]:
    """Return edges that cut each number column into at most `max_bins` about equal bins.

    Args: values: the released sum of all partners' surveys, with its noise, in grid units.
    Guarantee: post-processing of that release.
    """
    columns = number_features(grid)
    starts = accumulate((column.bins for column in columns), initial=0)
    edges: dict[str, tuple[float, ...]] = {}
    for column, start in zip(columns, starts, strict=False):
        counts = values[start : start + len(column.values)] / GRID  # without the missing
        cut = column.edges and edges_from_noised_counts(counts, column.edges, max_bins)
        edges[column.name] = cut
    return edges


def check_edges(edges: Edges, grid: Binning, *, max_bins: int) -> None:
    """Refuse edges that no survey on `grid` can have given. Raises: MessageInvalid."""
    columns = {column.name: column for column in number_features(grid)}
    if set(edges) != set(columns):
        raise MessageInvalid(kind="mask", problem="edges are not those of the number columns")
    for name, cut in edges.items():
        if len(cut) > max_bins - 1:
            raise MessageInvalid(kind="mask", problem=f"more edges of {name} than bins allow")
        if any(not low < high for low, high in pairwise(cut)):
            raise MessageInvalid(kind="mask", problem=f"edges of {name} do not rise")
        if not set(cut) <= set(columns[name].edges):
            raise MessageInvalid(kind="mask", problem=f"edges of {name} are not on its grid")
