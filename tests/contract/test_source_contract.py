"""One table, every kind of source: the same Examples, the same errors, no value in any of them."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import (
    ColumnMissing,
    FileMissing,
    SchemaViolated,
    SourceUnreadable,
    SourceVanished,
    TableEmpty,
)
from fedmkt.data.binning import binning_from_schema
from fedmkt.data.sources import Source, SourceSettings, open_source
from fedmkt.data.tables import load_examples

SECRET = "Frieda-Musterfrau-4711"
ROWS = 1000
SCHEMA = TableSchema(
    customer_key="customer",
    target_positive="yes",
    columns=(
        Column(name="age", kind="integer", bounds=(18, 90), nullable=True),
        Column(name="spend", kind="number", bounds=(0, 500), scale="log", log_from=5),
        Column(name="district", kind="category", categories=("朝阳", "海淀", "1,5", "Mitte")),
        Column(name="member", kind="boolean"),
        Column(name="bought", kind="category", use="target", categories=("no", "yes")),
    ),
)
BINNING = binning_from_schema(SCHEMA, ("age", "spend", "district", "member"), max_bins=16)
CHINESE = {"客户": "customer", "年龄": "age", "消费": "spend", "区": "district", "会员": "member"}


def table() -> pl.DataFrame:
    """1,000 rows of 950 customers, decimals, blanks and values outside the bounds."""
    row = pl.int_range(ROWS, eager=True)
    return pl.DataFrame(
        {
            "note": pl.repeat(SECRET, ROWS, eager=True),
            "customer": "c" + (row % 950).cast(pl.String),
            "age": pl.select(pl.when(row % 17 != 0).then(18 + row % 73)).to_series(),
            "spend": (row * 37 % 6000) / 8 - 5,
            "district": pl.Series(["朝阳", "海淀", "1,5", "Mitte"]).gather(row % 4),
            "member": row % 3 == 0,
            "bought": pl.Series(["no", "yes"]).gather((row % 5 == 0).cast(pl.UInt32)),
        }
    )


def _csv(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    frame.write_csv(folder / "table.csv")
    return SourceSettings(kind="csv", path=folder / "table.csv")


def _central_european_csv(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    """Semicolons, decimal commas, Chinese column names and a word for missing cells."""
    path = folder / "kunden.csv"
    renamed = frame.rename({declared: old for old, declared in CHINESE.items()}, strict=False)
    renamed.write_csv(path, separator=";", decimal_comma=True, null_value="无")
    return SourceSettings(
        kind="csv",
        path=path,
        separator=";",
        decimal_comma=True,
        mapping=CHINESE,
        null_values=("无",),
    )


def _parquet(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    frame.write_parquet(folder / "table.parquet", row_group_size=300)
    return SourceSettings(kind="parquet", path=folder / "table.parquet")


def _duckdb(frame: pl.DataFrame, folder: Path) -> Path:
    path = folder / "table.duckdb"
    arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    with duckdb.connect(str(path)) as connection:
        connection.register("arrow", arrow)
        connection.execute('CREATE TABLE "our customers" AS SELECT * FROM arrow')
    return path


def _duckdb_table(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    return SourceSettings(kind="duckdb", path=_duckdb(frame, folder), table="our customers")


def _duckdb_query(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    query = "SELECT * FROM \"our customers\" WHERE note <> ';';"
    return SourceSettings(kind="duckdb", path=_duckdb(frame, folder), query=query)


def _sqlite(frame: pl.DataFrame, folder: Path) -> str:
    path = folder / "table.sqlite"
    connection = sqlite3.connect(path)
    names = ", ".join(f'"{name}"' for name in frame.columns)
    connection.execute(f'CREATE TABLE "our customers" ({names})')
    marks = ", ".join("?" * frame.width)
    connection.executemany(f'INSERT INTO "our customers" VALUES ({marks})', frame.rows())
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def _sql_table(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    return SourceSettings(kind="sql", url=_sqlite(frame, folder), table="our customers")


def _sql_query(frame: pl.DataFrame, folder: Path) -> SourceSettings:
    query = "SELECT * FROM \"our customers\" WHERE note <> ':x';"
    return SourceSettings(kind="sql", url=_sqlite(frame, folder), query=query)


MAKERS = (
    _csv,
    _central_european_csv,
    _parquet,
    _duckdb_table,
    _duckdb_query,
    _sql_table,
    _sql_query,
)


@dataclass(frozen=True)
class Kind:
    """One way to store a table."""

    make: object
    folder: Path

    def settings(self, frame: pl.DataFrame) -> SourceSettings:
        return self.make(frame, self.folder)

    def source(self, frame: pl.DataFrame) -> Source:
        return open_source(self.settings(frame))


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__.strip("_"))
def kind(request, tmp_path):
    return Kind(request.param, tmp_path)


def load(source: Source, **terms):
    return load_examples(
        source,
        SCHEMA,
        dataset="shop",
        target="bought",
        coder=BINNING,
        batch_rows=128,
        quality_floor=0.7,
        **terms,
    )


def test_every_source_gives_the_same_examples_and_scorecard(kind, tmp_path):
    reference_folder = tmp_path / "reference"
    reference_folder.mkdir()
    reference, reference_card = load(Kind(_parquet, reference_folder).source(table()))
    examples, card = load(kind.source(table()))
    np.testing.assert_array_equal(examples.codes, reference.codes)
    np.testing.assert_array_equal(examples.target, reference.target)
    assert card == reference_card
    assert examples.rows == 950


def test_only_the_columns_asked_for_are_read(kind):
    batches = [*kind.source(table()).batches({"age": "integer", "spend": "number"}, 200)]
    assert [batch.columns for batch in batches] == [["age", "spend"]] * len(batches)
    assert sum(batch.height for batch in batches) == ROWS


def test_batches_are_no_longer_than_asked(kind):
    heights = [batch.height for batch in kind.source(table()).batches({"age": "integer"}, 128)]
    assert max(heights) <= 128
    assert sum(heights) == ROWS


def test_a_source_can_be_read_twice(kind):
    source = kind.source(table())
    first, second = (pl.concat(source.batches({"customer": "key"}, 300)) for _ in range(2))
    assert first.equals(second)


def test_a_missing_column_is_named_with_the_columns_that_are_there(kind):
    with pytest.raises(ColumnMissing) as caught:
        load(kind.source(table().drop("spend")))
    assert caught.value.fields["column"] == "spend"
    assert caught.value.fields["present"] == "customer, age, district, member, bought"
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_named(kind):
    settings = kind.settings(table())
    file = settings.path or Path(settings.url.get_secret_value().removeprefix("sqlite:///"))
    file.unlink()
    with pytest.raises(FileMissing, match=file.name):
        load(open_source(settings))
    assert not file.exists(), "reading must not make an empty database"


@pytest.mark.parametrize("harm", ["deleted", "cut", "overwritten"])
def test_a_file_that_changes_halfway_is_an_error_not_a_shorter_table(kind, harm):
    settings = kind.settings(table())
    file = settings.path or Path(settings.url.get_secret_value().removeprefix("sqlite:///"))
    batches = open_source(settings).batches({"customer": "key"}, 100)
    next(batches)
    if harm == "deleted":
        file.unlink()
    elif harm == "cut":
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.write_text(SECRET)
    with pytest.raises(SourceVanished) as caught:
        list(batches)
    assert SECRET not in str(caught.value)


def test_an_empty_table_is_refused(kind):
    with pytest.raises(TableEmpty):
        load(kind.source(table().head(0)))


def test_no_value_of_a_broken_row_reaches_the_error(kind):
    broken = table().with_columns(
        district=pl.when(pl.int_range(pl.len()) == 700)
        .then(pl.lit(SECRET))
        .otherwise(pl.col("district"))
    )
    with pytest.raises(SchemaViolated) as caught:
        load(kind.source(broken))
    assert "district: unknown category, 1 rows (row 701)" in str(caught.value)
    assert SECRET not in repr(caught.value) + str(caught.value.fields)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("make", [_parquet, _duckdb_table, _sql_table])
def test_a_file_of_another_kind_is_unreadable_without_quoting_it(make, tmp_path):
    settings = make(table(), tmp_path)
    file = settings.path or Path(settings.url.get_secret_value().removeprefix("sqlite:///"))
    file.write_text(SECRET * 100)
    with pytest.raises(SourceUnreadable) as caught:
        load(open_source(settings))
    assert SECRET not in str(caught.value)
