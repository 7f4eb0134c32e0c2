"""Where a partner's table comes from: CSV, Parquet, DuckDB or SQL, read lazily in batches.

Guarantee: sources are opened for reading only; only the columns asked for are read; a file that
disappears or changes while it is read is an error, never a shorter table. No error of this module
holds a cell, a password or a driver's own words, which may quote either.
Not guaranteed: kinds. A source gives what it holds (CSV: text); `validation` judges it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl
import sqlalchemy as sa
from pydantic import Field, SecretStr, model_validator
from sqlalchemy.sql.elements import quoted_name

from fedmkt.contract.schema import Name
from fedmkt.core.errors import (
    ColumnMissing,
    FedmktError,
    FileMissing,
    SettingInvalid,
    SourceUnreadable,
    SourceVanished,
)
from fedmkt.core.frozen import Frozen
from fedmkt.data import csv_faults

Kind = Literal["integer", "number", "category", "boolean", "key", "date"]
Columns = Mapping[str, Kind]  # declared name -> what it is to be read as
_LINE_END = "\0line end"
_SQL_ROWS = 50_000  # of a driver's rows, each cell an object, some ten times the table's size
_OTHER_NAMES = "Give other names in the mapping of node.toml"


class SourceSettings(Frozen):
    """How a node finds its table, from node.toml.

    mapping: source column -> declared column, for those whose names differ. null_values: cells
    that stand for a missing value. decimal_comma: the CSV writes 1,5 for one and a half.
    """

    kind: Literal["csv", "parquet", "duckdb", "sql"]
    path: Path | None = None
    url: SecretStr | None = None
    table: Name | None = None
    query: str | None = Field(default=None, min_length=1)
    separator: str = Field(default=",", min_length=1, max_length=1)
    decimal_comma: bool = False
    mapping: dict[str, Name] = Field(default_factory=dict)
    null_values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> "SourceSettings":
        if (self.kind == "sql") == (self.url is None) or (self.kind == "sql") != (
            self.path is None
        ):
            raise ValueError("a sql source needs url, every other source needs path, none both")
        if (self.kind in ("duckdb", "sql")) != ((self.table is None) != (self.query is None)):
            raise ValueError("a duckdb or sql source needs table or query, other kinds neither")
        if len(set(self.mapping.values())) != len(self.mapping):
            raise ValueError("mapping gives one declared column to two source columns")
        return self


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """A table that can be read more than once, always in the same order for a file."""

    settings: SourceSettings

    @property
    def name(self) -> str:
        """Return a name fit for messages: a file's, or a database's address without credentials."""
        return self._path.name

    def batches(self, columns: Columns, batch_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the columns, under their declared names, in batches of about `batch_rows` rows.

        Raises: FileMissing, ColumnMissing, SourceUnreadable, SourceVanished.
        """
        file = self._file
        if file is not None and not file.is_file():
            raise FileMissing(what="table", path=file, advice="Correct its path in node.toml.")
        before = _stamp(file)
        try:
            for batch in self._read(columns, batch_rows):
                if _stamp(file) != before:
                    raise SourceVanished(source=self.name)
                yield batch
        except FedmktError:
            raise
        except Exception as error:  # noqa: BLE001 - each reader has its own tree of errors
            if _stamp(file) != before:
                raise SourceVanished(source=self.name) from None
            problem, kind = self._problem(error), self.settings.kind
            raise SourceUnreadable(source=self.name, kind=kind, problem=problem) from None
        if _stamp(file) != before:
            raise SourceVanished(source=self.name)

    @abstractmethod
    def _read(self, columns: Columns, batch_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the batches; whatever goes wrong in the reader may be raised as it is."""

    def _problem(self, error: Exception) -> str:
        # Security: the type alone; the words of a parser or driver quote cells and URLs.
        return f"the reader stopped with {type(error).__name__}; check path, kind and rights"

    @property
    def _path(self) -> Path:
        assert self.settings.path is not None
        return self.settings.path

    @property
    def _file(self) -> Path | None:
        """Return the file behind the source, None for a server."""
        return self._path

    def _wanted(self, present: list[str], columns: Columns) -> list[tuple[str, str]]:
        """Return (source column, declared column) for each wanted one. Raises: ColumnMissing."""
        origin = {declared: old for old, declared in self.settings.mapping.items()}
        wanted = [(origin.get(name, name), name) for name in columns]
        missing = [name for old, name in wanted if old not in present]
        if missing:
            # Security: only declared names; without a header the others are customers' cells.
            known = [name for old, name in wanted if old in present]
            raise ColumnMissing(
                dataset=self.name,
                column=", ".join(missing),
                width=len(present),
                present=", ".join(known) or "none",
                advice=_OTHER_NAMES
                + ("; for a CSV check the separator." if len(present) == 1 else "."),
            )
        return wanted

    def _with_nulls(self, table: pl.LazyFrame) -> pl.LazyFrame:
        """Turn the cells that stand for a missing value into nulls."""
        nulls = self.settings.null_values
        if not nulls:
            return table
        text = pl.selectors.string()
        return table.with_columns(pl.when(~text.is_in(nulls)).then(text).name.keep())


class CsvSource(Source):
    """A UTF-8 CSV file with a header; every cell is given as text."""

    __slots__ = ()

    def _read(self, columns: Columns, batch_rows: int) -> Iterator[pl.DataFrame]:
        # Polars takes other encodings for UTF-8, and only misses the columns.
        problem = csv_faults.encoding_fault(self._path)
        if problem is not None:
            raise SourceUnreadable(source=self.name, kind="csv", problem=problem)
        table = pl.scan_csv(
            self._path, separator=self.settings.separator, infer_schema=False, glob=False
        )
        present = table.collect_schema().names()
        # Read up to the last column: only then does a line with too many cells, shifted perhaps
        # by a stray separator, stop the reader.
        wanted = [*self._wanted(present, columns), (present[-1], _LINE_END)]
        picked = self._with_nulls(table.select(pl.col(old).alias(new) for old, new in wanted))
        if self.settings.decimal_comma:
            numbers = [name for name, kind in columns.items() if kind in ("integer", "number")]
            # Swapped, not replaced: a stray 1.234 becomes 1,234 and is refused, not misread.
            picked = picked.with_columns(pl.col(numbers).str.replace_many([",", "."], [".", ","]))
        for batch in picked.collect_batches(chunk_size=batch_rows, lazy=True):
            yield batch.drop(_LINE_END)

    def _problem(self, error: Exception) -> str:
        try:
            found = csv_faults.fault(self._path, self.settings.separator)
        except OSError:
            found = None
        return found or Source._problem(self, error)


class ParquetSource(Source):
    """A Parquet file, read by row groups and cut to size."""

    __slots__ = ()

    def _read(self, columns: Columns, batch_rows: int) -> Iterator[pl.DataFrame]:
        table = pl.scan_parquet(self._path, glob=False)
        wanted = self._wanted(table.collect_schema().names(), columns)
        picked = self._with_nulls(table.select(pl.col(old).alias(new) for old, new in wanted))
        yield from picked.collect_batches(chunk_size=batch_rows, lazy=True)


class DuckDbSource(Source):
    """A table or query of a DuckDB file, opened read-only and without access to other files."""

    __slots__ = ()

    def _read(self, columns: Columns, batch_rows: int) -> Iterator[pl.DataFrame]:
        # Security: a query cannot reach beyond the database file it was given for.
        connection = duckdb.connect(
            str(self._path), read_only=True, config={"enable_external_access": False}
        )
        with closing(connection):
            origin = _from_clause(self.settings)
            present = connection.sql(f"SELECT * FROM {origin} LIMIT 0").columns  # noqa: S608
            wanted = self._wanted(present, columns)
            picked = ", ".join(f"{_quote(old)} AS {_quote(new)}" for old, new in wanted)
            found = connection.sql(f"SELECT {picked} FROM {origin}")  # noqa: S608
            for batch in found.to_arrow_reader(batch_rows):
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                yield self._with_nulls(frame.lazy()).collect()


class SqlSource(Source):
    """A table or query of any database SQLAlchemy speaks to; the transaction is rolled back."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """Return the database's address without user, password or options."""
        url = self._url
        return f"{url.get_backend_name()}://{url.host or ''}/{url.database or ''}"

    @property
    def _url(self) -> sa.URL:
        """Return the database's URL. Raises: SettingInvalid."""
        assert self.settings.url is not None
        try:
            return sa.make_url(self.settings.url.get_secret_value())
        except sa.exc.ArgumentError:
            # Security: the parser's own message quotes the URL, password and all.
            raise SettingInvalid(setting="url", problem="it is no database URL") from None

    @property
    def _file(self) -> Path | None:
        database = self._url.database
        in_file = self._url.get_backend_name() == "sqlite" and database not in (None, ":memory:")
        return Path(database) if in_file and database else None

    def _read(self, columns: Columns, batch_rows: int) -> Iterator[pl.DataFrame]:
        """Yield batches from a server-side cursor where the database has them."""
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        # Rolling back would not be enough: a query may count up a sequence.
        options = {"stream_results": True, "postgresql_readonly": True}
        with engine.connect().execution_options(**options) as connection:
            origin = _selectable(self.settings)
            no_rows = sa.select(sa.text("*")).select_from(origin).where(sa.false())
            with connection.execute(no_rows) as header:
                present = list(header.keys())
            picked: list[sa.Label[object]] = [
                sa.column(quoted_name(old, quote=True)).label(quoted_name(new, quote=True))
                for old, new in self._wanted(present, columns)
            ]
            for batch in pl.read_database(
                sa.select(*picked).select_from(origin),
                connection,
                iter_batches=True,
                batch_size=min(batch_rows, _SQL_ROWS),
                infer_schema_length=None,
            ):
                yield self._with_nulls(batch.lazy()).collect()


_KINDS: Mapping[str, type[Source]] = {
    "csv": CsvSource,
    "parquet": ParquetSource,
    "duckdb": DuckDbSource,
    "sql": SqlSource,
}


def open_source(settings: SourceSettings) -> Source:
    """Return the source that `settings` describe; nothing is read before `batches`."""
    return _KINDS[settings.kind](settings)


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    """Return what tells whether a file is still the same one, None if it is not there."""
    try:
        status = file.stat() if file is not None else None
    except OSError:
        return None
    return status and (status.st_ino, status.st_size, status.st_mtime_ns)


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _from_clause(settings: SourceSettings) -> str:
    """Return what stands behind FROM in DuckDB."""
    if settings.table is not None:
        return ".".join(_quote(part) for part in settings.table.split("."))
    assert settings.query is not None
    return f"({settings.query.rstrip().rstrip(';')}\n) AS source"


def _selectable(settings: SourceSettings) -> sa.FromClause:
    """Return what stands behind FROM in SQL."""
    if settings.table is not None:
        schema, _, table = settings.table.rpartition(".")
        return sa.table(quoted_name(table, quote=True), schema=schema or None)
    assert settings.query is not None
    query = settings.query.rstrip().rstrip(";").replace(":", "\\:")
    return sa.text(query).columns().subquery("source")
