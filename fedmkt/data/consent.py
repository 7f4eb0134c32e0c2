"""Which customers agreed to a purpose: a node's consent table and whom it covers.

Guarantee: a customer is covered only by a readable entry that grants exactly this purpose, and by
none that withdrew it at the same time or later. No entry means no. A table with an entry that
cannot be read is refused as a whole, since that entry may be a withdrawal.
Not guaranteed: that the entries are true, or that all withdrawals have reached the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl

from fedmkt.contract.schema import TableSchema
from fedmkt.core.errors import ColumnKindWrong, ColumnMissing, ConsentUnusable
from fedmkt.data.sources import Columns, Source
from fedmkt.data.validation import (
    MISSING_KEY,
    ROWS_NAMED,
    Finding,
    ValidationReport,
    customer_key,
    merge_reports,
    validate,
)

_COLUMNS: Columns = {"key": "key", "purpose": "category", "status": "category", "time": "date"}
_TIME = pl.Datetime("us", "UTC")
_ENTRY = pl.Schema(
    {"key": pl.String(), "purpose": pl.String(), "granted": pl.Boolean(), "time": _TIME}
)
_STATUS = {"granted": True, "withdrawn": False}
_RULES = {
    "key": MISSING_KEY,
    "purpose": "missing, or blanks around it",
    "granted": "neither granted nor withdrawn",
    "time": "no ISO 8601 time",
}


@dataclass(frozen=True, slots=True, eq=False)
class ConsentTable:
    """A node's consent entries: key (text), purpose, granted, time (UTC), one row each."""

    entries: pl.DataFrame = field(repr=False)

    def covered(self, purpose: str, *, now: datetime) -> frozenset[str]:
        """Return the keys of the customers whose consent covers `purpose` at `now`, as text.

        The last entry up to `now` holds; a later one does not count yet. Of two entries with the
        same time a withdrawal holds. Purposes are compared exactly as the contract writes them,
        capitals included.
        """
        assert now.tzinfo is not None
        past = self.entries.filter(
            pl.col("purpose") == purpose, pl.col("time") <= pl.lit(now.astimezone(UTC))
        )
        # Privacy: where the order of two entries cannot be told, the withdrawal holds.
        last = past.filter(pl.col("time") == pl.col("time").max().over("key"))
        held = last.group_by("key").agg(pl.col("granted").all())
        return frozenset(held.filter("granted").get_column("key"))


def read_consent(source: Source, *, dataset: str, batch_rows: int = 250_000) -> ConsentTable:
    """Return the consent table with the columns key, purpose, status and time.

    status: granted or withdrawn, in any case. time: a date, a time or ISO 8601 text that starts
    with YYYY-MM-DD; without a zone it is UTC, and a date is its first moment. key: the customer
    key of the dataset's table.

    Raises: ConsentUnusable (rules and row numbers, the first row being 1), the errors of sources.
    """
    rows, entries, reports = 0, [pl.DataFrame(schema=_ENTRY)], list[ValidationReport]()
    try:
        for batch in source.batches(_COLUMNS, batch_rows):
            read = _entries(batch, dataset)
            reports.append(ValidationReport(read.height, (), tuple(_findings(read, rows + 1))))
            rows += read.height
            entries.append(read)
    except ColumnMissing as missing:
        problem = f"it lacks {missing.fields['column']}"
        raise ConsentUnusable(dataset=dataset, problem=problem) from None
    errors = merge_reports(reports).errors
    if errors:
        raise ConsentUnusable(dataset=dataset, problem="; ".join(map(str, errors)))
    return ConsentTable(pl.concat(entries))


def _entries(batch: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Return a batch as entries, null where a cell cannot be read. Raises: ConsentUnusable."""
    try:
        for name in ("key", "purpose", "status"):
            validate(batch.clear(), TableSchema(customer_key=name, columns=()), dataset)
    except ColumnKindWrong as wrong:
        problem = f"column {wrong.fields['column']} holds {wrong.fields['found']}"
        raise ConsentUnusable(dataset=dataset, problem=problem) from None
    purpose, status = pl.col("purpose").cast(pl.String), pl.col("status").cast(pl.String)
    words = status.str.strip_chars().str.to_lowercase()
    trimmed = (purpose != "") & (purpose == purpose.str.strip_chars())
    return batch.select(
        customer_key("key"),
        pl.when(trimmed).then(purpose).alias("purpose"),
        words.replace_strict(_STATUS, default=None, return_dtype=pl.Boolean).alias("granted"),
        _times(batch.get_column("time"), dataset),
    )


def _times(cells: pl.Series, dataset: str) -> pl.Series:
    """Return a column of times in UTC, null where a cell holds none. Raises: ConsentUnusable."""
    kind = cells.dtype
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        return cells.dt.convert_time_zone("UTC").cast(_TIME)
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return cells.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind not in (pl.String, pl.Null):
        raise ConsentUnusable(dataset=dataset, problem=f"column time holds {kind.base_type()}")
    texts = cells.cast(pl.String).to_list()
    read = {text: _time(text) for text in set(texts)}
    return pl.Series(cells.name, [read[text] for text in texts], dtype=_TIME)


def _time(text: str | None) -> datetime | None:
    """Return the time a text states, in UTC; None if it states none."""
    clean = (text or "").strip()
    if clean[4:5] != "-" or clean[7:8] != "-":  # other forms of ISO 8601 can be read two ways
        return None
    try:
        time = datetime.fromisoformat(clean)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _findings(entries: pl.DataFrame, first_row: int) -> Iterator[Finding]:
    """Yield what cannot be read: a rule, how often, and the first rows."""
    for name, rule in _RULES.items():
        wrong = np.flatnonzero(entries.get_column(name).is_null()).tolist()
        if wrong:
            column = "status" if name == "granted" else name
            rows = tuple(place + first_row for place in wrong[:ROWS_NAMED])
            yield Finding(rule, column, len(wrong), rows)
