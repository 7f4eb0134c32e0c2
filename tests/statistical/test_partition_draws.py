"""Draws of partitions and rounds follow their laws; seeds are fixed, alarms false once in 1e6."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta, binomtest, chi2, chi2_contingency, kstest

from fedmkt.simulation.partitions.columns import PartyColumns, known_customers
from fedmkt.simulation.partitions.label_skew import draw_label_counts
from fedmkt.simulation.partitions.participation import Participation, draw_round
from fedmkt.simulation.partitions.rows import RowPartition, partition_rows

FALSE_ALARM = 1e-6
NAMES = [f"partner-{k:02}" for k in range(40)]
ROUNDS = 1000


def counts_by_partner(how: RowPartition, frame: pl.DataFrame) -> np.ndarray:
    parts = partition_rows(frame, how, np.random.default_rng(7))
    labels = frame["label"].to_numpy()
    return np.array([np.bincount(labels[rows], minlength=4) for rows in parts.values()])


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return pl.DataFrame({"label": np.random.default_rng(1).integers(0, 4, 40_000)})


def test_labels_are_alike_at_partners_drawn_evenly_and_by_quantity(frame) -> None:
    for how in (RowPartition("iid", 50), RowPartition("quantity", 50, minimum_rows=20)):
        assert chi2_contingency(counts_by_partner(how, frame)).pvalue > FALSE_ALARM


def test_label_skew_is_seen_by_the_same_test(frame) -> None:
    skewed = RowPartition("dirichlet", 50, column="label", alpha=20)
    assert chi2_contingency(counts_by_partner(skewed, frame)).pvalue < FALSE_ALARM


def test_label_shares_have_the_stated_dirichlet_law_and_no_other() -> None:
    """Out of deep pools a share of label c is Beta(alpha p, alpha (1 - p)), to 1e-5 of rounding."""
    alpha, pools = 0.8, np.array([10**12, 3 * 10**12])
    sizes = np.full(5000, 10**6)
    counts = draw_label_counts(pools, sizes, alpha=alpha, rng=np.random.default_rng(2))
    shares = counts[:, 0] / sizes

    def fits(scale: float) -> bool:
        law = beta(scale * alpha / 4, scale * alpha * 3 / 4)
        return bool(kstest(shares, law.cdf).pvalue > FALSE_ALARM)

    # Below one row in 1e6 the law has an atom at 0; those shares are spread by the law itself.
    few = shares < 1e-5
    law = beta(alpha / 4, alpha * 3 / 4)
    spread = law.ppf(np.random.default_rng(3).random(int(few.sum())) * law.cdf(1e-5))
    assert binomtest(int(few.sum()), 5000, law.cdf(1e-5)).pvalue > FALSE_ALARM
    shares[few] = spread
    assert fits(1)
    assert not fits(2 / 3)
    assert not fits(3 / 2)


def test_sizes_have_the_stated_dirichlet_law_and_no_other() -> None:
    """Of two partners the first's share is Beta(alpha, alpha)."""
    table = pl.DataFrame({"row": np.arange(1002)})
    how = RowPartition("quantity", 2, sizes="dirichlet", alpha=2.0)
    first = [
        partition_rows(table, how, np.random.default_rng(seed))["partner-0001"].size - 1
        for seed in range(6000)
    ]
    shares = np.array(first) / 1000

    def fits(scale: float) -> bool:
        return bool(kstest(shares, beta(2 * scale, 2 * scale).cdf).pvalue > FALSE_ALARM)

    assert fits(1)
    assert not fits(2 / 3)
    assert not fits(3 / 2)


def rounds(how: Participation):
    return [draw_round(NAMES, how, seed=11, round_number=number) for number in range(ROUNDS)]


def test_partners_are_asked_evenly() -> None:
    """Ten of forty without replacement: the sum of squares is chi-square with 39 degrees."""
    counts = dict.fromkeys(NAMES, 0)
    for drawn in rounds(Participation(share=0.25)):
        for name in drawn.asked:
            counts[name] += 1
    deviation = np.array(list(counts.values())) - ROUNDS / 4
    statistic = (deviation**2).sum() / (ROUNDS * 0.25 * 0.75) * 39 / 40
    assert min(chi2.sf(statistic, 39), chi2.cdf(statistic, 39)) > FALSE_ALARM


def test_dropouts_and_stragglers_come_with_the_stated_chances_and_no_others() -> None:
    how = Participation(share=0.5, dropout=0.3, stragglers=0.2, slowdown=4)
    drawn = rounds(how)
    asked = sum(len(one.asked) for one in drawn)
    answering = sum(len(one.answering) for one in drawn)
    slow = sum(factor == 4 for one in drawn for factor in one.slowdown.values())
    for hits, total, chance in ((asked - answering, asked, 0.3), (slow, answering, 0.2)):
        assert binomtest(hits, total, chance).pvalue > FALSE_ALARM
        assert binomtest(hits, total, chance * 2 / 3).pvalue < FALSE_ALARM
        assert binomtest(hits, total, chance * 3 / 2).pvalue < FALSE_ALARM


def test_customers_of_a_class_are_known_evenly() -> None:
    """Over 400 draws: within each class, sums of squares are chi-square less one degree."""
    positive = np.arange(100) < 30
    party = PartyColumns("shop", ("spend",), overlap=0.5, lean=0.3)
    draws, counts = 400, np.zeros(100)
    for seed in range(draws):
        counts[known_customers(positive, party, np.random.default_rng(seed))] += 1
    for rows in (positive, ~positive):
        share, size = counts[rows].sum() / draws / rows.sum(), int(rows.sum())
        deviation = counts[rows] - draws * share
        statistic = (deviation**2).sum() / (draws * share * (1 - share)) * (size - 1) / size
        assert min(chi2.sf(statistic, size - 1), chi2.cdf(statistic, size - 1)) > FALSE_ALARM
    assert counts[positive].mean() > counts[~positive].mean()
