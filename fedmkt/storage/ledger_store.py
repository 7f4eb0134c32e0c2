"""The node's ledger on its SQL store: what was reserved, spent and given back, and for which run.

Guarantee: within the caller's transaction every rule of `privacy.ledger` is checked against all
that earlier transactions made durable, so concurrent runs cannot pass a cap together. What is
reserved counts until it is given back, what is spent counts for life; a replay changes nothing; a
clock set back frees nothing (time never runs behind the latest stored time).
Not guaranteed: a clock set forward frees period budget early; the lifetime cap knows no clock.
The caller must end the transaction of `commit` before the update it pays for leaves.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from fedmkt.core.errors import RequestConflict, ReservationClosed, ReservationUnknown
from fedmkt.privacy.accounts import (
    DatasetAccounts,
    Scope,
    UsesLimit,
    fold,
)
from fedmkt.privacy.events import Event, event_from_json, event_to_json
from fedmkt.privacy.ledger import Charge, Reservation, Standing, judge
from fedmkt.storage import tables
from fedmkt.storage.balances import Balance, balance_of
from fedmkt.storage.ledger_accounts import (
    MICROSECOND,
    open_account,
    open_accounts_of,
    population_of,
    register,
    standing_of,
    standings_of,
)
from fedmkt.storage.node_store import NodeStore

State = Literal["planned", "spent", "returned"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One release of a run in the ledger. at: when it last changed its state (UTC)."""

    run: str
    job: str
    dataset: str
    purpose: str
    requester: str
    release: int
    name: str
    event: Event
    state: State
    at: datetime


