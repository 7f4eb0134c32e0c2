"""What a node's store and a coordinator's journal do when a disk or a file fails."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from unit.full_disk import files_no_longer_than

from fedmkt.core.clock import ManualClock
from fedmkt.core.errors import RequestConflict, SettingInvalid, StorageFailed
from fedmkt.privacy.accounts import (
    Account,
    DatasetAccounts,
    EpsilonLimit,
    Scope,
    Window,
)
from fedmkt.privacy.events import GaussianEvent, Release
from fedmkt.privacy.filter import filter_terms
from fedmkt.privacy.ledger import Reservation
from fedmkt.storage import tables
from fedmkt.storage.journal import CoordinatorJournal
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore
from fedmkt.storage.run_store import RunStore

CLOCK = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
EVENT = GaussianEvent(noise_multiplier=20.0, sigma=100.0, shares=1, dimensions=3)
SECRET = b"customer-4711"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NodeStore]:
    opened = NodeStore.open(tmp_path / "node.db", CLOCK)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: NodeStore) -> LedgerStore:
    ledger = LedgerStore(store)
    lifetime = EpsilonLimit(1.0, 1e-5, filter_terms(1.0, 1e-5))
    account = Account(Scope("people"), Window("lifetime", None), lifetime)
    releases = tuple(Release(index, f"sum {index}", EVENT) for index in range(3))
    with store.transaction() as tx:
        ledger.open_accounts(tx, DatasetAccounts("cards", "people", (account,)))
        ledger.reserve(tx, Reservation("run", "job", "cards", "value", "bank", releases))
    return ledger


def commit_with_state_and_reply(store: NodeStore, ledger: LedgerStore) -> None:
    with store.transaction() as tx:
        ledger.commit(tx, "run", 0)
        RunStore().save(tx, "run", SECRET * 10_000)
        RunStore().remember_reply(tx, "run", "mask/0", "hash", SECRET)


@pytest.mark.parametrize("size", [0, 4096, 100_000])
def test_a_full_disk_while_committing_leaves_nothing_half_written(
    size: int, store: NodeStore, ledger: LedgerStore, tmp_path: Path
) -> None:
    with store.transaction() as tx:
        before = (ledger.entries(tx), ledger.balances(tx))
    with files_no_longer_than(size), pytest.raises(StorageFailed):
        commit_with_state_and_reply(store, ledger)
    store.close()
    again = NodeStore.open(tmp_path / "node.db", CLOCK)
    with again.transaction() as tx:
        assert (LedgerStore(again).entries(tx), LedgerStore(again).balances(tx)) == before
        assert RunStore().load(tx, "run") is None
        assert RunStore().reply(tx, "run", "mask/0") is None
        assert tx.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    again.close()


def test_the_same_store_goes_on_when_there_is_space_again(
    store: NodeStore, ledger: LedgerStore
) -> None:
    with files_no_longer_than(4096), pytest.raises(StorageFailed):
        commit_with_state_and_reply(store, ledger)
    commit_with_state_and_reply(store, ledger)
    with store.transaction() as tx:
        assert [entry.state for entry in ledger.entries(tx)] == ["spent", "planned", "planned"]
        assert RunStore().reply(tx, "run", "mask/0") == ("hash", SECRET)


def test_a_full_database_is_a_storage_failure_that_says_so(
    store: NodeStore, ledger: LedgerStore
) -> None:
    def fill() -> None:
        with store.transaction() as tx:
            tx.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite raises it to the present size
            RunStore().save(tx, "run", SECRET * 10_000)

    with pytest.raises(StorageFailed) as failure:
        fill()
    assert failure.value.fields["problem"] == "SQLITE_FULL"


def test_a_storage_failure_shows_no_value(store: NodeStore, ledger: LedgerStore) -> None:
    with files_no_longer_than(4096), pytest.raises(StorageFailed) as failure:
        commit_with_state_and_reply(store, ledger)
    assert SECRET.decode() not in str(failure.value)
    assert failure.value.__suppress_context__


def test_a_database_password_is_not_shown() -> None:
    url = "postgresql://fedmkt:hunter2@127.0.0.1:1/ledger?connect_timeout=1"
    pytest.importorskip("psycopg", reason="the postgresql extra is not installed")
    with pytest.raises(StorageFailed) as failure:
        NodeStore.open(url, CLOCK)
    assert "hunter2" not in str(failure.value)
    assert "127.0.0.1" in str(failure.value)


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(b"this is a letter, not a ledger\n" * 100)
    with pytest.raises(StorageFailed):
        NodeStore.open(path, CLOCK)
    assert path.read_bytes() == b"this is a letter, not a ledger\n" * 100


def test_a_folder_in_the_stores_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        NodeStore.open(tmp_path, CLOCK)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://h/d", "://"])
def test_a_store_that_would_not_last_or_is_unknown_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid):
        NodeStore.open(url, CLOCK)


def test_a_store_written_by_a_newer_version_is_refused(store: NodeStore, tmp_path: Path) -> None:
    with store.transaction() as tx:
        tx.exec_driver_sql("UPDATE fedmkt_schema SET version_num = '9999'")
    with pytest.raises(StorageFailed, match="newer"):
        NodeStore.open(tmp_path / "node.db", CLOCK)


def test_the_store_is_readable_by_its_owner_alone(store: NodeStore, tmp_path: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("node.db*")}
    assert modes.pop("node.db") == 0o600
    assert set(modes.values()) <= {0o600}


def test_every_transaction_is_flushed_before_it_ends(store: NodeStore) -> None:
    # SQLite's numbers: synchronous 2 is FULL; anything less may lose a spend in a power cut.
    with store.transaction() as tx:
        pragmas = {
            name: tx.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_migrations_make_the_tables_that_the_code_declares(store: NodeStore) -> None:
    with store.transaction() as tx:
        context = MigrationContext.configure(tx, opts={"version_table": "fedmkt_schema"})
        assert compare_metadata(context, tables.metadata) == []
        checks = {
            name: {one["name"] for one in sa.inspect(tx).get_check_constraints(name)}
            for name in tables.metadata.tables
        }
    declared = {
        name: {str(one.name) for one in table.constraints if isinstance(one, sa.CheckConstraint)}
        for name, table in tables.metadata.tables.items()
    }
    assert {name: len(found) for name, found in checks.items()} == {
        name: len(found) for name, found in declared.items()
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_charges SET nano = 0",
        "UPDATE ledger_charges SET nano = -1",
        "UPDATE ledger_entries SET state = 'forgotten'",
        "UPDATE ledger_accounts SET budget_nano = NULL",
        "DELETE FROM ledger_accounts",
        "DELETE FROM ledger_reservations",
    ],
)
def test_the_database_itself_refuses_rows_without_meaning(
    statement: str, store: NodeStore, ledger: LedgerStore
) -> None:
    def run() -> None:
        with store.transaction() as tx:
            tx.exec_driver_sql(statement)

    with pytest.raises(sa.exc.IntegrityError):
        run()


# --- the coordinator's journal --------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[CoordinatorJournal]:
    opened = CoordinatorJournal(tmp_path / "runs" / "journal.db")
    yield opened
    opened.close()


def test_a_reopened_journal_replays_replies(journal: CoordinatorJournal, tmp_path: Path) -> None:
    journal.remember("mask/0", {"bank": b"one", "retailer": b"\x00two"})
    journal.close()
    again = CoordinatorJournal(tmp_path / "runs" / "journal.db")
    assert again.reply("mask/0", "bank") == b"one"
    assert again.reply("mask/0", "retailer") == b"\x00two"
    assert again.reply("mask/1", "bank") is None
    again.close()


def test_a_journalled_reply_is_never_replaced(journal: CoordinatorJournal) -> None:
    journal.remember("mask/0", {"bank": b"one"})
    journal.remember("mask/0", {"bank": b"one", "retailer": b"two"})
    with pytest.raises(RequestConflict):
        journal.remember("mask/0", {"map_provider": b"three", "bank": b"other"})
    assert journal.reply("mask/0", "map_provider") is None
    assert journal.reply("mask/0", "bank") == b"one"


def test_a_full_disk_leaves_the_journal_as_it_was(journal: CoordinatorJournal) -> None:
    journal.remember("mask/0", {"bank": b"one"})
    with files_no_longer_than(4096), pytest.raises(StorageFailed):
        journal.remember("mask/1", {"bank": b"x", "retailer": b"y" * 100_000})
    assert journal.reply("mask/1", "bank") is None
    journal.remember("mask/1", {"bank": b"x"})
    assert journal.reply("mask/1", "bank") == b"x"
