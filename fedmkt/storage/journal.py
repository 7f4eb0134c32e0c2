"""The coordinator's journal: replies that let a killed coordinator go on where it was.

Guarantee: what `remember` was given is durable when it returns (SQLite, WAL,
synchronous=FULL), all of it or nothing; a reply, once remembered, is never replaced.
Not guaranteed: secrecy. It holds only what nodes sent: masked, sealed or public.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from fedmkt.core.errors import RequestConflict, StorageFailed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    step TEXT, member TEXT, reply BLOB NOT NULL, PRIMARY KEY (step, member)
) WITHOUT ROWID;
"""


class CoordinatorJournal:
    """An open journal; one coordinator at a time, from one thread."""

    def __init__(self, path: Path) -> None:
        """Open the journal, making it if it is not there. Raises: StorageFailed."""
        self._path = path
        with self._mapped():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)

    def reply(self, step: str, member: str) -> bytes | None:
        """Return what `member` answered to `step`, None if nothing is remembered."""
        query = "SELECT reply FROM replies WHERE step = ? AND member = ?"
        with self._mapped(), closing(self._database.execute(query, (step, member))) as rows:
            row = rows.fetchone()
        return None if row is None else bytes(row[0])

    def remember(self, step: str, replies: Mapping[str, bytes]) -> None:
        """Make the members' replies to `step` durable; the same ones again change nothing.

        Raises: RequestConflict, when another reply of a member is there; StorageFailed.
        """
        with self._transaction():
            for member, reply in replies.items():
                earlier = self.reply(step, member)
                if earlier is None:
                    row = (step, member, reply)
                    self._database.execute("INSERT INTO replies VALUES (?, ?, ?)", row)
                elif earlier != reply:
                    raise RequestConflict(step=step, run=self._path.stem)

    @property
    def holds_any(self) -> bool:
        """Return whether a reply is remembered. Raises: StorageFailed."""
        with self._mapped(), closing(self._database.execute("SELECT 1 FROM replies")) as rows:
            return rows.fetchone() is not None

    def let_go(self) -> None:
        """Forget all replies: the run is over, and what came of it is kept elsewhere."""
        with self._transaction():
            self._database.execute("DELETE FROM replies")
        with self._mapped():
            self._database.execute("VACUUM")

    def close(self) -> None:
        """Close the journal; it can be opened again."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mapped():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            problem = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StorageFailed(path=self._path, problem=problem) from None
        except OSError as error:
            raise StorageFailed(path=self._path, problem=type(error).__name__) from None
