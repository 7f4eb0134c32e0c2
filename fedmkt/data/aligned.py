"""Exactly the aligned customers of a table, in the alignment's row order.

Guarantee: row i of what comes out is the alignment's customer i; a customer who left the table ends
in a refusal, never in a shorter or shifted result. Rows of customers outside the alignment are
dropped before anything is computed from them. The fingerprint tells whether any declared value of
an aligned customer changed, whatever the order of the rows and the other customers.
Not guaranteed: that both classes occur, or that a fingerprint fits what the alignment saw; its
holder compares them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fedmkt.contract.schema import Column, TableSchema
from fedmkt.core.errors import TableChanged
from fedmkt.core.stages import CodeArray
from fedmkt.data.quality import Scorecard, scorecard
from fedmkt.data.sources import Kind, Source
from fedmkt.data.tables import DEFAULT_FLOOR, RowCoder, narrow_schema, positives
from fedmkt.data.validation import (
    Finding,
    ValidationReport,
    conform,
    customer_key,
    merge_reports,
    typed,
    validate,
)
from fedmkt.wire.canonical import canonical_json

_ROW, _KEY, _PLACE = "\0row", "\0key", "\0place"
_NULL_LENGTH = 2**32 - 1


@dataclass(frozen=True, slots=True)
class AlignedCustomers:
    """The customers that an alignment found in a dataset, (n,).

    customer_keys: as text, each once, in the alignment's row order. fingerprint_key: 16 to 64
    secret bytes that never leave this node.
    """

    dataset: str
    alignment: str
    customer_keys: tuple[str, ...] = field(repr=False)
    fingerprint_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        assert len(set(self.customer_keys)) == len(self.customer_keys)
        assert 16 <= len(self.fingerprint_key) <= hashlib.blake2b.MAX_KEY_SIZE

    @property
    def rows(self) -> int:
        """Return the number of customers."""
        return len(self.customer_keys)

    def changed(self) -> TableChanged:
        """Return the refusal for a table that no longer holds them as they were."""
        return TableChanged(dataset=self.dataset, alignment=self.alignment)


@dataclass(frozen=True, slots=True)
class AlignedRows:
    """The aligned customers as codes (n, columns) and a target (n,), 0 or 1, if one was asked.

    fingerprint: that of all declared values of these customers as they were read here.
    """

    codes: CodeArray
    target: NDArray[np.uint8] | None
    fingerprint: str
    scorecard: Scorecard


@dataclass(slots=True)
class _Collected:
    """What is kept of the batches read so far."""

    reports: list[ValidationReport] = field(default_factory=list)
    values: list[pl.DataFrame] = field(default_factory=list, repr=False)
    codes: list[CodeArray] = field(default_factory=list, repr=False)
    target: list[NDArray[np.uint8]] = field(default_factory=list, repr=False)
    places: list[NDArray[np.uint32]] = field(default_factory=list, repr=False)


def load_aligned(
    source: Source,
    schema: TableSchema,
    aligned: AlignedCustomers,
    *,
    coder: RowCoder,
    target: str | None,
    quality_floor: float = DEFAULT_FLOOR,
    batch_rows: int = 250_000,
) -> AlignedRows:
    """Return the aligned customers as codes and a target, with fingerprint and scorecard.

    Of several rows of one customer the one with the lowest codes, then the lowest target, counts.
    `coder` may have no columns: then a label owner brings labels alone. All of it comes from
    one reading of the table.

    Raises: SettingInvalid, the errors of sources, ColumnKindWrong, SchemaViolated (an aligned
    customer's row), TableChanged (an aligned customer is gone), QualityTooLow.
    """
    needed = narrow_schema(schema, target, coder.names)
    collected = _Collected()
    for batch in _aligned_batches(source, schema, aligned, batch_rows):
        report = _numbered(validate(batch, needed, aligned.dataset), batch)
        collected.reports.append(report)
        collected.values.append(_written(batch, schema))
        if not report.errors:
            fitting = conform(batch, needed)
            collected.codes.append(coder.coded(fitting, dataset=aligned.dataset))
            if target is not None:
                collected.target.append(positives(fitting, needed, target))
            collected.places.append(batch.get_column(_PLACE).to_numpy())
    report = merge_reports(collected.reports)
    report.refuse_errors(aligned.dataset)
    fingerprint = _fingerprint(collected.values, schema, aligned)
    codes, places = np.concatenate(collected.codes), np.concatenate(collected.places)
    labels = np.concatenate(collected.target) if target is not None else None
    kept = _one_row_a_place(places, codes, labels)
    card = scorecard(report, duplicates=report.rows - aligned.rows, stale=None)
    card.require(quality_floor, dataset=aligned.dataset)
    return AlignedRows(codes[kept], None if labels is None else labels[kept], fingerprint, card)


def fingerprint_aligned(
    source: Source, schema: TableSchema, aligned: AlignedCustomers, *, batch_rows: int = 250_000
) -> str:
    """Return 64 hexadecimal digits that change when a declared value of an aligned customer does.

    Values are those of all declared columns, the target among them, as their declared kinds (so
    1 and 1.0 are one value), and cells that do not fit as they stand. Copies of a row count once.

    Guarantee: without the key it tells nothing of the values. A plain hash would: whoever saw it
    could hash guessed tables until one fits. Source: keyed BLAKE2b, RFC 7693, section 2.9.
    Raises: the errors of sources, ColumnKindWrong, TableChanged (an aligned customer is gone).
    """
    batches = _aligned_batches(source, schema, aligned, batch_rows)
    return _fingerprint([_written(batch, schema) for batch in batches], schema, aligned)


def _aligned_batches(
    source: Source, schema: TableSchema, aligned: AlignedCustomers, batch_rows: int
) -> Iterator[pl.DataFrame]:
    """Yield the aligned customers' rows with their number in the table and in the alignment.

    Raises: the errors of sources, ColumnKindWrong, TableChanged (the table has no row).
    """
    names: dict[str, Kind] = {schema.customer_key: "key"}
    names |= {column.name: column.kind for column in schema.columns}
    wanted = pl.DataFrame(
        {_KEY: aligned.customer_keys, _PLACE: np.arange(aligned.rows, dtype=np.uint32)},
        schema={_KEY: pl.String, _PLACE: pl.UInt32},
    )
    seen, key = 0, customer_key(schema.customer_key).alias(_KEY)
    for batch in source.batches(names, batch_rows):
        validate(batch.clear(), schema, aligned.dataset)  # of all declared columns, the kinds alone
        numbered = batch.with_row_index(_ROW, offset=seen + 1).with_columns(key)
        seen += batch.height
        yield numbered.join(wanted, on=_KEY, how="inner")
    if not seen:
        raise aligned.changed()


def _numbered(report: ValidationReport, batch: pl.DataFrame) -> ValidationReport:
    """Return the report with the rows' numbers in the table instead of those in the batch."""
    rows = batch.get_column(_ROW)

    def placed(finding: Finding) -> Finding:
        return replace(finding, rows=tuple(int(rows[row - 1]) for row in finding.rows))

    return replace(report, findings=tuple(placed(finding) for finding in report.findings))


def _one_row_a_place(
    places: NDArray[np.uint32], codes: CodeArray, labels: NDArray[np.uint8] | None
) -> NDArray[np.intp]:
    """Return the number of the row that counts for each place of the alignment, in its order."""
    ties = (*(() if labels is None else (labels,)), *codes.T[::-1])
    order = np.lexsort((*ties, places))
    first = np.ones(order.size, dtype=np.bool_)
    first[1:] = places[order][1:] != places[order][:-1]
    return order[first]


def _written(batch: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """Return place, key and all declared values as text: two columns a declared one."""

    def texts(column: Column) -> tuple[pl.Expr, pl.Expr]:
        value = typed(column)
        unfit = pl.when(value.is_null()).then(pl.col(column.name).cast(pl.String))
        return value.cast(pl.String).alias(column.name), unfit.alias(f"{column.name}\0as it stands")

    values = [text for column in schema.columns for text in texts(column)]
    return batch.select(_PLACE, _KEY, *values)


def _fingerprint(
    batches: list[pl.DataFrame], schema: TableSchema, aligned: AlignedCustomers
) -> str:
    """Return the keyed hash of the rows in canonical order. Raises: TableChanged."""
    rows = pl.concat(batches).unique()
    if rows.get_column(_PLACE).n_unique() != aligned.rows:
        raise aligned.changed()
    rows = rows.sort(rows.columns).drop(_PLACE)
    names = [schema.customer_key, *(column.name for column in schema.columns)]
    # Security: keyed, so that nobody who sees it can test guesses; lengths go before the text, so
    # that no two tables give the same bytes.
    state = hashlib.blake2b(key=aligned.fingerprint_key, digest_size=32, person=b"aligned rows")
    state.update(canonical_json({"columns": names, "rows": rows.height}))
    for column in rows.iter_columns():
        lengths = column.str.len_bytes().fill_null(_NULL_LENGTH).to_numpy()
        state.update(lengths.astype("<u4").tobytes())
        state.update("".join(column.drop_nulls()).encode())
    return state.hexdigest()
