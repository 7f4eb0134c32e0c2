"""The customers of a trial: read, checked, and split into those to train on and those to test on.

Guarantee: no test row is a training row; one row a customer; the same seed gives the same rows;
drawn rows have the classes of the target in the table's shares.
Not guaranteed: that bounds read off a table are public. `Customers.declared` says which they are.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import ValidationError

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import ColumnKindWrong, ScenarioPartMissing, SettingInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.data import bundled
from fedmkt.data.tables import positives
from fedmkt.data.validation import conform, validate
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.partitions.generator import generate
from fedmkt.simulation.scenario.data_parts import DataPart
from fedmkt.simulation.scenario.schema_guess import MADE_KEY, guess_schema, with_key
from fedmkt.simulation.scenario.splits import draw_in_shares
from fedmkt.storage.whole_file import read_text

DEFAULT_TEST_SHARE = 0.25
_NAMED = 30


@dataclass(frozen=True, slots=True)
class Customers:
    """Everybody's customers before they are dealt out, and the rows every figure is measured on.

    features: what models predict from. declared: the schema was given, not read off the rows.
    left_out: rows of customers who had one already.
    """

    name: str
    training: pl.DataFrame
    public: PublicTable
    features: tuple[str, ...]
    declared: bool
    left_out: int

    @property
    def schema(self) -> TableSchema:
        """Return the schema of both tables."""
        return self.public.schema

    @property
    def target(self) -> str:
        """Return the column to predict."""
        return self.public.target

    @property
    def taken(self) -> str:
        """Return in a sentence what of the table was taken for what."""
        key, more = self.schema.customer_key, len(self.features) - _NAMED
        named = ", ".join(self.features[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        told = f"customers are told apart by {key}" if key != MADE_KEY else "each row is a customer"
        return f"Of the table, {told}; features: {named}; target: {self.target}."


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its source gives it. test: its own test rows, None where it has none. left_out:
    rows of customers who had one already."""

    name: str
    rows: pl.DataFrame
    schema: TableSchema
    test: pl.DataFrame | None = None
    declared: bool = True
    left_out: int = 0


def draws(seed: int, what: str) -> np.random.Generator:
    """Return the generator of a trial's draws of `what`, independent of its other draws."""
    key = hashlib.sha256(f"fedmkt scenario {seed} {what}".encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:16], "big"))


def read_customers(data: DataPart, seed: int) -> Customers:
    """Return the customers of a trial.

    Raises: ScenarioPartMissing, SettingInvalid, and what reading and checking a table raises.
    """
    return customers_of(source_of(data)(data, seed), data, seed)


def customers_of(table: Table, data: DataPart, seed: int) -> Customers:
    """Return the customers of a table that was read. Raises: SettingInvalid."""
    target = _target(table.schema, data.target)
    training, test = _split(table, target, data, seed)
    return Customers(
        name=table.name,
        training=training,
        public=PublicTable(test, table.schema, target),
        features=_features(table.schema, data.features, target),
        declared=table.declared,
        left_out=table.left_out,
    )


def _bundled(data: DataPart, _seed: int) -> Table:
    if data.set == "adult":
        rows, test = bundled.load("adult_train"), bundled.load("adult_test")
        return Table("Adult (UCI)", rows, bundled.schema("adult"), test)
    rows, schema = bundled.load("bank_marketing"), bundled.schema("bank_marketing")
    return Table("Bank Marketing (UCI)", rows, schema)


def _file(data: DataPart, _seed: int) -> Table:
    assert data.path is not None, "the scenario's own check"
    frame = _read(data.path)
    if data.schema_path is not None:
        return _checked(data.path.name, frame, _schema(data.schema_path), declared=True)
    assert data.target is not None, "the scenario's own check"
    _refuse_missing(data, frame)
    wanted = frame.select(*data.features, data.target) if data.features else frame
    keyed, key = with_key(frame)
    guessed = wanted.with_columns(keyed.get_column(key))
    schema = guess_schema(guessed, key=key, target=data.target, positive=data.positive)
    return _checked(data.path.name, keyed, schema, declared=False)


def _refuse_missing(data: DataPart, frame: pl.DataFrame) -> None:
    """Raise SettingInvalid where the table lacks a column that the scenario names."""
    for key, names in (("features", data.features), ("target", (data.target,))):
        missing = [name for name in names if name not in frame.columns]
        if missing:
            present = ", ".join(frame.columns)
            problem = f"the table has no column {missing[0]}, only {present}"
            raise SettingInvalid(setting=f"data.{key}", problem=problem)


def _checked(name: str, frame: pl.DataFrame, schema: TableSchema, *, declared: bool) -> Table:
    """Return a table that keeps to its schema, one row a customer, other columns as they are."""
    if declared:
        validate(frame, schema, name).refuse_errors(name)
    else:
        _refuse_unusable(name, frame, schema)
    known = {schema.customer_key, *(column.name for column in schema.columns)}
    others = frame.select(column for column in frame.columns if column not in known)
    rows = conform(frame, schema).hstack(others)
    once = rows.unique(schema.customer_key, keep="first", maintain_order=True)
    return Table(name, once, schema, declared=declared, left_out=rows.height - once.height)


