"""What a scope of the ledger really lost: the tighter epsilon of the releases charged to it.

Guarantee: the releases a scope covers, with those that may have left, are together (epsilon,
delta)-private for one customer, as `privacy.accounting` proves it for releases fixed beforehand.
It stands beside `spent` and decides nothing: the cap is held by the filter.
Not guaranteed: anything about exact events. No epsilon bounds them; the ledger counts them instead.
"""

from collections.abc import Sequence
from datetime import datetime

from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.accounts import Scope, fold
from fedmkt.storage.balances import Balance
from fedmkt.storage.ledger_store import Entry

_DELTA = 1e-5


def epsilon_lost(
    balance: Balance,
    balances: Sequence[Balance],
    entries: Sequence[Entry],
    *,
    since: datetime | None = None,
) -> float:
    """Return the epsilon of one scope's releases; infinite where one carried no noise.

    Args: balances, entries: all of the ledger's. since: leave out what was spent before.
    At the scope's own delta, else its population's.
    """
    populations = {fold(one.dataset): one.population for one in balances}
    scope = _scope(balance)
    events = [
        entry.event
        for entry in entries
        if _counts(entry, since)
        and scope.covers(
            Scope(populations[fold(entry.dataset)], entry.dataset, entry.purpose, entry.requester)
        )
    ]
    return epsilon_of(events, balance.delta or _delta_of(balance.population, balances))


def _scope(balance: Balance) -> Scope:
    if balance.purpose is None and balance.requester is None:
        return Scope(balance.population)
    return Scope(balance.population, balance.dataset, balance.purpose, balance.requester)


def _counts(entry: Entry, since: datetime | None) -> bool:
    # Privacy: what is planned may have left, and may still be sent however old it is.
    return entry.state == "planned" or (
        entry.state == "spent" and (since is None or entry.at >= since)
    )


def _delta_of(population: str, balances: Sequence[Balance]) -> float:
    known = (one.delta for one in balances if fold(one.population) == fold(population))
    return next((delta for delta in known if delta is not None), _DELTA)
