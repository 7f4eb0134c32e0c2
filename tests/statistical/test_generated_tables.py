"""Generated tables are what was asked for, within sampling error; alarms false once in 1e6."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest, chi2, chisquare, norm

from fedmkt.data.validation import validate
from fedmkt.evaluation.metrics import auc_interval
from fedmkt.simulation.partitions.generator import (
    GeneratedParty,
    GeneratedTable,
    GeneratorSettings,
    generate,
)

FALSE_ALARM = 1e-6
ROWS = 60_000
Z = norm.isf(FALSE_ALARM / 2)
BASE = GeneratorSettings(
    ROWS,
    (
        GeneratedParty("bank", 0.5),
        GeneratedParty("shop", 0.3, numbers=4, levels=2),
        GeneratedParty("maps", 0.2, numbers=2, levels=0),
        GeneratedParty("weather", 0.0),
    ),
    correlation=0.4,
    interactions=0.15,
    noise=1.5,
    prevalence=0.1,
    curved=True,
)


@pytest.fixture(scope="module")
def table() -> GeneratedTable:
    return generate(BASE, seed=5)


def target_of(made: GeneratedTable) -> np.ndarray:
    return (made.frame["target"] == "yes").to_numpy().astype(np.uint8)


def test_the_prevalence_is_the_stated_one(table) -> None:
    assert table.truth.probability.mean() == pytest.approx(0.1, abs=1e-9)
    positives = int(target_of(table).sum())
    assert binomtest(positives, ROWS, 0.1).pvalue > FALSE_ALARM
    assert binomtest(positives, ROWS, 0.11).pvalue < FALSE_ALARM


def test_targets_are_drawn_with_the_true_probabilities(table) -> None:
    """Twenty groups by probability: squares of standardised counts sum to a chi-square of 20."""
    groups, target = np.array_split(np.argsort(table.truth.probability), 20), target_of(table)

    def fits(chance: np.ndarray) -> bool:
        off = [(target[rows].sum() - chance[rows].sum()) ** 2 for rows in groups]
        spread = [(chance[rows] * (1 - chance[rows])).sum() for rows in groups]
        statistic = float(np.sum(np.array(off) / np.array(spread)))
        return min(chi2.sf(statistic, 20), chi2.cdf(statistic, 20)) > FALSE_ALARM

    assert fits(table.truth.probability)
    assert not fits(expit(table.truth.score))  # what it would be without the unseen noise


def test_like_numbers_of_two_parties_correlate_as_stated_and_unlike_ones_not(table) -> None:
    """By Fisher's transformation, whose standard error is 1 / sqrt(rows - 3)."""
    columns = [
        (name, name.rpartition("_")[2], table.frame[name].to_numpy())
        for name in table.frame.columns
        if "_number_" in name
    ]
    for (one, place, a), (other, other_place, b) in combinations(columns, 2):
        like = place == other_place and one.split("_")[0] != other.split("_")[0]
        found = np.arctanh(np.corrcoef(a, b)[0, 1]) - np.arctanh(0.4 if like else 0.0)
        assert abs(found) < Z / np.sqrt(ROWS - 3), (one, other)


def test_like_levels_of_two_parties_agree_as_stated(table) -> None:
    """Equal where the origin is common, else in one of four by chance."""
    agree = int((table.frame["bank_level_1"] == table.frame["shop_level_1"]).sum())
    assert binomtest(agree, ROWS, 0.4 + 0.6 / 4).pvalue > FALSE_ALARM
    apart = int((table.frame["bank_level_1"] == table.frame["shop_level_2"]).sum())
    assert binomtest(apart, ROWS, 1 / 4).pvalue > FALSE_ALARM
    frequencies = table.frame["bank_level_1"].value_counts()["count"].to_numpy()
    assert chisquare(frequencies).pvalue > FALSE_ALARM


def within_error(products: np.ndarray, expected: float) -> bool:
    error = products.std() / np.sqrt(products.size)
    return bool(abs(products.mean() - expected) < Z * error + 1e-4)


def test_parties_have_their_shares_of_the_scores_variance(table) -> None:
    """Means of centred products, whose standard error is that of a mean; 1e-4 for cut numbers."""
    truth = table.truth
    centred = (truth.score - truth.score.mean()) / BASE.signal
    assert within_error(centred**2, 1)
    for party in BASE.parties:
        assert truth.shares[party.name] == pytest.approx(party.share * 0.85)
        part = truth.parts[party.name] / BASE.signal
        assert within_error((part - part.mean()) * centred, party.share * 0.85)
    extra = truth.interaction / BASE.signal
    assert within_error(extra**2, 0.15)
    assert within_error(extra * centred, 0.15)
    assert sum(truth.shares.values()) + truth.interaction_share == pytest.approx(1)
    bank = truth.parts["bank"] / BASE.signal
    assert not within_error((bank - bank.mean()) * centred, 0.5)


def test_the_score_is_the_sum_of_its_parts(table) -> None:
    truth = table.truth
    rest = truth.score - np.sum([*truth.parts.values(), truth.interaction], axis=0)
    assert rest.std() < 1e-9


def test_interactions_are_beyond_any_function_of_one_column(table) -> None:
    for name in table.frame.columns:
        if "_number_" in name:
            values = table.frame[name].to_numpy()
            for function in (values, values**2 - 1, np.sin(2 * values), np.abs(values) - 0.8):
                assert within_error(function * table.truth.interaction, 0)


def test_the_bayes_auc_is_that_of_many_drawn_targets() -> None:
    made = generate(BASE, seed=6)
    rng = np.random.default_rng(1)
    chances = np.tile(made.truth.probability, 10)
    target = (rng.random(chances.size) < chances).astype(np.uint8)
    interval = auc_interval(target, chances)
    half = (interval.high - interval.low) / (2 * norm.isf(0.025)) * Z
    assert abs(interval.value - made.truth.bayes_auc) < half
    assert half < 0.005


@given(
    st.builds(
        GeneratorSettings,
        customers=st.integers(2, 200),
        parties=st.just(BASE.parties) | st.just((GeneratedParty("solo", 1.0),)),
        correlation=st.floats(0, 1),
        signal=st.floats(0.1, 20),
        interactions=st.floats(0, 1),
        noise=st.floats(0, 5),
        prevalence=st.floats(1e-4, 1 - 1e-4),
        categories=st.integers(2, 9),
        curved=st.booleans(),
    ),
    st.integers(0, 2**40),
)
@settings(deadline=None, max_examples=60)
def test_any_generated_table_keeps_its_schema_and_prevalence_and_comes_again(how, seed) -> None:
    made, again = generate(how, seed=seed), generate(how, seed=seed)
    assert made.frame.equals(again.frame)
    assert not validate(made.frame, made.schema, "generated").findings
    assert made.truth.probability.mean() == pytest.approx(how.prevalence, abs=1e-9)
    order = np.argsort(made.truth.score, kind="stable")
    assert (np.diff(made.truth.probability[order]) >= -1e-12).all()


def test_a_partys_columns_do_not_depend_on_the_other_parties() -> None:
    def bank(seed: int, *shares: float):
        names = ("maps", "bank", "shop")[: len(shares)]
        parties = tuple(map(GeneratedParty, names, shares))
        made = generate(GeneratorSettings(500, parties, correlation=0.4), seed=seed)
        return made.frame.select(made.columns["bank"])

    assert bank(9, 0.2, 0.8).equals(bank(9, 0.3, 0.3, 0.4))
    assert not bank(9, 0.2, 0.8).equals(bank(8, 0.2, 0.8))
