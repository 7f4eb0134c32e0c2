"""The rows of the ledger's accounts: opening them, and what earlier runs hold of each.

Guarantee: a name in another spelling finds the same row; an account's terms never change once it
is open; what is planned counts in every window until it is spent or given back.
Not guaranteed: order between transactions; the caller brings one that excludes other writers.
"""

import json
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from fedmkt.core.errors import CapConflict, DatasetUnknown
from fedmkt.privacy.accounts import (
    COUNTED,
    Account,
    DatasetAccounts,
    EpsilonLimit,
    ExactLimit,
    Scope,
    UsesLimit,
    Window,
    fold,
)
from fedmkt.privacy.events import Event, ExactEvent, NonPrivateEvent, event_from_json
from fedmkt.privacy.filter import FilterTerms, cost_nano
from fedmkt.privacy.ledger import Standing, counted_units
from fedmkt.storage import tables

MICROSECOND = timedelta(microseconds=1)


def register(tx: sa.Connection, planned: DatasetAccounts) -> None:
    """Note whose people a dataset is about. Raises: CapConflict, when others were noted before."""
    known = tables.datasets.c
    population = tx.scalar(
        sa.select(known.population_key).where(known.dataset_key == fold(planned.dataset))
    )
    if population is None:
        row = {
            "dataset_key": fold(planned.dataset),
            "dataset": planned.dataset,
            "population_key": fold(planned.population),
            "population": planned.population,
        }
        tx.execute(sa.insert(tables.datasets).values(row))
    elif population != fold(planned.population):
        # Privacy: under a new population's name the same rows would get a fresh budget.
        raise CapConflict(
            account=f"dataset {planned.dataset}", problem="it belongs to another population"
        )


def population_of(tx: sa.Connection, dataset: str) -> str:
    """Return whose people a dataset is about. Raises: DatasetUnknown."""
    known = tables.datasets.c
    population = tx.scalar(sa.select(known.population).where(known.dataset_key == fold(dataset)))
    if population is None:
        raise DatasetUnknown(member="this node", dataset=dataset)
    return str(population)


def open_account(tx: sa.Connection, account: Account, now: int) -> None:
    """Open an account, charged with what its scope holds already; an open one stays as it is.

    Raises: CapConflict, when it is open on other terms or its history has a release without noise.
    """
    query = sa.select(tables.accounts).where(tables.accounts.c.key == _key(account))
    row = tx.execute(query).first()
    if row is None:
        _charge_history(tx, _insert_account(tx, account, now), account)
    elif _account(row).stated != account.stated:
        raise CapConflict(account=account.title, problem="its terms differ")


def _insert_account(tx: sa.Connection, account: Account, now: int) -> int:
    scope, limit = account.scope, account.limit
    row: dict[str, object] = {
        "key": _key(account),
        "population_key": fold(scope.population),
        "population": scope.population,
        "dataset": scope.dataset,
        "purpose": scope.purpose,
        "requester": scope.requester,
        "window_name": account.window.name,
        "window_days": account.window.days,
        "opened_at": now,
    }
    if isinstance(limit, EpsilonLimit):
        row |= {"epsilon": limit.epsilon, "delta": limit.delta}
        row |= {"filter_order": limit.terms.order, "budget_nano": limit.terms.budget_nano}
    else:
        row |= {"allowed_uses": limit.allowed}
    new = tables.accounts.c.id
    return int(tx.execute(sa.insert(tables.accounts).values(row).returning(new)).scalar_one())


def _charge_history(tx: sa.Connection, account_id: int, account: Account) -> None:
    query = sa.select(tables.reservations, tables.datasets.c.population).join_from(
        tables.reservations, tables.datasets
    )
    earlier = [
        row.run
        for row in tx.execute(query)
        if account.scope.covers(Scope(row.population, row.dataset, row.purpose, row.requester))
    ]
    if isinstance(account.limit, UsesLimit):
        rows = [{"account_id": account_id, "run": run} for run in earlier]
        if rows:
            tx.execute(sa.insert(tables.uses), rows)
        return
    for run in earlier:
        entry = tables.entries.c
        counted = sa.select(tables.entries).where((entry.run == run) & (entry.state != "returned"))
        for row in tx.execute(counted).all():
            event = event_from_json(json.loads(row.event))
            cost = _historic_cost(event, account, account.limit)
            if cost:
                values = {"account_id": account_id, "entry_id": row.id, "nano": cost}
                tx.execute(sa.insert(tables.charges).values(values))


