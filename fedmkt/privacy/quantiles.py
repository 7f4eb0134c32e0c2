"""Bin edges from a noised histogram over a fine public grid.

Guarantee: nothing but the counts as released and public numbers goes in, so the edges cost no
privacy beyond that release: differential privacy is closed under post-processing (Dwork and Roth
2014, "The Algorithmic Foundations of Differential Privacy", proposition 2.1).
Not guaranteed: that the counts carried noise, or were charged. Whoever released them saw to that;
exact counts would give exact quantiles away.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray


def edges_from_noised_counts(
    counts: FloatArray, grid_edges: Sequence[float], bins: int
) -> tuple[float, ...]:
    """Return public grid edges that cut the released mass into about equal bins.

    Args: counts: (len(grid_edges) + 1,), released counts with their noise; cell i holds
        grid_edges[i - 1] <= x < grid_edges[i], the first and last cells are open. bins: how many
        bins are wanted, at least 2.
    Returns: at most bins - 1 of `grid_edges`, ascending; fewer where one cell holds the mass of
        several bins. Without any mass, edges evenly spread over the grid.
    Raises: SettingInvalid for counts that do not fit the grid, a grid that does not ascend, values
        that are not finite, or fewer than 2 bins.
    """
    grid = np.asarray(grid_edges, dtype=np.float64)  # (edges,)
    _check(counts, grid, bins)
    # The mass left of each edge must ascend; its least-squares fit lets noise of both signs
    # cancel, where clipping single counts at 0 would add mass to every empty cell.
    mass = np.maximum(isotonic_regression(np.cumsum(counts)).x, 0.0)  # (edges + 1,)
    left, total = mass[:-1], mass[-1]
    if total <= 0:
        left, total = np.arange(1.0, len(grid) + 1), len(grid) + 1.0
    wanted = total * np.arange(1, bins) / bins  # (bins - 1,)
    nearest = np.abs(left[:, None] - wanted).argmin(axis=0)
    return tuple(float(edge) for edge in grid[np.unique(nearest)])


def _check(counts: FloatArray, grid: FloatArray, bins: int) -> None:
    """Raise SettingInvalid for arguments that do not fit each other."""
    if bins < 2:
        raise SettingInvalid(setting="bins", problem=f"{bins} is fewer than 2")
    if grid.size == 0 or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise SettingInvalid(setting="grid_edges", problem="finite ascending edges are needed")
    if counts.shape != (grid.size + 1,) or not np.isfinite(counts).all():
        raise SettingInvalid(setting="counts", problem=f"{grid.size + 1} finite counts are needed")
