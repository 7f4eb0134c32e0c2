"""Edges cut released mass into equal parts and use nothing else."""

import numpy as np
import pytest

from fedmkt.core.errors import SettingInvalid
from fedmkt.privacy.quantiles import edges_from_noised_counts

GRID = tuple(float(edge) for edge in range(1, 10))  # ten cells: (-inf, 1), [1, 2) ... [9, inf)


def test_even_counts_give_even_edges():
    assert edges_from_noised_counts(np.full(10, 7.0), GRID, 5) == (2.0, 4.0, 6.0, 8.0)


def test_edges_stand_where_the_mass_is():
    counts = np.array([0, 0, 0, 0, 10, 10, 10, 10, 0, 0], dtype=float)
    assert edges_from_noised_counts(counts, GRID, 4) == (5.0, 6.0, 7.0)


def test_a_cell_with_the_mass_of_several_bins_gives_fewer_edges():
    counts = np.array([97, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=float)
    assert edges_from_noised_counts(counts, GRID, 4) == (1.0,)


def test_negative_counts_cancel_noise_in_empty_cells():
    # Cells 0 to 49 are empty under noise of scale 5, cells 50 to 99 hold 100 each.
    noise = np.random.default_rng(3).normal(0, 5, 100)
    counts = np.r_[np.zeros(50), np.full(50, 100.0)] + noise
    grid = np.arange(1.0, 100.0)
    (median,) = edges_from_noised_counts(counts, grid, 2)
    assert median == pytest.approx(75, abs=1)


@pytest.mark.parametrize("counts", [np.zeros(10), np.full(10, -3.0)])
def test_without_any_mass_edges_are_spread_evenly(counts):
    assert edges_from_noised_counts(counts, GRID, 5) == (2.0, 4.0, 6.0, 8.0)


@pytest.mark.parametrize(
    ("counts", "grid", "bins"),
    [
        (np.ones(10), GRID, 1),
        (np.ones(9), GRID, 4),
        (np.full(10, np.nan), GRID, 4),
        (np.ones(3), (1.0, 1.0), 4),
        (np.ones(3), (1.0, float("inf")), 4),
        (np.ones(1), (), 4),
    ],
)
def test_counts_that_do_not_fit_their_grid_are_refused(counts, grid, bins):
    with pytest.raises(SettingInvalid):
        edges_from_noised_counts(counts, grid, bins)
