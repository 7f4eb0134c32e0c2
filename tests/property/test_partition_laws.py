"""Laws of who holds what, who takes part and how long it takes, over any settings."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import NobodyLeft, PartitionImpossible
from fedmkt.simulation.partitions.columns import PartyColumns, known_customers, partition_columns
from fedmkt.simulation.partitions.label_skew import draw_label_counts
from fedmkt.simulation.partitions.link import (
    ExchangeLoad,
    ExchangeTime,
    Link,
    answer_seconds,
    exchange_time,
    run_time,
)
from fedmkt.simulation.partitions.participation import Participation, draw_round
from fedmkt.simulation.partitions.rows import RowPartition, partition_rows
from fedmkt.simulation.partitions.truth import expected_auc, scale_to_shares
from fedmkt.simulation.partitions.value_groups import join_rarest

SEEDS = st.integers(0, 2**32)
TABLES = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=60).map(
    lambda values: pl.DataFrame({"label": pl.Series(values, dtype=pl.String)})
)
DIVISIONS = st.builds(
    RowPartition,
    kind=st.sampled_from(["iid", "by_column", "dirichlet", "quantity"]),
    partners=st.integers(2, 12),
    minimum_rows=st.integers(1, 4),
    column=st.just("label"),
    alpha=st.floats(1e-3, 1e6),
    sizes=st.sampled_from(["power", "dirichlet"]),
    exponent=st.floats(0, 400),
)


@given(TABLES, DIVISIONS, SEEDS)
def test_rows_are_divided_wholly_and_enough_or_refused(frame, division, seed) -> None:
    possible = division.partners * division.minimum_rows <= frame.height
    try:
        parts = partition_rows(frame, division, np.random.default_rng(seed))
    except PartitionImpossible:
        few = division.minimum_rows > 1 or frame["label"].n_unique() < division.partners
        assert not possible or (division.kind == "by_column" and few)
        return
    assert possible
    assert len(parts) == division.partners
    assert min(part.size for part in parts.values()) >= division.minimum_rows
    joined = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(np.sort(joined), np.arange(frame.height))
    assert all((np.diff(part) > 0).all() for part in parts.values())


@given(TABLES, DIVISIONS, SEEDS)
def test_the_same_seed_divides_alike(frame, division, seed) -> None:
    try:
        once = partition_rows(frame, division, np.random.default_rng(seed))
    except PartitionImpossible:
        return
    again = partition_rows(frame, division, np.random.default_rng(seed))
    assert list(once) == list(again)
    for partner, rows in once.items():
        np.testing.assert_array_equal(rows, again[partner])


@given(TABLES, DIVISIONS.map(lambda division: replace(division, kind="by_column")), SEEDS)
def test_all_rows_of_a_value_are_at_one_partner(frame, division, seed) -> None:
    try:
        parts = partition_rows(frame, division, np.random.default_rng(seed))
    except PartitionImpossible:
        return
    holders = [set(frame["label"][rows.tolist()].to_list()) for rows in parts.values()]
    assert sum(len(values) for values in holders) == frame["label"].n_unique()


@given(TABLES, DIVISIONS.map(lambda division: replace(division, kind="dirichlet")), SEEDS)
def test_label_skew_leaves_sizes_even(frame, division, seed) -> None:
    try:
        parts = partition_rows(frame, division, np.random.default_rng(seed))
    except PartitionImpossible:
        return
    sizes = [rows.size for rows in parts.values()]
    assert max(sizes) - min(sizes) <= 1


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.floats(1e-3, 1e6),
    st.integers(1, 10),
    SEEDS,
)
def test_no_label_gives_more_rows_than_it_has(pools, alpha, partners, seed) -> None:
    sizes = np.full(partners, sum(pools) // partners)
    rng = np.random.default_rng(seed)
    counts = draw_label_counts(np.array(pools), sizes, alpha=alpha, rng=rng)
    np.testing.assert_array_equal(counts.sum(axis=1), sizes)
    assert (counts >= 0).all()
    assert (counts.sum(axis=0) <= pools).all()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.data())
def test_joined_groups_hold_each_value_once_and_differ_least(sizes, data) -> None:
    ordered = {f"v{k}": size for k, size in enumerate(sorted(sizes, reverse=True))}
    groups = join_rarest(ordered, data.draw(st.integers(1, len(ordered))))
    assert sorted(value for group in groups for value in group) == sorted(ordered)
    together = [sum(ordered[value] for value in group) for group in groups]
    assert together == sorted(together, reverse=True)
    # Whatever was joined was the rarest then: without its larger half it is no more than any other.
    joined = [group for group in groups if len(group) > 1]
    assert all(ordered[min(group, key=ordered.get)] <= min(together) for group in joined)


# Columns.


@given(
    st.lists(st.booleans(), min_size=1, max_size=80),
    st.floats(0.01, 1),
    st.floats(-1, 1),
    SEEDS,
)
def test_a_party_knows_the_stated_share_and_leans_as_stated(positive, overlap, lean, seed) -> None:
    target = np.array(positive)
    share, size = target.mean(), target.size
    moved = lean * np.sqrt(overlap * (1 - overlap) * share * (1 - share))
    positives = (overlap * share + moved) * size
    party = PartyColumns("shop", ("spend",), overlap, lean)
    try:
        known = known_customers(target, party, np.random.default_rng(seed))
    except PartitionImpossible:
        people = overlap * size
        fits = max(0, people - (~target).sum()) <= positives <= min(people, target.sum())
        assert people <= 0.5 or not fits
        return
    assert known.size == round(overlap * target.size)
    assert np.unique(known).size == known.size
    assert abs(target[known].sum() - positives) <= 1


def _shop_of(parties, seed):
    columns = [Column(name=name, kind="number", bounds=(0, 99)) for name in ("spend", "age")]
    label = Column(name="buys", kind="boolean", use="target")
    schema = TableSchema(customer_key="customer", columns=(*columns, label), target_positive=True)
    frame = pl.DataFrame(
        {
            "customer": [str(n) for n in range(50)],
            "spend": [float(n) for n in range(50)],
            "age": [float(n) for n in range(50)],
            "buys": [n % 3 == 0 for n in range(50)],
        }
    )
    return frame, partition_columns(frame, schema, parties, seed=seed)


@given(st.floats(0.05, 1), SEEDS)
def test_what_is_drawn_for_a_party_does_not_depend_on_the_others(overlap, seed) -> None:
    shop, owner = PartyColumns("shop", ("spend",), overlap), PartyColumns("bank", ("buys",))
    frame, alone = _shop_of((shop, owner), seed)
    _, beside = _shop_of((owner, PartyColumns("maps", ("age",), 0.5), shop), seed)
    assert next(iter(alone)) == next(iter(beside)) == "bank"
    assert alone["shop"].table.equals(beside["shop"].table)
    people = alone["shop"].people.tolist()
    assert alone["shop"].table["spend"].to_list() == frame["spend"][people].to_list()


@given(SEEDS)
def test_parties_find_each_other_by_the_same_identifier(seed) -> None:
    parties = (PartyColumns("bank", ("buys",)), PartyColumns("shop", ("spend",), 0.4))
    _, made = _shop_of(parties, seed)
    both = made["bank"].table.join(made["shop"].table, on="person")
    assert both.height == 20
    people = {name: dict(zip(data.table["person"], data.people.tolist(), strict=True))
              for name, data in made.items()}  # fmt: skip
    assert all(people["bank"][person] == people["shop"][person] for person in both["person"])


# Participation.


@given(
    st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=30),
    st.builds(
        Participation,
        share=st.floats(0.01, 1),
        dropout=st.floats(0, 1),
        stragglers=st.floats(0, 1),
        slowdown=st.floats(1, 10),
        quorum=st.integers(1, 3),
    ),
    SEEDS,
    st.integers(0, 1000),
    st.randoms(use_true_random=False),
)
def test_a_round_depends_on_seed_number_and_names_alone(names, how, seed, number, random) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)
    try:
        drawn = draw_round(shuffled, how, seed=seed, round_number=number)
    except NobodyLeft:
        with pytest.raises(NobodyLeft):
            draw_round(sorted(names), how, seed=seed, round_number=number)
        some = draw_round(names, replace(how, dropout=0, quorum=1), seed=seed, round_number=number)
        assert how.dropout or len(some.asked) < how.quorum
        return
    assert draw_round(sorted(names), how, seed=seed, round_number=number) == drawn
    assert len(drawn.asked) == max(1, round(how.share * len(names)))
    assert set(drawn.answering) <= set(drawn.asked) <= names
    assert tuple(drawn.slowdown) == drawn.answering
    assert len(drawn.answering) >= how.quorum
    assert set(drawn.slowdown.values()) <= {1.0, how.slowdown}


# The clock.

AMOUNTS = st.floats(0, 1e9)
PARTNERS = st.lists(
    st.tuples(AMOUNTS, AMOUNTS, st.floats(0, 1e4), st.floats(1, 100)), min_size=1, max_size=8
)
LINKS = st.builds(
    Link,
    mbit_s=st.floats(0.1, 1e5),
    latency_ms=st.floats(0, 1e4),
    round_trips=st.integers(1, 20),
    request_s=st.floats(0, 1),
    fixed_s=st.floats(0, 10),
)


def load_of(partners) -> ExchangeLoad:
    return ExchangeLoad(*np.array(partners, dtype=np.float64).T)


@given(PARTNERS, LINKS, st.data(), st.floats(1, 100))
def test_more_of_anything_never_takes_less(partners, link, data, more) -> None:
    quorum = data.draw(st.integers(1, len(partners)))
    base = exchange_time(load_of(partners), link, quorum=quorum).total_s
    for column in range(4):
        grown = [tuple(v * more if k == column else v for k, v in enumerate(p)) for p in partners]
        assert exchange_time(load_of(grown), link, quorum=quorum).total_s >= base
    for field in ("latency_ms", "request_s", "fixed_s"):
        worse = replace(link, **{field: getattr(link, field) * more})
        assert exchange_time(load_of(partners), worse, quorum=quorum).total_s >= base
    worse = replace(link, mbit_s=link.mbit_s / more, round_trips=link.round_trips + 1)
    assert exchange_time(load_of(partners), worse, quorum=quorum).total_s >= base


@given(PARTNERS, LINKS)
def test_waiting_for_more_answers_never_takes_less(partners, link) -> None:
    load = load_of(partners)
    times = [
        exchange_time(load, link, quorum=quorum).total_s for quorum in range(1, len(partners) + 1)
    ]
    assert all(sooner <= later for sooner, later in pairwise(times))
    assert times[-1] == exchange_time(load, link).total_s


@given(PARTNERS, LINKS, PARTNERS)
def test_one_more_partner_never_makes_everybody_sooner(partners, link, others) -> None:
    alone = exchange_time(load_of(partners), link).total_s
    assert exchange_time(load_of(partners + others), link).total_s >= alone


@given(PARTNERS, LINKS, st.floats(0, 1))
def test_what_is_sent_in_two_parts_takes_as_long_in_sum(partners, link, share) -> None:
    link = replace(link, latency_ms=0.0)
    parts = [
        load_of([(d * s, u * s, c * s, slow) for d, u, c, slow in partners])
        for s in (share, 1 - share)
    ]
    together = answer_seconds(load_of(partners), link)
    np.testing.assert_allclose(sum(answer_seconds(part, link) for part in parts), together)


@given(st.lists(st.builds(ExchangeTime, AMOUNTS, AMOUNTS, AMOUNTS), max_size=6))
def test_a_run_takes_what_its_exchanges_take(exchanges) -> None:
    total = sum(exchange.total_s for exchange in exchanges)
    assert run_time(exchanges).total_s == pytest.approx(total)


# The truth.

CHANCES = st.floats(0, 1)


@given(st.lists(st.tuples(CHANCES, st.integers(0, 4)), min_size=2, max_size=25))
def test_the_expected_auc_is_the_sum_over_all_pairs(rows) -> None:
    chance, scores = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    weight = np.outer(chance, 1 - chance)
    np.fill_diagonal(weight, 0)
    if weight.sum() < 1e-6:
        return
    wins = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    expected = (weight * wins).sum() / weight.sum()
    assert expected_auc(chance, scores) == pytest.approx(expected, abs=1e-8)


@given(st.lists(CHANCES, min_size=2, max_size=25), st.data())
def test_no_ranking_beats_the_true_probabilities(chances, data) -> None:
    chance = np.array(chances)
    if chance.sum() * (1 - chance).sum() - (chance * (1 - chance)).sum() < 1e-6:
        return
    other = data.draw(st.permutations(range(chance.size)).map(np.array))
    best = expected_auc(chance, chance)
    assert expected_auc(chance, other.astype(np.float64)) <= best + 1e-8


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.floats(0, 1))
@settings(deadline=None)
def test_parts_are_scaled_to_their_shares_of_the_variance(weights, rho) -> None:
    shares = np.array(weights) / sum(weights)
    correlation = np.full((shares.size, shares.size), rho)
    np.fill_diagonal(correlation, 1.0)
    factors = scale_to_shares(correlation, shares)
    np.testing.assert_allclose(factors * (correlation @ factors), shares, atol=1e-9)
