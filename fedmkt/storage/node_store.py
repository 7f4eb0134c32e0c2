"""A node's SQL store: SQLite at a path by default, PostgreSQL by URL, one writer at a time.

Guarantee: what a transaction wrote is durable when `transaction()` ends without an error, all of
it or nothing; transactions follow one another (SQLite: BEGIN IMMEDIATE, WAL, synchronous=FULL;
PostgreSQL: one advisory lock, synchronous commit), so a rule checked inside one still holds when
it commits.
Not guaranteed: anything against a disk that lies about flushing, a PostgreSQL server run with
fsync=off, or somebody who puts an old copy of the store back (the audit log's heads show that).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError

from fedmkt.core.clock import Clock
from fedmkt.core.errors import SettingInvalid, StorageFailed

_BUSY_TIMEOUT_MS = 30_000
# "fedmkt" as a number: the name of the advisory lock that makes PostgreSQL's writers take turns.
_ADVISORY_LOCK = int.from_bytes(b"fedmkt", "big")
_SQLITE_PRAGMAS = (
    f"busy_timeout = {_BUSY_TIMEOUT_MS}",
    "journal_mode = WAL",
    # Privacy: with NORMAL, a power cut could undo a spend whose update has already left.
    "synchronous = FULL",
    "foreign_keys = ON",
)


class NodeStore:
    """An open store. Threads and processes may share its file or database."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self.clock = clock
        self.location = engine.url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, url_or_path: str | Path, clock: Clock) -> "NodeStore":
        """Open the store, making and migrating it as needed.

        Args: url_or_path: a file for SQLite, or a URL: `sqlite:///…`, `postgresql://…`.
        Raises: SettingInvalid (no such kind of URL), StorageFailed.
        """
        engine = _engine(_url(url_or_path))
        store = cls(engine, clock)
        try:
            with store.transaction() as tx:
                _migrate(tx)
        except CommandError:
            store.close()
            raise StorageFailed(
                path=store.location, problem="a newer fedmkt wrote it; install that one"
            ) from None
        except BaseException:
            store.close()
            raise
        return store

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Yield a connection inside a transaction: all becomes durable at the end, or nothing.

        Raises: StorageFailed, when the database cannot read or write; whatever the body raises,
        after undoing all it wrote.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if isinstance(error, IntegrityError | ProgrammingError):
                raise
            # Security: the driver's own message may quote a statement's values; its code does not.
            raise StorageFailed(path=self.location, problem=_code(error)) from None
        except OSError as error:
            raise StorageFailed(path=self.location, problem=type(error).__name__) from None

    def close(self) -> None:
        """Close all connections; the store can be opened again."""
        self._engine.dispose()


def _url(url_or_path: str | Path) -> sa.URL:
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return sa.URL.create("sqlite", database=str(url_or_path))
    try:
        url = sa.make_url(url_or_path)
    except ArgumentError:
        raise SettingInvalid(setting="store", problem="it is no database URL") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise SettingInvalid(setting="store", problem="only sqlite:// and postgresql:// are known")
    return url


def _engine(url: sa.URL) -> sa.Engine:
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise SettingInvalid(setting="store", problem="a ledger in memory would not last")
        _make_private_file(Path(url.database), url)
        engine = sa.create_engine(url, hide_parameters=True)
        sa.event.listen(engine, "connect", _on_sqlite_connect)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = sa.create_engine(url, hide_parameters=True)
    sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _make_private_file(path: Path, url: sa.URL) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        location = url.render_as_string()
        raise StorageFailed(path=location, problem=type(error).__name__) from None


def _on_sqlite_connect(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver must not begin transactions of its own
    for pragma in _SQLITE_PRAGMAS:
        dbapi_connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # Privacy: a lock taken at the first write would let two writers judge the same balance.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgresql(connection: sa.Connection) -> None:
    # Privacy: READ COMMITTED statements after the lock see all that earlier holders committed.
    connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def _migrate(tx: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "fedmkt.storage:migrations")
    config.attributes["connection"] = tx
    command.upgrade(config, "head")


def _code(error: DBAPIError) -> str:
    driver = error.orig
    for name in ("sqlite_errorname", "sqlstate"):
        if code := getattr(driver, name, None):
            return str(code)
    return type(driver).__name__