class LedgerStore:
    """The ledger of one node; every method works inside the transaction it is given."""

    def __init__(self, store: NodeStore) -> None:
        self._clock = store.clock

    def open_accounts(self, tx: sa.Connection, planned: DatasetAccounts) -> None:
        """Open the accounts of a dataset that are not open yet; open ones stay as they are.

        A new account is charged at once with what its scope already spent or reserved.
        Raises: CapConflict, when an open account states other terms, when the dataset was opened
        for another population, or when people under a new cap were released without noise.
        """
        register(tx, planned)
        for account in planned.accounts:
            open_account(tx, account, self._now(tx))

    def reserve(self, tx: sa.Connection, reservation: Reservation) -> None:
        """Set aside what a run will release; the same reservation again changes nothing.

        Raises: BudgetExceeded, UsesExceeded, UnprotectedNotAllowed; DatasetUnknown (no accounts
        were opened for it); RequestConflict (the run reserved something else before);
        ReservationClosed (the run already gave back).
        """
        known = tables.reservations.c
        earlier = tx.scalar(sa.select(known.hash).where(known.run == reservation.run))
        if earlier is not None:
            _check_repeated(tx, reservation, earlier)
            return
        now = self._now(tx)
        standings = standings_of(tx, reservation.use(population_of(tx, reservation.dataset)), now)
        charges = judge(reservation, standings)
        _insert(tx, reservation, standings, charges, now)

    def commit(self, tx: sa.Connection, run: str, release_index: int) -> None:
        """Mark a planned release as spent; once spent, a replay changes nothing.

        Raises: ReservationUnknown; ReservationClosed, when it was given back.
        """
        entry = tables.entries.c
        this = (entry.run == run) & (entry.release == release_index)
        state = tx.scalar(sa.select(entry.state).where(this))
        if state is None:
            raise ReservationUnknown(run=run, release=release_index)
        if state == "returned":
            raise ReservationClosed(run=run, release=release_index)
        if state == "planned":
            spent = {"state": "spent", "changed_at": self._now(tx)}
            tx.execute(sa.update(tables.entries).where(this).values(spent))

    def give_back(self, tx: sa.Connection, run: str) -> int:
        """Close the run: return what it never committed. Returns the number of such releases.

        Privacy: when to give back may depend on released values only, never on the data.
        """
        entry = tables.entries.c
        result = tx.execute(
            sa.update(tables.entries)
            .where((entry.run == run) & (entry.state == "planned"))
            .values(state="returned", changed_at=self._now(tx))
        )
        return result.rowcount

    def balances(self, tx: sa.Connection) -> tuple[Balance, ...]:
        """Return what each scope has spent and has left: for every dataset its root, then others.

        Datasets about one population share their root, so it stands here once for each of them.
        """
        now = self._now(tx)
        found = []
        for row in tx.execute(sa.select(tables.datasets).order_by(tables.datasets.c.dataset)):
            root = Scope(row.population)
            scopes: dict[tuple[str | None, ...], list[Standing]] = {root.key: []}
            for account_id, account in open_accounts_of(tx, row.population_key):
                if account.scope.key[1] in (None, row.dataset_key):
                    standing = standing_of(tx, account_id, account, now)
                    scopes.setdefault(account.scope.key, []).append(standing)
            found += [balance_of(row.dataset, root, group) for group in scopes.values()]
        return tuple(found)

    def entries(self, tx: sa.Connection, run: str | None = None) -> tuple[Entry, ...]:
        """Return the entries of `run`, or all of them, oldest first."""
        entry, reservation = tables.entries.c, tables.reservations.c
        asked = (reservation[name] for name in ("job", "dataset", "purpose", "requester"))
        query = sa.select(*asked, tables.entries).join_from(tables.entries, tables.reservations)
        if run is not None:
            query = query.where(entry.run == run)
        rows = tx.execute(query.order_by(reservation.reserved_at, entry.run, entry.release))
        return tuple(_entry(row) for row in rows.mappings())

    def _now(self, tx: sa.Connection) -> int:
        # Privacy: a clock set back must not move old charges out of a period's window.
        reserved = tx.scalar(sa.select(sa.func.max(tables.reservations.c.reserved_at)))
        changed = tx.scalar(sa.select(sa.func.max(tables.entries.c.changed_at)))
        return max((self._clock.now() - _EPOCH) // MICROSECOND, reserved or 0, changed or 0)


def _check_repeated(tx: sa.Connection, reservation: Reservation, earlier: str) -> None:
    if earlier != reservation.hash:
        raise RequestConflict(step="reserve", run=reservation.run)
    entry = tables.entries.c
    returned = (entry.run == reservation.run) & (entry.state == "returned")
    release = tx.scalar(sa.select(sa.func.min(entry.release)).where(returned))
    if release is not None:
        raise ReservationClosed(run=reservation.run, release=release)


def _insert(
    tx: sa.Connection,
    reservation: Reservation,
    standings: tuple[Standing, ...],
    charges: tuple[Charge, ...],
    now: int,
) -> None:
    row = {name: getattr(reservation, name) for name in ("run", "job", "dataset", "purpose")}
    row |= {"requester": reservation.requester, "dataset_key": fold(reservation.dataset)}
    row |= {"hash": reservation.hash, "reserved_at": now}
    tx.execute(sa.insert(tables.reservations).values(row))
    for standing in standings:
        if isinstance(standing.account.limit, UsesLimit):
            used = {"account_id": standing.account_id, "run": reservation.run}
            tx.execute(sa.insert(tables.uses).values(used))
    ids = {}
    for release in reservation.releases:
        entry = {
            "run": reservation.run,
            "release": release.index,
            "name": release.name,
            "event": json.dumps(event_to_json(release.event)),
            "state": "planned",
            "changed_at": now,
        }
        insert = sa.insert(tables.entries).values(entry).returning(tables.entries.c.id)
        ids[release.index] = tx.execute(insert).scalar_one()
    rows = [
        {"account_id": charge.account_id, "entry_id": ids[charge.release], "nano": charge.nano}
        for charge in charges
    ]
    if rows:
        tx.execute(sa.insert(tables.charges), rows)


def _entry(row: sa.RowMapping) -> Entry:
    return Entry(
        run=row["run"],
        job=row["job"],
        dataset=row["dataset"],
        purpose=row["purpose"],
        requester=row["requester"],
        release=row["release"],
        name=row["name"],
        event=event_from_json(json.loads(row["event"])),
        state=row["state"],
        at=_EPOCH + row["changed_at"] * MICROSECOND,
    )
