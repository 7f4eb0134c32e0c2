"""Aligned customers come complete and in order, and a changed value changes their fingerprint."""

import hashlib

import numpy as np
import polars as pl
import pytest

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import (
    ColumnKindWrong,
    QualityTooLow,
    SchemaViolated,
    SettingInvalid,
    TableChanged,
)
from fedmkt.data.aligned import AlignedCustomers, fingerprint_aligned, load_aligned
from fedmkt.data.binning import Binning, binning_from_schema, encode
from fedmkt.data.sources import SourceSettings, open_source

SECRET = "Frieda-Musterfrau-4711"
SCHEMA = TableSchema(
    customer_key="customer",
    target_positive="yes",
    columns=(
        Column(name="age", kind="integer", bounds=(18, 90)),
        Column(name="spend", kind="number", bounds=(0, 500), nullable=True),
        Column(name="colour", kind="category", categories=("red", "blue")),
        Column(name="member", kind="boolean", nullable=True),
        Column(name="bought", kind="category", use="target", categories=("no", "yes")),
    ),
)
BINNING = binning_from_schema(SCHEMA, ("age", "colour"), max_bins=80)
KEYS = tuple(f"c{row}" for row in (31, 4, 17, 9, 22))


class Frames:
    """A source that holds its batches."""

    name = "frames"

    def __init__(self, *frames: pl.DataFrame) -> None:
        self.frames = frames

    def batches(self, columns, batch_rows):
        for frame in self.frames:
            yield frame.select(list(columns))


def good(rows: int = 40) -> pl.DataFrame:
    row = pl.int_range(rows, eager=True)
    return pl.DataFrame(
        {
            "customer": "c" + row.cast(pl.String),
            "age": 20 + row,
            "spend": row * 1.5,
            "colour": pl.Series(["red", "blue"]).gather(row % 2),
            "member": row % 3 == 0,
            "bought": pl.Series(["no", "yes"]).gather((row % 4 == 0).cast(pl.UInt32)),
        }
    )


def put(frame: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    cells = frame.get_column(column).to_list()
    cells[row] = value
    return frame.with_columns(pl.Series(column, cells, strict=False))


def aligned(keys=KEYS, key: bytes = b"k" * 32) -> AlignedCustomers:
    return AlignedCustomers("shop", "autumn", tuple(keys), key)


def load(*frames: pl.DataFrame, keys=KEYS, binning=BINNING, target="bought", **terms):
    return load_aligned(
        Frames(*frames), SCHEMA, aligned(keys), coder=binning, target=target, **terms
    )


def mark(*frames: pl.DataFrame, keys=KEYS, key: bytes = b"k" * 32) -> str:
    return fingerprint_aligned(Frames(*frames), SCHEMA, aligned(keys, key))


def test_rows_come_in_the_alignments_order_over_all_batches():
    frame = good()
    rows = load(frame[:10], frame[10:20], frame[20:])
    wanted = frame[[31, 4, 17, 9, 22]]
    assert (rows.codes == encode(wanted, BINNING, dataset="shop")).all()
    # c4 is the only one of them whose number four divides.
    assert rows.target.tolist() == [0, 1, 0, 0, 0]
    assert rows.target.dtype == np.uint8


def test_one_class_among_the_aligned_is_not_refused():
    assert load(good(), keys=("c1", "c2")).target.tolist() == [0, 0]


def test_a_partner_has_no_target_and_an_owner_may_have_no_features():
    partner = load(good(), target=None)
    assert partner.target is None
    assert partner.codes.shape == (5, 2)
    owner = load(good(), binning=Binning(()))
    assert owner.codes.shape == (5, 0)
    assert owner.target.tolist() == [0, 1, 0, 0, 0]


def test_of_a_customers_rows_the_lowest_codes_then_the_lowest_target_count():
    row = good()[4]  # aged 24, red, bought
    younger, other = put(row, "age", 0, 20), put(row, "bought", 0, "no")
    for again in (younger, other):
        for frames in ((good(), again), (again, good())):
            rows = load(*frames, quality_floor=0)
            assert (rows.codes[1] == load(put(good(), "age", 4, again["age"][0])).codes[1]).all()
            assert rows.target[1] == (again["bought"][0] == "yes")
            assert rows.codes.shape == (5, 2)


def test_the_first_features_code_decides_before_the_second():
    younger = put(put(good()[4], "age", 0, 20), "colour", 0, "blue")  # blue sorts after red
    for frames in ((good(), younger), (younger, good())):
        rows = load(*frames, quality_floor=0)
        assert (rows.codes[1] == encode(younger, BINNING, dataset="shop")[0]).all()


def test_duplicates_among_the_aligned_lower_the_scorecard():
    with pytest.raises(QualityTooLow, match="duplicate customer"):
        load(good(), good()[4])


@pytest.mark.parametrize("frames", [(), (good(0),), (good(31),), (good()[:4], good()[5:])])
def test_a_customer_who_left_the_table_is_a_refusal(frames):
    for attempt in (load, mark):
        with pytest.raises(TableChanged) as caught:
            attempt(*frames)
        assert caught.value.fields == {"dataset": "shop", "alignment": "autumn"}


def test_a_repeated_customer_does_not_stand_in_for_a_missing_one():
    with pytest.raises(TableChanged):
        load(good()[:31], good()[4], quality_floor=0)


def test_broken_rows_outside_the_alignment_are_not_looked_at():
    frame = put(put(good(), "age", 5, None), "customer", 6, None)
    assert (load(frame).codes == load(good()).codes).all()


def test_broken_rows_of_aligned_customers_are_refused_by_their_row_in_the_table():
    frame = put(put(good(), "colour", 17, SECRET), "bought", 31, None)
    with pytest.raises(SchemaViolated) as caught:
        load(frame[:10], frame[10:])
    message = str(caught.value)
    assert "colour: unknown category, 1 rows (row 18)" in message
    assert "bought: missing value, 1 rows (row 32)" in message
    assert SECRET not in message


def test_undeclared_features_and_kinds_that_cannot_hold_them_are_refused():
    with pytest.raises(SettingInvalid):
        load(good(), target="income")
    wrong = good().with_columns(spend=pl.lit("x").str.split(","))
    for attempt in (load, mark):
        with pytest.raises(ColumnKindWrong):
            attempt(wrong)


def test_loading_and_fingerprinting_agree():
    assert load(good()).fingerprint == mark(good())
    assert load(good(), target=None, binning=Binning(())).fingerprint == mark(good())


def test_order_of_rows_batches_and_other_customers_leave_the_fingerprint_as_it_is():
    frame, first = good(), mark(good())
    assert len(first) == 64
    assert mark(frame.reverse()) == first
    assert mark(frame[30:], frame[:30]) == first
    assert mark(put(frame, "age", 5, 77)) == first
    assert mark(frame.filter(pl.col("customer").is_in(KEYS))) == first
    assert mark(good(60)) == first
    assert mark(frame, frame) == first  # copies of a row count once


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("age", 25),
        ("spend", 6.000000000000001),
        ("spend", None),
        ("colour", "blue"),
        ("colour", ""),
        ("colour", None),
        ("member", True),
        ("member", None),
        ("bought", "no"),
    ],
)
def test_any_changed_value_of_an_aligned_customer_changes_the_fingerprint(column, value):
    assert good()[column][4] != value
    assert mark(put(good(), column, 4, value)) != mark(good())