def _refuse_unusable(name: str, frame: pl.DataFrame, schema: TableSchema) -> None:
    """Raise SettingInvalid where a table without a declared schema has unusable cells."""
    try:
        errors = validate(frame, schema, name).errors
    except ColumnKindWrong as wrong:  # its columns are as they were found, so it is the key
        problem = f"it says who a customer is, but holds {wrong.fields['found']}; make it text"
        raise SettingInvalid(setting=f"column {schema.customer_key}", problem=problem) from None
    if errors:
        problem = f"{'; '.join(map(str, errors))}; mend these cells or leave the rows out"
        raise SettingInvalid(setting=f"data.path {name}", problem=problem)


def _schema(path: Path) -> TableSchema:
    """Return a declared schema. Raises: FileMissing, SettingInvalid."""
    text = read_text(path, what="schema", advice="Correct data.schema_path.")
    try:
        return TableSchema.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        problem = "it is not TOML"
    except ValidationError as error:
        problem = first_problem(error)
    raise SettingInvalid(setting=f"data.schema_path {path}", problem=problem)


def _generated(data: DataPart, seed: int) -> Table:
    made = generate(data.generator.drawn, seed=seed)
    return Table("generated", made.frame, made.schema)


SOURCES: Mapping[str, Callable[[DataPart, int], Table]] = {
    "bundled": _bundled,
    "file": _file,
    "generated": _generated,
}
"""How customers of each kind are read."""


def source_of(data: DataPart) -> Callable[[DataPart, int], Table]:
    """Return what reads customers of this kind. Raises: ScenarioPartMissing."""
    source = SOURCES.get(data.kind)
    if source is None:
        raise ScenarioPartMissing(key="data.kind", value=data.kind, known=", ".join(SOURCES))
    return source


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path, memory_map=False, glob=False)
        return pl.read_csv(path, infer_schema_length=None, glob=False)
    except (pl.exceptions.PolarsError, OSError):
        # Security: the reader's own words may quote a cell.
        problem = (
            "it cannot be read as Parquet (.parquet), nor as CSV with the columns' names in the "
            "first line, commas between cells and points in decimals"
        )
        raise SettingInvalid(setting=f"data.path {path}", problem=problem) from None


def _split(
    table: Table, target: str, data: DataPart, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return training and test rows. Raises: SettingInvalid."""
    rows, test = table.rows, table.test
    order = draws(seed, "rows").permutation(rows.height)
    positive = positives(rows, table.schema, target) > 0
    if test is None or data.test_share is not None:
        drawn, order = draw_in_shares(order, positive, _test_rows(data, rows.height))
        test = rows[np.sort(drawn)]
    if data.rows is not None:
        _refuse_more(data, order.size)
        order, _ = draw_in_shares(order, positive, data.rows)
    return rows[np.sort(order)], test


def _test_rows(data: DataPart, rows: int) -> int:
    share = DEFAULT_TEST_SHARE if data.test_share is None else data.test_share
    return max(1, round(rows * share))


def _refuse_more(data: DataPart, left: int) -> None:
    """Raise SettingInvalid where more rows are asked for than are left beside the test rows."""
    if data.rows is not None and data.rows > left:
        problem = f"there are {left:,} rows to train on"
        raise SettingInvalid(setting=f"data.rows = {data.rows}", problem=problem)


def rows_to_train(data: DataPart) -> int | None:
    """Return how many rows there are to train on at most, None where only reading them tells.

    Raises: SettingInvalid (fewer than are asked for).
    """
    whole = _height(data)
    if whole is None:
        return data.rows
    own_test = data.kind == "bundled" and data.set == "adult" and data.test_share is None
    left = whole if own_test else whole - _test_rows(data, whole)
    _refuse_more(data, left)
    return left if data.rows is None else data.rows


def _height(data: DataPart) -> int | None:
    if data.kind == "generated":
        return data.generator.rows
    if data.kind == "bundled":
        return _bundled_height(data.set)
    if data.path is None:
        return None
    try:
        status = data.path.stat()
        return _file_height(data.path, status.st_mtime_ns, status.st_size)
    except (pl.exceptions.PolarsError, OSError):
        return None  # reading it says why


@cache
def _file_height(path: Path, _changed: int, _size: int) -> int:
    if path.suffix == ".parquet":
        rows = pl.scan_parquet(path, glob=False)
    else:
        rows = pl.scan_csv(path, infer_schema=False, glob=False)
    return int(rows.select(pl.len()).collect().item())


@cache
def _bundled_height(name: Literal["adult", "bank_marketing"]) -> int:
    return bundled.load("adult_train" if name == "adult" else name).height


def _target(schema: TableSchema, asked: str | None) -> str:
    """Return the column to predict. Raises: SettingInvalid."""
    targets = [column.name for column in schema.columns if column.use == "target"]
    if asked is None and len(targets) == 1:
        return targets[0]
    if asked in targets:
        return str(asked)
    known = ", ".join(targets) or "none"
    raise SettingInvalid(setting="data.target", problem=f"the schema's targets are: {known}")


def _features(schema: TableSchema, asked: tuple[str, ...], target: str) -> tuple[str, ...]:
    """Return the features. Raises: SettingInvalid."""
    declared: dict[str, Any] = {column.name: column for column in schema.columns}
    for name in asked:
        if name not in declared or name == target:
            known = ", ".join(name for name in declared if name != target)
            problem = f"{name} is none of the columns {known}"
            raise SettingInvalid(setting="data.features", problem=problem)
        if declared[name].guarded:
            problem = f"{name} is declared as special or for audits"
            raise SettingInvalid(setting="data.features", problem=problem)
    usable = (c.name for c in schema.columns if c.use == "feature" and not c.guarded)
    return asked or tuple(usable)
