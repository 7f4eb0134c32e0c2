"""What is refused, and in which words; the studies' groups."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import (
    NobodyLeft,
    PartitionImpossible,
    SettingInvalid,
)
from fedmkt.data import bundled
from fedmkt.simulation.partitions.columns import PartyColumns, partition_columns
from fedmkt.simulation.partitions.generator import GeneratedParty, GeneratorSettings
from fedmkt.simulation.partitions.link import ExchangeLoad, Link, exchange_time
from fedmkt.simulation.partitions.participation import Participation, draw_round
from fedmkt.simulation.partitions.rows import RowPartition, partition_rows
from fedmkt.simulation.partitions.value_groups import (
    ADULT_BY_OCCUPATION,
    BANK_BY_JOB,
    PRESETS,
    join_rarest,
)

COLOURS = pl.DataFrame({"colour": ["red"] * 6 + ["blue"] * 3 + ["green"] * 2 + [None]})


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


# Rows.


def test_more_partners_than_rows_are_refused_with_how_many_would_do() -> None:
    with pytest.raises(PartitionImpossible, match="at most 12 partners"):
        partition_rows(COLOURS, RowPartition("iid", 13), rng())
    with pytest.raises(PartitionImpossible, match="at most 3 partners"):
        partition_rows(COLOURS, RowPartition("quantity", 5, minimum_rows=4), rng())
    with pytest.raises(PartitionImpossible, match="larger table"):
        partition_rows(COLOURS, RowPartition("iid", 2, minimum_rows=7), rng())


def test_fewer_values_than_partners_are_refused() -> None:
    with pytest.raises(PartitionImpossible, match="colour has 4 values for 5 partners"):
        partition_rows(COLOURS, RowPartition("by_column", 5, column="colour"), rng())


def test_a_group_below_the_minimum_is_refused() -> None:
    how = RowPartition("by_column", 3, column="colour", minimum_rows=4)
    with pytest.raises(PartitionImpossible, match="smallest group of colour has 3 rows"):
        partition_rows(COLOURS, how, rng())


def test_the_rarest_values_are_put_together() -> None:
    parts = partition_rows(COLOURS, RowPartition("by_column", 3, column="colour"), rng())
    held = [COLOURS["colour"][rows.tolist()].unique().to_list() for rows in parts.values()]
    assert list(parts) == ["partner-0001", "partner-0002", "partner-0003"]
    assert [set(values) for values in held] == [{"red"}, {"blue"}, {"green", None}]
    assert join_rarest({"a": 5, "b": 2, "c": 2, "d": 1}, 2) == (("a",), ("c", "d", "b"))


def test_own_groups_go_to_partners_in_order() -> None:
    how = RowPartition("by_column", 2, column="colour", groups=(("green", None), ("red", "blue")))
    parts = partition_rows(COLOURS, how, rng())
    assert [rows.tolist() for rows in parts.values()] == [[9, 10, 11], list(range(9))]


def test_rows_in_no_group_are_refused_without_naming_their_value() -> None:
    how = RowPartition("by_column", 2, column="colour", groups=(("green", None), ("red",)))
    with pytest.raises(SettingInvalid, match="3 rows of colour belong to none") as caught:
        partition_rows(COLOURS, how, rng())
    assert "blue" not in str(caught.value)


def test_a_label_with_too_many_values_is_refused() -> None:
    frame = pl.DataFrame({"key": np.arange(1001)})
    with pytest.raises(PartitionImpossible, match="1001 values"):
        partition_rows(frame, RowPartition("dirichlet", 2, column="key"), rng())


@pytest.mark.parametrize("kind", ["iid", "by_column", "dirichlet", "quantity"])
def test_ten_thousand_partners_all_get_rows(kind) -> None:
    frame = pl.DataFrame({"value": np.arange(30_000) % (30 if kind == "dirichlet" else 12_000)})
    parts = partition_rows(frame, RowPartition(kind, 10_000, 1, "value"), rng())
    assert len(parts) == 10_000
    assert min(rows.size for rows in parts.values()) >= 1
    assert sum(rows.size for rows in parts.values()) == 30_000


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(SettingInvalid, match="no column size"):
        partition_rows(COLOURS, RowPartition("by_column", 2, column="size"), rng())


@pytest.mark.parametrize(
    "wrong",
    [
        {"partners": 1},
        {"partners": 10_001},
        {"minimum_rows": 0},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"exponent": -1.0},
        {"exponent": float("inf")},
        {"column": None},
        {"groups": (("red",), ("blue",), ("green",))},
        {"groups": (("red",), ("red", "blue"))},
        {"kind": "iid", "groups": (("red",), ("blue",))},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(SettingInvalid, match=next(reversed(wrong))):
        replace(RowPartition("by_column", 2, column="colour"), **wrong)


def test_sizes_by_a_power_law_fall_as_stated_above_the_minimum() -> None:
    """1, 1/2, 1/3, 1/4 of 250 rows: 120, 60, 40, 30; and one row each in front."""
    frame = pl.DataFrame({"row": np.arange(254)})
    parts = partition_rows(frame, RowPartition("quantity", 4), rng())
    assert [rows.size for rows in parts.values()] == [121, 61, 41, 31]


# The studies' groups.


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_studies_groups_hold_every_declared_value_and_all_rows(preset) -> None:
    grouped = [value for group in preset.groups.values() for value in group]
    assert sorted(grouped) == sorted(bundled.schema(preset.table).column(preset.column).categories)
    how = RowPartition("by_column", len(preset.groups), column=preset.column, groups=preset.values)
    for table in ("adult_train", "adult_test") if preset.table == "adult" else ("bank_marketing",):
        frame = bundled.load(table)
        parts = partition_rows(frame, how, rng())
        assert sum(rows.size for rows in parts.values()) == frame.height
        for values, rows in zip(preset.values, parts.values(), strict=True):
            assert set(frame[preset.column][rows.tolist()]) == set(values)


def test_adult_has_seven_occupation_groups_and_the_bank_a_partner_for_each_job() -> None:
    assert len(ADULT_BY_OCCUPATION.groups) == 7
    assert all(values == (name,) for name, values in BANK_BY_JOB.groups.items())


# Columns.

SCHEMA = TableSchema(
    customer_key="customer",
    columns=(
        Column(name="spend", kind="number", bounds=(0, 99)),
        Column(name="buys", kind="boolean", use="target"),
    ),
    target_positive=True,
)
SHOP = pl.DataFrame(
    {
        "customer": [str(n) for n in range(10)],
        "spend": np.linspace(0, 9, 10),
        "buys": [n < 2 for n in range(10)],
    }
)
OWNER, PARTNER = PartyColumns("bank", ("buys",)), PartyColumns("shop", ("spend",))


@pytest.mark.parametrize(
    ("parties", "problem"),
    [
        ((OWNER,), "two or more"),
        ((PARTNER, replace(PARTNER, name="maps", columns=("age",))), "no column age"),
        ((OWNER, PARTNER, replace(PARTNER, name="maps")), "given twice"),
        ((OWNER, replace(PARTNER, name="bank")), "different names"),
        ((replace(OWNER, overlap=0.5), PARTNER), "its overlap is 1"),
    ],
)
def test_parties_that_cannot_be_are_refused(parties, problem) -> None:
    with pytest.raises(SettingInvalid, match=problem):
        partition_columns(SHOP, SCHEMA, parties, seed=1)


@pytest.mark.parametrize(
    "wrong", [{"columns": ()}, {"overlap": 0.0}, {"overlap": 1.1}, {"lean": -1.5}]
)
def test_a_party_out_of_range_is_refused(wrong) -> None:
    with pytest.raises(SettingInvalid, match="the party shop"):
        replace(PARTNER, **wrong)


def test_a_lean_that_the_overlap_cannot_have_is_refused() -> None:
    """Two of ten are positives, so of eight known people at least six are negatives."""
    with pytest.raises(PartitionImpossible, match="shop cannot know"):
        partition_columns(SHOP, SCHEMA, (OWNER, replace(PARTNER, overlap=0.8, lean=0.9)), seed=1)
    with pytest.raises(PartitionImpossible, match="knows none of 10"):
        partition_columns(SHOP, SCHEMA, (OWNER, replace(PARTNER, overlap=0.01)), seed=1)


def test_a_party_holds_its_columns_and_its_consent_alone() -> None:
    made = partition_columns(SHOP, SCHEMA, (PARTNER, OWNER), seed=1)
    assert list(made) == ["bank", "shop"]
    assert made["bank"].table.columns == ["customer", "person", "buys"]
    assert made["shop"].schema.target_positive is None
    for name, party in made.items():
        assert party.consent["key"].to_list() == party.table["customer"].to_list()
        assert party.table["customer"].str.starts_with(f"{name}-").all()
        assert party.table["person"].str.starts_with("synthetic-").all()


# Participation.


def test_a_round_below_its_quorum_names_the_round() -> None:
    names = [f"partner-{n}" for n in range(5)]
    with pytest.raises(NobodyLeft, match="Round 7: 0 of 5") as caught:
        draw_round(names, Participation(dropout=1.0), seed=1, round_number=7)
    assert caught.value.fields["round"] == 7
    with pytest.raises(NobodyLeft, match="0 of 0"):
        draw_round([], Participation(), seed=1, round_number=7)
    with pytest.raises(NobodyLeft, match="3 of 3 partners are left, 4"):
        draw_round(names, Participation(share=0.6, quorum=4), seed=1, round_number=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 0.0},
        {"dropout": 1.1},
        {"stragglers": float("nan")},
        {"slowdown": 0.5},
        {"quorum": 0},
    ],
)
def test_participation_out_of_range_is_refused(wrong) -> None:
    with pytest.raises(SettingInvalid, match=f"{next(iter(wrong))} of the participation"):
        Participation(**wrong)


# The clock.


def load(*partners: tuple[float, float, float, float]) -> ExchangeLoad:
    return ExchangeLoad(*np.array(partners, dtype=np.float64).T)


def test_an_exchange_takes_what_its_formula_says() -> None:
    """2 MB at 8 Mbit/s are 2 s, 50 ms each way .1 s, computing 1 s; three times that when slow."""
    link = Link(mbit_s=8, latency_ms=50, request_s=0.01, fixed_s=0.2)
    partners = load((1.5e6, 0.5e6, 1, 1), (1.5e6, 0.5e6, 1, 3))
    whole = exchange_time(partners, link)
    assert (whole.fixed_s, whole.answer_s) == (0.2, pytest.approx(9.3))
    assert whole.requests_s == pytest.approx(0.01 * (2 * 17 + 1))
    assert exchange_time(partners, link, quorum=1, requests=0).total_s == pytest.approx(3.3)


def test_without_a_link_an_exchange_takes_what_was_measured() -> None:
    """docs/benchmarks.md, one exchange over a SuperLink: 645 ms for three nodes and 1 kB."""
    nothing = load(*[(1000, 1000, 0, 1)] * 3)
    assert exchange_time(nothing, Link(1e5, 0)).total_s == pytest.approx(0.645, abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"mbit_s": 0.0}, {"latency_ms": -1.0}, {"fixed_s": float("nan")}, {"round_trips": 0}],
)
def test_a_link_out_of_range_is_refused(wrong) -> None:
    with pytest.raises(SettingInvalid, match=f"{next(iter(wrong))} of the link"):
        replace(Link(10, 20), **wrong)


def test_a_quorum_that_cannot_answer_is_refused() -> None:
    for quorum in (0, 2):
        with pytest.raises(SettingInvalid, match="quorum of the link"):
            exchange_time(load((1, 1, 1, 1)), Link(10, 20), quorum=quorum)


# Generated tables: what is refused.

TWO = GeneratorSettings(400, (GeneratedParty("bank", 0.7), GeneratedParty("shop", 0.3)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"customers": 1},
        {"correlation": 1.01},
        {"signal": 0.0},
        {"interactions": -0.1},
        {"noise": float("nan")},
        {"prevalence": 0.0},
        {"categories": 1},
        {"parties": ()},
        {"parties": (GeneratedParty("bank", 0.5), GeneratedParty("bank", 0.5))},
        {"parties": (GeneratedParty("bank", 0.7),)},
        {"parties": (GeneratedParty("bank", 1.0, numbers=0, levels=0),)},
        {"parties": (GeneratedParty("bank", 1.0, numbers=1),), "interactions": 0.1},
    ],
)
def test_a_generator_out_of_range_is_refused(wrong) -> None:
    with pytest.raises(SettingInvalid, match=f"{next(reversed(wrong))} of the generator"):
        replace(TWO, **wrong)


# Data sets.
