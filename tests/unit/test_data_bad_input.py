"""Bad tables end in named errors that say what to do and never quote a cell."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import (
    ColumnKindWrong,
    ColumnMissing,
    OneClassOnly,
    QualityTooLow,
    SchemaViolated,
    SettingInvalid,
    SourceUnreadable,
    TableEmpty,
    UserError,
)
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.quality import FreshnessTerms, Stale, scorecard, stale_rows
from fedmkt.data.sources import SourceSettings, open_source
from fedmkt.data.splits import split_by_column
from fedmkt.data.tables import load_examples
from fedmkt.data.validation import merge_reports, validate

SECRET = "Frieda-Musterfrau-4711"
SECRET_NUMBER = 48_151_623.42
SCHEMA = TableSchema(
    customer_key="customer",
    target_positive="yes",
    freshness_column="seen",
    columns=(
        Column(name="age", kind="integer", bounds=(18, 90)),
        Column(name="spend", kind="number", bounds=(0, 500)),
        Column(name="colour", kind="category", categories=("red", "blue")),
        Column(name="member", kind="boolean", nullable=True),
        Column(name="bought", kind="category", use="target", categories=("no", "yes")),
    ),
)
BINNING = binning_from_schema(SCHEMA, ("age", "spend", "colour", "member"), max_bins=16)


def good(rows: int = 40) -> pl.DataFrame:
    row = pl.int_range(rows, eager=True)
    return pl.DataFrame(
        {
            "customer": "c" + row.cast(pl.String),
            "age": 20 + row % 60,
            "spend": row * 1.5,
            "colour": pl.Series(["red", "blue"]).gather(row % 2),
            "member": row % 3 == 0,
            "bought": pl.Series(["no", "yes"]).gather((row % 4 == 0).cast(pl.UInt32)),
            "seen": pl.repeat(date(2026, 1, 1), rows, eager=True),
        }
    )


def put(frame: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    cells = frame.get_column(column).to_list()
    cells[row] = value
    return frame.with_columns(pl.Series(column, cells, strict=False))


class Frames:
    """A source that holds its batches."""

    name = "frames"

    def __init__(self, *frames: pl.DataFrame) -> None:
        self.frames = frames

    def batches(self, columns, batch_rows):
        for frame in self.frames:
            yield frame.select(pl.col(name) for name in columns if name in frame.columns)


def load(*frames: pl.DataFrame, schema: TableSchema = SCHEMA, **terms):
    return load_examples(
        Frames(*frames), schema, dataset="shop", target="bought", coder=BINNING, **terms
    )


def refusal(kind: type[UserError], *frames: pl.DataFrame, **terms) -> str:
    with pytest.raises(kind) as caught:
        load(*frames, **terms)
    assert caught.value.exit_code == 2
    assert SECRET not in repr(caught.value) + str(caught.value.fields)
    assert str(SECRET_NUMBER) not in repr(caught.value) + str(caught.value.fields)
    return str(caught.value)


def test_good_table_loads():
    examples, card = load(good())
    assert examples.codes.shape == (40, 4)
    assert examples.target.sum() == 10
    assert card.share == 1.0


def test_wrong_column_is_named():
    assert "lacks spend. Columns it has: 5; of the wanted ones: customer, age, colour" in refusal(
        ColumnMissing, good().rename({"spend": "outlay"})
    )


def test_column_of_a_wrong_type_is_named_with_both_kinds():
    frame = good().with_columns(age=pl.col("seen"))
    assert "age of dataset shop is declared integer but holds Date" in refusal(
        ColumnKindWrong, frame
    )


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("age", SECRET, "wrong kind"),
        ("age", 30.5, "wrong kind"),
        ("spend", SECRET, "wrong kind"),
        ("member", SECRET, "wrong kind"),
        ("colour", SECRET, "unknown category"),
        ("bought", SECRET, "unknown category"),
        ("age", None, "missing value"),
        ("spend", None, "missing value"),
        ("colour", None, "missing value"),
        ("bought", None, "missing value"),
        ("spend", float("nan"), "not finite"),
        ("spend", float("inf"), "not finite"),
        ("spend", float("-inf"), "not finite"),
        ("customer", None, "missing key"),
        ("customer", "", "missing key"),
        ("customer", " \t", "missing key"),
    ],
)
def test_broken_cell_is_reported_once_by_rule_column_and_row(column, value, rule):
    frame = good()
    if isinstance(value, str) and column != "customer":
        frame = frame.with_columns(pl.col(column).cast(pl.String))
    message = refusal(SchemaViolated, put(frame, column, 7, value))
    findings = [line for line in message.splitlines() if line.startswith("  ")]
    assert findings == [f"  {column}: {rule}, 1 rows (row 8)"]


def test_row_numbers_run_on_over_batches_and_stop_at_ten():
    bad = good().with_columns(colour=pl.lit(SECRET))
    message = refusal(SchemaViolated, good(), bad, bad)
    assert "colour: unknown category, 80 rows (row 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, …)" in (
        message
    )


def test_all_broken_rules_are_reported_together():
    frame = put(put(good(), "colour", 3, SECRET), "age", 5, None)
    message = refusal(SchemaViolated, frame)
    assert "colour: unknown category" in message
    assert "age: missing value" in message


def test_target_may_not_be_missing_even_where_it_is_declared_nullable():
    columns = [column.model_dump() for column in SCHEMA.columns]
    columns[-1]["nullable"] = True
    schema = TableSchema(**(SCHEMA.model_dump() | {"columns": columns}))
    assert "bought: missing value" in refusal(
        SchemaViolated, put(good(), "bought", 0, None), schema=schema
    )


@pytest.mark.parametrize("frames", [(), (good(0),), (good(0), good(0))])
def test_empty_table_is_refused(frames):
    refusal(TableEmpty, *frames)


@pytest.mark.parametrize("only", ["no", "yes"])
def test_one_class_only_is_refused(only):
    refusal(OneClassOnly, good().with_columns(bought=pl.lit(only)))


def test_duplicate_customers_count_once_over_all_batches():
    again = good().with_columns(age=pl.lit(25))
    examples, card = load(good(), again, quality_floor=0)
    assert examples.rows == 40
    assert card.uniqueness == 0.5
    assert "customers: duplicate customer (rows: 40)" in card.failing
    # Of a customer's rows the one with the lowest codes stays: no age above the 25 of `again`.
    assert examples.codes[:, 0].max() == load(again)[0].codes[0, 0]


def test_blanks_around_a_key_do_not_make_another_customer():
    padded = good().with_columns(customer=pl.concat_str(pl.lit(" "), "customer", pl.lit("\t")))
    assert load(good(), padded, quality_floor=0)[0].rows == 40


def test_value_outside_the_bounds_is_clamped_and_lowers_the_scorecard():
    plain, _ = load(put(good(), "spend", 3, 500.0))
    clamped, card = load(put(good(), "spend", 3, SECRET_NUMBER), quality_floor=0.9)
    assert (plain.codes == clamped.codes).all()
    assert card.failing == ("spend: outside bounds, clamped (rows: 1)",)


def test_quality_under_the_floor_is_refused():
    frame = good().with_columns(spend=pl.lit(SECRET_NUMBER), age=pl.lit(999))
    message = refusal(QualityTooLow, frame)
    # 2 of 15 checks fail: 1 of the key, 4 + 4 of the numbers, 2 + 1 + 2 of the rest, uniqueness.
    assert "passes 86.7% of its quality checks; 95.0% are asked for" in message
    load(frame, quality_floor=0.5)


def test_a_check_passes_while_one_row_in_a_hundred_breaks_it():
    one = put(good(100), "age", 0, 99)
    assert load(one)[1].failing == ()
    assert load(one)[1].tolerated == ("age: outside bounds, clamped (rows: 1)",)
    two = load(put(one, "age", 1, 99), quality_floor=0.9)[1]
    assert two.failing == ("age: outside bounds, clamped (rows: 2)",)
    assert two.tolerated == ()


def test_scorecard_counts_cells_and_checks():
    frame = put(put(good(), "age", 0, None), "spend", 0, 501.0)
    report = validate(frame, SCHEMA, "shop")
    card = scorecard(report, duplicates=4, stale=Stale(10, 3))
    # 40 rows; one of four required columns misses one cell; one of ten other checks fails one row.
    assert card.completeness == pytest.approx(1 - 1 / 40 / 4)
    assert card.validity == pytest.approx(1 - 1 / 40 / 10)
    assert card.uniqueness == 0.9
    assert card.freshness == 0.75
    assert card.share == pytest.approx(1 - 4 / 16)
    assert card.failing == (
        "age: missing value (rows: 1)",
        "spend: outside bounds, clamped (rows: 1)",
        "customers: duplicate customer (rows: 4)",
        "rows: not fresh, 3 of them without a date YYYY-MM-DD (rows: 10)",
    )


@pytest.mark.parametrize(
    ("days", "stale"),
    [
        (
            [date(2026, 1, 31), date(2026, 1, 1), date(2025, 12, 31), date(2026, 2, 1), None],
            Stale(3, 1),
        ),
        (["2026-01-31", "2026-01-01T10:00:00", SECRET, "", None], Stale(3, 3)),
        (["31.01.2026", "01/31/2026", "2026-01-31"], Stale(2, 2)),
    ],
)
def test_fresh_is_between_the_window_and_today(days, stale):
    terms = FreshnessTerms(today=date(2026, 1, 31), within_days=30)
    assert stale_rows(pl.Series("seen", days), terms, dataset="shop") == stale


def test_freshness_column_of_a_wrong_type_is_refused():
    frame = good().with_columns(seen=pl.lit(SECRET_NUMBER))
    refusal(ColumnKindWrong, frame, freshness=FreshnessTerms(date(2026, 1, 31)))


def test_freshness_is_judged_only_where_it_was_asked():
    terms = FreshnessTerms(today=date(2026, 1, 31))
    assert load(good(), freshness=terms)[1].freshness == 1.0
    assert load(good().drop("seen"))[1].freshness is None


def test_reports_of_batches_add_up():
    whole = put(put(good(), "age", 2, None), "age", 30, None)
    parts = [validate(whole[:25], SCHEMA, "shop", 1), validate(whole[25:], SCHEMA, "shop", 26)]
    assert merge_reports(parts) == validate(whole, SCHEMA, "shop")


@pytest.mark.parametrize("column", ["undeclared", "customer"])
def test_target_that_is_not_declared_is_refused(column):
    with pytest.raises(SettingInvalid):
        load_examples(Frames(good()), SCHEMA, dataset="s", target=column, coder=BINNING)


def test_positive_value_that_is_no_category_is_refused():
    schema = SCHEMA.model_copy(update={"target_positive": "maybe"})
    assert "target_positive" in refusal(SettingInvalid, good(), schema=schema)


def test_csv_without_a_header_does_not_have_its_first_row_quoted(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text(f"{SECRET},30,1.5\nc2,31,2\n")
    source = open_source(SourceSettings(kind="csv", path=path))
    with pytest.raises(ColumnMissing) as caught:
        list(source.batches({"customer": "key"}, 10))
    assert SECRET not in str(caught.value)


def test_all_missing_columns_are_named_at_once(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text(f"customer;age\nc1;{SECRET}\n")
    source = open_source(SourceSettings(kind="csv", path=path))
    with pytest.raises(ColumnMissing) as caught:
        list(source.batches({"customer": "key", "age": "integer", "seen": "date"}, 10))
    assert "lacks customer, age, seen. Columns it has: 1; " in str(caught.value)
    assert "check the separator" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (f"a,b\n1,2\n1,2,{SECRET},4\n".encode(), "line 3 has more cells than the header"),
        (f'a,b\n1,"{SECRET}\n3,4\n'.encode(), "the quotes do not fit in or before line 3"),
        (b"a\n\xff\xfe\n", "line 2 is not UTF-8"),
        (b"a,b\n" + b"1,2\n" * 50_000 + b"\xff,2\n", "line 50002 is not UTF-8"),
        ("区,b\n朝阳,1\n".encode("gbk"), "line 1 is not UTF-8"),
        (f"a,b\n{SECRET},2\n".encode("utf-16"), "it is UTF-16, not UTF-8"),
    ],
)
def test_csv_that_cannot_be_parsed_says_why(tmp_path: Path, content: bytes, problem: str):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    source = open_source(SourceSettings(kind="csv", path=path))
    with pytest.raises(SourceUnreadable) as caught:
        list(source.batches({"a": "category"}, 10))
    assert f"cannot be read as csv: {problem}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_thousands_points_beside_decimal_commas_are_refused_not_misread(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("x;name\n1,5;a,b\n1.234;c.d\n")
    settings = SourceSettings(kind="csv", path=path, separator=";", decimal_comma=True)
    (batch,) = open_source(settings).batches({"x": "number", "name": "category"}, 10)
    assert batch["name"].to_list() == ["a,b", "c.d"]
    assert batch["x"].cast(pl.Float64, strict=False).to_list() == [1.5, None]


def test_password_of_a_database_appears_in_no_message():
    url = f"postgresql+nodriver://marketing:{SECRET}@db.example:5432/shop?sslkey={SECRET}"
    settings = SourceSettings(kind="sql", url=url, table="customers")
    source = open_source(settings)
    with pytest.raises(SourceUnreadable) as caught:
        list(source.batches({"age": "integer"}, 10))
    assert source.name == "postgresql://db.example/shop"
    assert SECRET not in str(caught.value) + repr(settings) + settings.model_dump_json()
    with pytest.raises(SettingInvalid) as refused:
        open_source(SourceSettings(kind="sql", url=SECRET, table="t")).name  # noqa: B018
    assert SECRET not in str(refused.value)


def test_duckdb_query_cannot_read_other_files(tmp_path: Path):
    import duckdb

    duckdb.connect(str(tmp_path / "t.duckdb")).close()
    (tmp_path / "other.csv").write_text("age\n1\n")
    query = f"SELECT * FROM read_csv('{tmp_path / 'other.csv'}')"
    settings = SourceSettings(kind="duckdb", path=tmp_path / "t.duckdb", query=query)
    with pytest.raises(SourceUnreadable):
        list(open_source(settings).batches({"age": "integer"}, 10))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "csv"},
        {"kind": "csv", "path": "a", "url": "sqlite://"},
        {"kind": "csv", "path": "a", "table": "t"},
        {"kind": "duckdb", "path": "a"},
        {"kind": "duckdb", "path": "a", "table": "t", "query": "q"},
        {"kind": "sql", "path": "a", "table": "t"},
        {"kind": "parquet", "path": "a", "mapping": {"x": "age", "y": "age"}},
        {"kind": "excel", "path": "a"},
    ],
)
def test_settings_that_do_not_name_one_table_are_refused(settings):
    with pytest.raises(ValidationError):
        SourceSettings(**settings)


def test_split_gives_every_row_to_one_partner():
    parts = split_by_column(good(), "colour", {"bank": ["red"], "shop": ["blue"]})
    assert [part.height for part in parts.values()] == [20, 20]
    with pytest.raises(SettingInvalid, match="20 rows belong to no partner"):
        split_by_column(good(), "colour", {"bank": ["red"]})
    with pytest.raises(SettingInvalid, match="bank and to shop"):
        split_by_column(good(), "colour", {"bank": ["red"], "shop": ["red", "blue"]})