def _historic_cost(event: Event, account: Account, limit: EpsilonLimit | ExactLimit) -> int:
    """Return what an earlier event costs a new account, 0 for nothing. Raises: CapConflict."""
    if isinstance(limit, ExactLimit):
        return counted_units(event, account.window.name)
    if isinstance(event, ExactEvent):
        return 0
    if isinstance(event, NonPrivateEvent):
        raise CapConflict(
            account=account.title, problem="its people were released without noise before"
        )
    # More than the whole budget exhausts the account all the same, and fits the column.
    return min(cost_nano(event, limit.terms.order), limit.terms.budget_nano + 1)


def standings_of(tx: sa.Connection, use: Scope, now: int) -> tuple[Standing, ...]:
    """Return all open accounts that `use` falls under, with what is used of them by `now`."""
    return tuple(
        standing_of(tx, account_id, account, now)
        for account_id, account in open_accounts_of(tx, fold(use.population))
        if account.scope.covers(use)
    )


def open_accounts_of(tx: sa.Connection, population_key: str) -> list[tuple[int, Account]]:
    """Return the open accounts of a population (its folded name) with their row ids."""
    account = tables.accounts.c
    query = sa.select(tables.accounts).where(account.population_key == population_key)
    return [(row.id, _account(row)) for row in tx.execute(query.order_by(account.id)).all()]


def standing_of(tx: sa.Connection, account_id: int, account: Account, now: int) -> Standing:
    """Return an account with what each run uses of it in its window, as of `now`."""
    days = account.window.days
    since = None if days is None else now - timedelta(days=days) // MICROSECOND
    query = _uses_since(since) if isinstance(account.limit, UsesLimit) else _charges_since(since)
    rows = tx.execute(query, {"account": account_id})
    return Standing(account, account_id, {row.run: int(row.amount) for row in rows})


def _uses_since(since: int | None) -> sa.Select[Any]:
    query = (
        sa.select(tables.uses.c.run, sa.literal(1).label("amount"))
        .join_from(tables.uses, tables.reservations)
        .where(tables.uses.c.account_id == sa.bindparam("account"))
        .order_by(tables.reservations.c.reserved_at)
    )
    return query if since is None else query.where(tables.reservations.c.reserved_at >= since)


def _charges_since(since: int | None) -> sa.Select[Any]:
    entry, charge = tables.entries.c, tables.charges.c
    # Privacy: what is planned counts however old it is: it may still be sent within the period.
    spent = entry.state == "spent"
    recent = spent if since is None else spent & (entry.changed_at >= since)
    return (
        sa.select(entry.run, sa.func.sum(charge.nano).label("amount"))
        .join_from(tables.charges, tables.entries)
        .where(
            (charge.account_id == sa.bindparam("account")) & ((entry.state == "planned") | recent)
        )
        .group_by(entry.run)
    )


def _key(account: Account) -> str:
    return json.dumps(account.key, ensure_ascii=False)


def _account(row: sa.Row[Any]) -> Account:
    scope = Scope(row.population, row.dataset, row.purpose, row.requester)
    window = Window(row.window_name, row.window_days)
    if row.allowed_uses is not None:
        counted = row.window_name in COUNTED.values()
        kind = ExactLimit if counted else UsesLimit
        return Account(scope, window, kind(row.allowed_uses))
    terms = FilterTerms(order=row.filter_order, budget_nano=row.budget_nano)
    return Account(scope, window, EpsilonLimit(row.epsilon, row.delta, terms))
