"""Robust sums equal those of Flower's strategies where every update is usable and none is tied."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.server.strategy.aggregate import (
    aggregate_krum,
    aggregate_median,
    aggregate_trimmed_avg,
)
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import select_multikrum

from fedmkt.horizontal.robust import krum, median, multi_krum, trimmed_mean

CASES = [(5, 1), (8, 2), (13, 5), (20, 0)]
PARAMETERS = 37


def updates(partners: int, seed: int) -> np.ndarray:
    """Return random updates, some partners far from the rest."""
    draw = np.random.default_rng(seed)
    scale = np.where(np.arange(partners) % 4, 1.0, 30.0)[:, None]
    return draw.permutation(draw.normal(size=(partners, PARAMETERS)) * scale)


def results(rows: np.ndarray) -> list[tuple[list[np.ndarray], int]]:
    """Return updates as Flower's functions take them, in two layers, all of equal weight."""
    return [([row[:7].reshape(7, 1), row[7:]], 1) for row in rows]


def flat(layers: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([layer.ravel() for layer in layers])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("partners", "faulty"), CASES)
def test_the_median_is_flowers(partners, faulty, seed):
    rows = updates(partners, seed)
    assert np.array_equal(median(rows).update, flat(aggregate_median(results(rows))))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("partners", "faulty"), CASES)
def test_the_trimmed_mean_is_flowers(partners, faulty, seed):
    rows = updates(partners, seed)
    # A share that int(share * partners) turns back into `faulty`, whatever the rounding.
    share = (faulty + 0.25) / partners
    ours = trimmed_mean(rows, faulty=faulty).update
    np.testing.assert_allclose(ours, flat(aggregate_trimmed_avg(results(rows), share)), rtol=1e-12)
    np.testing.assert_allclose(ours, trim_mean(rows, share), rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("partners", "faulty"), CASES)
def test_krum_is_flowers(partners, faulty, seed):
    rows = updates(partners, seed)
    theirs = aggregate_krum(results(rows), num_malicious=faulty, to_keep=0)
    assert np.array_equal(krum(rows, faulty=faulty).update, flat(theirs))


@pytest.mark.parametrize("keep", [2, 4])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("partners", "faulty"), CASES)
def test_multi_krum_is_flowers_old_and_new(partners, faulty, seed, keep):
    rows = updates(partners, seed)
    ours = multi_krum(rows, faulty=faulty, keep=keep)
    old = aggregate_krum(results(rows), num_malicious=faulty, to_keep=keep)
    np.testing.assert_allclose(ours.update, flat(old), rtol=1e-12)
    contents = [
        RecordDict({"a": ArrayRecord({"x": Array(row)}), "m": MetricRecord({"place": place})})
        for place, row in enumerate(rows)
    ]
    chosen = select_multikrum(contents, num_malicious_nodes=faulty, num_nodes_to_select=keep)
    assert ours.taken == tuple(sorted(one["m"]["place"] for one in chosen))
