"""A scenario's data set: bundled, somebody's own file, or generated; split to learn and to judge.

Guarantee: one row a customer, in the schema's kinds; no customer in both halves; each half has both
classes; the same seed gives the same split, each half in the table's order. An own table is judged
as a node would, by the same errors.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import FileMissing, OneClassOnly, SettingInvalid, TableEmpty
from fedmkt.core.frozen import first_problem
from fedmkt.core.stages import IntArray
from fedmkt.data import bundled
from fedmkt.data.sources import Columns, Kind, SourceSettings, open_source
from fedmkt.data.tables import positives
from fedmkt.data.validation import ValidationReport, conform, merge_reports, validate
from fedmkt.simulation.partitions.generator import GeneratorSettings, generate
from fedmkt.simulation.partitions.truth import Truth

TEST_SHARE = 0.3
_BATCH_ROWS = 250_000


@dataclass(frozen=True, slots=True)
class BundledTable:
    """A table that comes with fedmkt."""

    name: bundled.SchemaName


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A CSV or Parquet file and the schema (TOML) it keeps."""

    path: Path
    schema: Path
    separator: str = ","


TableChoice = BundledTable | OwnTable | GeneratorSettings


@dataclass(frozen=True, slots=True, eq=False)
class TrialData:
    """What a trial learns from and is judged by.

    features: declared columns that may be used. truth: of the rows of `test`, where it is known.
    """

    train: pl.DataFrame = field(repr=False)
    test: pl.DataFrame = field(repr=False)
    schema: TableSchema
    target: str
    features: tuple[str, ...]
    truth: Truth | None = field(default=None, repr=False)


def load_trial(
    choice: TableChoice,
    *,
    seed: int,
    test_share: float | None = None,
    features: tuple[str, ...] | None = None,
) -> TrialData:
    """Return a data set, split by seed with the same share of positives in both halves.

    test_share: of each class, for `test`; by default Adult's official split, else 0.3. features:
    by default all that are no target, for audit only or special; these are used where named.

    Raises: SettingInvalid, FileMissing, OneClassOnly, TableEmpty, the errors of sources and
    validation.
    """
    schema = _schema(choice)
    target = _target(schema)
    chosen = _features(schema, features)
    if isinstance(choice, BundledTable) and choice.name == "adult" and test_share is None:
        halves = (bundled.load("adult_train"), bundled.load("adult_test"))
        train, test = (conform(half, schema) for half in halves)
        return TrialData(train, test, schema, target, chosen)
    frame, truth = _whole(choice, schema, seed)
    if frame.get_column(target).null_count():
        raise SettingInvalid(setting=f"target {target}", problem="it is missing in some rows")
    positive = positives(frame, schema, target) > 0
    train_rows, test_rows = split_rows(
        positive, TEST_SHARE if test_share is None else test_share, seed=seed
    )
    known = None if truth is None else truth.of_rows(test_rows)
    return TrialData(frame[train_rows], frame[test_rows], schema, target, chosen, known)


def split_rows(
    positive: NDArray[np.bool_], test_share: float, *, seed: int
) -> tuple[IntArray, IntArray]:
    """Return the rows to learn from and those to judge by, ascending, stratified by the target.

    Each half has at least one row of each class, else round(test_share * class) go to the test.

    Raises: SettingInvalid (a share outside 0 to 1), OneClassOnly (a class of fewer than two rows).
    """
    if not 0 < test_share < 1:
        raise SettingInvalid(setting="test_share", problem="it must be more than 0, less than 1")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(b"split")))
    for_test = np.zeros(positive.size, dtype=np.bool_)
    for rows in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        if rows.size < 2:
            raise OneClassOnly(target="to be split", dataset="of the trial")
        count = min(max(1, round(test_share * rows.size)), rows.size - 1)
        for_test[rng.permutation(rows)[:count]] = True
    return np.flatnonzero(~for_test), np.flatnonzero(for_test)


def read_schema(path: Path) -> TableSchema:
    """Return a schema from TOML. Raises: FileMissing, SettingInvalid."""
    if not path.is_file():
        raise FileMissing(what="schema", path=path, advice="Correct its path in the scenario.")
    setting = f"schema {path.name}"
    try:
        return TableSchema.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=setting, problem=f"not TOML: {error}") from None
    except UnicodeDecodeError:
        raise SettingInvalid(setting=setting, problem="it is not in UTF-8") from None
    except ValidationError as error:
        raise SettingInvalid(setting=setting, problem=first_problem(error)) from None


def _schema(choice: TableChoice) -> TableSchema:
    if isinstance(choice, BundledTable):
        return bundled.schema(choice.name)
    if isinstance(choice, OwnTable):
        return read_schema(choice.schema)
    return choice.schema


def _target(schema: TableSchema) -> str:
    """Return the one target. Raises: SettingInvalid."""
    found = [column.name for column in schema.columns if column.use == "target"]
    if len(found) != 1:
        raise SettingInvalid(setting="the schema", problem="a trial needs exactly one target")
    return found[0]


def _features(schema: TableSchema, named: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the features. Raises: SettingInvalid."""
    possible = {column.name: column for column in schema.columns if column.use != "target"}
    if named is None:
        return tuple(name for name, column in possible.items() if not column.guarded)
    for name in named:
        if name not in possible:
            raise SettingInvalid(setting=f"feature {name}", problem="the schema has no such one")
    if not named or len(set(named)) != len(named):
        raise SettingInvalid(setting="features", problem="one or more are needed, each once")
    return named


def _whole(
    choice: TableChoice, schema: TableSchema, seed: int
) -> tuple[pl.DataFrame, Truth | None]:
    """Return the table before it is split, with its truth where it is generated."""
    if isinstance(choice, GeneratorSettings):
        made = generate(choice, seed=seed)
        return made.frame, made.truth
    return _frame(choice, schema), None


def _frame(choice: BundledTable | OwnTable, schema: TableSchema) -> pl.DataFrame:
    """Return a table in its schema's kinds, one row a customer."""
    if isinstance(choice, OwnTable):
        return _own_frame(choice, schema)
    names: tuple[bundled.TableName, ...] = (
        ("adult_train", "adult_test") if choice.name == "adult" else ("bank_marketing",)
    )
    return conform(pl.concat([bundled.load(name) for name in names]), schema)


def _own_frame(choice: OwnTable, schema: TableSchema) -> pl.DataFrame:
    """Return the first row of each customer, after the whole table was judged."""
    name, suffix = choice.path.name, choice.path.suffix.lower()
    kinds: dict[str, Literal["csv", "parquet"]] = {".csv": "csv", ".parquet": "parquet"}
    if suffix not in kinds:
        raise SettingInvalid(setting=f"table {name}", problem="it is no .csv or .parquet file")
    source = open_source(
        SourceSettings(kind=kinds[suffix], path=choice.path, separator=choice.separator)
    )
    typed, reports = list[pl.DataFrame](), list[ValidationReport]()
    rows = 0
    for batch in source.batches(_columns(schema), _BATCH_ROWS):
        reports.append(validate(batch, schema, name, rows + 1))
        typed.append(conform(batch, schema))
        rows += batch.height
    merge_reports(reports).refuse_errors(name)
    if not rows:
        raise TableEmpty(dataset=name)
    whole = pl.concat(typed)
    return whole.unique(subset=schema.customer_key, keep="first", maintain_order=True)


def _columns(schema: TableSchema) -> Columns:
    """Return the declared columns and what each is read as."""
    kinds: dict[str, Kind] = {schema.customer_key: "key"}
    return kinds | {column.name: column.kind for column in schema.columns}
