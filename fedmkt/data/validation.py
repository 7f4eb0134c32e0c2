"""Does a table keep its declared schema? Judged row by row, reported by rule and row number.

Guarantee: a report names rules, columns, counts and row numbers (the first data row is 1), never a
value. Not guaranteed: that declared values are true ones.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import ColumnKindWrong, ColumnMissing, SchemaViolated

ROWS_NAMED = 10
WRONG_KIND = "wrong kind"
MISSING_VALUE = "missing value"
MISSING_KEY = "missing key"
NOT_FINITE = "not finite"
OUTSIDE_BOUNDS = "outside bounds, clamped"
UNKNOWN_CATEGORY = "unknown category"
WARNINGS = frozenset({OUTSIDE_BOUNDS})  # counted but not refused

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Check:
    """One rule for one column."""

    rule: str
    column: str


@dataclass(frozen=True, slots=True)
class Finding:
    """How often a rule was broken in a column, and the numbers of the first rows that did."""

    rule: str
    column: str
    count: int
    rows: tuple[int, ...]

    def __str__(self) -> str:
        """Return one line for a report."""
        shown = ", ".join(str(row) for row in self.rows) + (", …" if self.count > 10 else "")
        return f"{self.column}: {self.rule}, {self.count} rows (row {shown})"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What was checked over how many rows, and what was found."""

    rows: int
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings for which the table is refused."""
        return tuple(finding for finding in self.findings if finding.rule not in WARNINGS)

    def __str__(self) -> str:
        """Return one line a finding."""
        return "\n".join(f"  {finding}" for finding in self.findings) or "  nothing found"

    def refuse_errors(self, dataset: str) -> None:
        """Do nothing where the table can be used. Raises: SchemaViolated."""
        if self.errors:
            report = "\n".join(f"  {finding}" for finding in self.errors)
            raise SchemaViolated(dataset=dataset, report=report)


def validate(
    frame: pl.DataFrame, schema: TableSchema, dataset: str, first_row: int = 1
) -> ValidationReport:
    """Check all declared columns and the customer key of a table as it came from its source.

    first_row: the number of the frame's first row in its table.

    Raises: ColumnMissing, ColumnKindWrong (the column as a whole cannot hold its declared kind).
    """
    _refuse_wrong_columns(frame, schema, dataset)
    rules = {schema.customer_key: {MISSING_KEY: customer_key(schema.customer_key).is_not_null()}}
    rules |= {column.name: dict(_rules(column)) for column in schema.columns}
    checks = tuple(Check(rule, name) for name, held in rules.items() for rule in held)
    if _all_hold(frame, rules):
        return ValidationReport(frame.height, checks, ())
    table = pa.DataFrameSchema(
        {
            name: pa.Column(checks=[_pandera(rule, held) for rule, held in by_rule.items()],
                            nullable=True)
            for name, by_rule in rules.items()
        }
    )  # fmt: skip
    findings: tuple[Finding, ...] = ()
    try:
        table.validate(frame, lazy=True)
    except SchemaErrors as broken:
        # Privacy: pandera's own report quotes the cells; only its yes or no a row is kept.
        findings = tuple(
            _finding(error.check.name, error.schema.name, error.check_output, first_row)
            for error in broken.schema_errors
        )
    return ValidationReport(frame.height, checks, findings)


def conform(frame: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """Return the declared columns in their declared kinds, with the key as text.

    Cells that do not fit become null; `validate` has found them.
    """
    columns = [typed(column) for column in schema.columns]
    return frame.select(customer_key(schema.customer_key), *columns)


def customer_key(name: str) -> pl.Expr:
    """Return the customer key as text without outer blanks; null where nothing is left."""
    text = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def typed(column: Column) -> pl.Expr:
    """Return a column as Float64 (numbers), Boolean or String; null where a cell does not fit."""
    cell = pl.col(column.name)
    if column.kind in ("integer", "number"):
        return cell.cast(pl.Float64, strict=False)
    if column.kind == "boolean":
        words = cell.cast(pl.String).str.to_lowercase()
        return words.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    return cell.cast(pl.String)


def merge_reports(reports: Iterable[ValidationReport]) -> ValidationReport:
    """Return one report over batches given in the order of their rows."""
    rows, checks = 0, dict[Check, None]()
    found: dict[Check, Finding] = {}
    for report in reports:
        rows += report.rows
        checks.update(dict.fromkeys(report.checks))
        for finding in report.findings:
            place = Check(finding.rule, finding.column)
            before = found.get(place, Finding(finding.rule, finding.column, 0, ()))
            found[place] = Finding(
                finding.rule,
                finding.column,
                before.count + finding.count,
                (before.rows + finding.rows)[:ROWS_NAMED],
            )
    return ValidationReport(rows, tuple(checks), tuple(found.values()))


def _rules(column: Column) -> Iterator[tuple[str, pl.Expr]]:
    """Yield each rule of a column with the expression that holds for the rows that keep it.

    A missing cell breaks its own rule and no other.
    """
    cell, value = pl.col(column.name), typed(column)
    if not column.nullable:
        yield MISSING_VALUE, cell.is_not_null()
    if column.kind == "category":
        yield UNKNOWN_CATEGORY, cell.is_null() | value.is_in(column.categories)
        return
    fits = value.is_not_null()
    if column.kind == "integer":
        fits &= ~value.is_finite() | (value == value.floor())
    yield WRONG_KIND, cell.is_null() | fits
    if column.bounds is not None:
        finite = value.is_finite()
        yield NOT_FINITE, value.is_null() | finite
        yield OUTSIDE_BOUNDS, value.is_null() | ~finite | value.is_between(*column.bounds)


def _all_hold(frame: pl.DataFrame, rules: Mapping[str, Mapping[str, pl.Expr]]) -> bool:
    """Tell in one pass whether every row keeps every rule, as most batches of most tables do."""
    held = [expression for by_rule in rules.values() for expression in by_rule.values()]
    together = [one.fill_null(True).all().alias(str(place)) for place, one in enumerate(held)]
    return all(frame.select(together).row(0))


def _pandera(rule: str, holds: pl.Expr) -> pa.Check:
    """Return a pandera check that keeps one failing cell in memory at most."""

    def check(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(holds.alias(data.key))

    return pa.Check(check, name=rule, ignore_na=False, n_failure_cases=1)


def _finding(rule: str, column: str, output: pl.DataFrame, first_row: int) -> Finding:
    """Return the finding of one failed check."""
    broken = np.flatnonzero(~output.to_series().fill_null(True).to_numpy())
    rows = tuple(int(place) + first_row for place in broken[:ROWS_NAMED])
    return Finding(rule, column, len(broken), rows)


_Fits = Callable[[pl.DataType], bool]
_KINDS: dict[str, _Fits] = {
    "integer": lambda kind: kind.is_numeric() or kind == pl.String,
    "number": lambda kind: kind.is_numeric() or kind == pl.String,
    "boolean": lambda kind: kind.is_integer() or kind in (pl.Boolean, pl.String),
    "category": lambda kind: (
        kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Boolean)
    ),
    "key": lambda kind: kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum),
}


def _refuse_wrong_columns(frame: pl.DataFrame, schema: TableSchema, dataset: str) -> None:
    """Refuse a table that lacks a column or holds one of another kind altogether."""
    declared = {schema.customer_key: "key"} | {c.name: c.kind for c in schema.columns}
    missing = [name for name in declared if name not in frame.columns]
    if missing:
        raise ColumnMissing(
            dataset=dataset,
            column=", ".join(missing),
            width=frame.width,
            present=", ".join(name for name in declared if name in frame.columns) or "none",
            advice="Name them as the schema does.",
        )
    for name, kind in declared.items():
        found = frame.schema[name]
        if found != pl.Null and not _KINDS[kind](found):
            raise ColumnKindWrong(
                column=name, dataset=dataset, declared=kind, found=str(found.base_type())
            )
