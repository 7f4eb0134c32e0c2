"""From a source to `Examples`: read, validate, encode and bound, batch by batch.

Guarantee: what comes out holds one row a customer, the given codes and nothing else of the
table; a table that breaks its schema is refused as a whole, after all of it was judged. Memory
grows by about two bytes a cell and 17 bytes a row, not with the width of the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import OneClassOnly, SettingInvalid, TableEmpty
from fedmkt.core.stages import CodeArray, Examples
from fedmkt.data.customers import CustomerHash, Digests, one_row_a_customer
from fedmkt.data.quality import FreshnessTerms, Scorecard, Stale, scorecard, stale_rows
from fedmkt.data.sources import Columns, Kind, Source
from fedmkt.data.validation import ValidationReport, conform, merge_reports, validate

DEFAULT_FLOOR = 0.95


class RowCoder(Protocol):
    """Turns a table's columns into codes, row by row; `Binning` does, and what networks take."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the columns that are read, in order."""
        ...

    def coded(self, frame: pl.DataFrame, *, dataset: str) -> CodeArray:
        """Return the codes of each row, shape (rows, any).

        Raises: ColumnMissing, SchemaViolated.
        """
        ...


@dataclass(slots=True)
class _Collected:
    """What is kept of the batches read so far."""

    reports: list[ValidationReport] = field(default_factory=list)
    codes: list[CodeArray] = field(default_factory=list)
    target: list[NDArray[np.uint8]] = field(default_factory=list)
    digests: list[Digests] = field(default_factory=list)
    rows: int = 0
    stale: Stale = field(default_factory=Stale)
    usable: bool = True

    def judge(
        self, frame: pl.DataFrame, schema: TableSchema, dataset: str, terms: FreshnessTerms | None
    ) -> None:
        """Validate one more batch. Raises: ColumnKindWrong."""
        report = validate(frame, schema, dataset, self.rows + 1)
        self.reports.append(report)
        self.rows += report.rows
        self.usable = self.usable and not report.errors
        if terms is not None and schema.freshness_column is not None:
            dates = frame.get_column(schema.freshness_column)
            self.stale += stale_rows(dates, terms, dataset=dataset)

    def joined(self) -> tuple[Digests, Examples]:
        """Return the batches put together, and let go of them."""
        codes, target = np.concatenate(self.codes), np.concatenate(self.target)
        self.codes.clear()
        return np.concatenate(self.digests), Examples(codes, target)


def load_examples(
    source: Source,
    schema: TableSchema,
    *,
    dataset: str,
    target: str,
    coder: RowCoder,
    batch_rows: int = 250_000,
    quality_floor: float = DEFAULT_FLOOR,
    freshness: FreshnessTerms | None = None,
) -> tuple[Examples, Scorecard]:
    """Return a partner's customers as codes and a target, and the table's scorecard.

    Only the key, the coded features, the target and (with `freshness`) the date are read.

    Raises: SettingInvalid, the errors of sources, ColumnKindWrong, SchemaViolated, TableEmpty,
    OneClassOnly, QualityTooLow.
    """
    needed = narrow_schema(schema, target, coder.names)
    terms = freshness if schema.freshness_column is not None else None
    collected = _Collected()
    customers = CustomerHash.fresh()
    for frame in source.batches(_columns(needed, terms), batch_rows):
        collected.judge(frame, needed, dataset, terms)
        if collected.usable:
            typed = conform(frame, needed)
            collected.codes.append(coder.coded(typed, dataset=dataset))
            collected.target.append(positives(typed, needed, target))
            collected.digests.append(customers.digests(typed.get_column(needed.customer_key)))
    report = merge_reports(collected.reports)
    report.refuse_errors(dataset)
    if not report.rows:
        raise TableEmpty(dataset=dataset)
    examples, dropped = one_row_a_customer(*collected.joined())
    if len(np.unique(examples.target)) < 2:
        raise OneClassOnly(target=target, dataset=dataset)
    card = scorecard(report, duplicates=dropped, stale=collected.stale if terms else None)
    card.require(quality_floor, dataset=dataset)
    return examples, card


def narrow_schema(schema: TableSchema, target: str | None, names: Sequence[str]) -> TableSchema:
    """Return the schema of the columns that are read; rows without a target are not allowed.

    Raises: SettingInvalid (an undeclared column, or a positive value that is no category).
    """
    declared = {column.name: column for column in schema.columns}
    for name in (*names, *(() if target is None else (target,))):
        if name not in declared:
            raise SettingInvalid(
                setting=f"column {name}", problem="the schema declares no such column"
            )
    columns = tuple(declared[name] for name in names)
    if target is not None:
        label = declared[target].model_copy(update={"nullable": False})
        if label.kind == "category" and schema.target_positive not in label.categories:
            raise SettingInvalid(
                setting="target_positive", problem=f"it is no declared category of {target}"
            )
        columns = (*columns, label)
    return schema.model_copy(update={"columns": columns})


def _columns(needed: TableSchema, terms: FreshnessTerms | None) -> Columns:
    """Return the columns to read and what each is."""
    kinds: dict[str, Kind] = {needed.customer_key: "key"}
    kinds |= {column.name: column.kind for column in needed.columns}
    if terms is not None and needed.freshness_column is not None:
        kinds.setdefault(needed.freshness_column, "date")
    return kinds


def positives(typed: pl.DataFrame, needed: TableSchema, target: str) -> NDArray[np.uint8]:
    """Return 1 where the target holds its positive value, shape (rows,)."""
    positive = pl.lit(needed.target_positive).cast(typed.schema[target])
    return typed.select(pl.col(target) == positive).to_series().cast(pl.UInt8).to_numpy()