def test_cells_that_do_not_fit_are_told_apart():
    frame = good().with_columns(pl.col("age").cast(pl.String))
    marks = {mark(put(frame, "age", 4, cell)) for cell in ("24", "old", "older", "", None)}
    assert len(marks) == 5


def test_another_row_of_an_aligned_customer_changes_the_fingerprint():
    assert mark(good(), put(good()[4], "age", 0, 60)) != mark(good())


def test_values_that_move_to_the_next_cell_or_customer_change_the_fingerprint():
    two = TableSchema(
        customer_key="customer",
        columns=tuple(
            Column(name=name, kind="category", categories=("a", "b"), nullable=True)
            for name in ("x", "y")
        ),
    )

    def marked(x, y):
        frame = pl.DataFrame({"customer": ["c1", "c2"], "x": x, "y": y})
        return fingerprint_aligned(Frames(frame), two, aligned(("c1", "c2")))

    cases = [
        (["ab", "c"], ["d", ""]),
        (["a", "bc"], ["d", ""]),
        (["ab", "c"], ["", "d"]),
        (["ab", ""], ["cd", ""]),
        (["ab", ""], ["cd", None]),
    ]
    assert len({marked(*case) for case in cases}) == len(cases)


def test_order_and_choice_of_customers_and_the_secret_key_change_the_fingerprint():
    marks = {
        mark(good()),
        mark(good(), keys=KEYS[::-1]),
        mark(good(), keys=KEYS[:-1]),
        mark(good(), key=b"l" * 32),
    }
    assert len(marks) == 4


def test_a_guessed_table_cannot_be_tested_against_a_fingerprint_without_the_key(monkeypatch):
    """With a plain hash in its place, the right guess stands out; with the key, none does."""

    def stands_out() -> bool:
        seen = mark(good(), key=b"the node's own secret")
        guesses = (put(good(), "age", 4, age) for age in range(20, 30))
        return any(mark(guess, key=b"the guesser's own key") == seen for guess in guesses)

    assert not stands_out()
    plain = hashlib.blake2b
    monkeypatch.setattr(
        "fedmkt.data.aligned.hashlib.blake2b", lambda *, key, **terms: plain(**terms)
    )
    monkeypatch.setattr("hashlib.blake2b.MAX_KEY_SIZE", 64, raising=False)
    assert stands_out()


def test_a_csv_and_a_parquet_file_of_the_same_values_have_one_fingerprint(tmp_path):
    good().write_csv(tmp_path / "t.csv")
    good().write_parquet(tmp_path / "t.parquet")
    marks = {
        fingerprint_aligned(
            open_source(SourceSettings(kind=kind, path=tmp_path / f"t.{kind}")), SCHEMA, aligned()
        )
        for kind in ("csv", "parquet")
    }
    assert marks == {mark(good())}


def test_keys_and_secrets_never_print():
    shown = repr(aligned((SECRET,), key=b"secret" * 5))
    assert SECRET not in shown
    assert "secretsecret" not in shown
