"""The ledger's rules: what a use costs every account it falls under, and whether all allow it.

Guarantee: `judge` lets a reservation pass only if each matching epsilon account stays within its
Renyi budget at the order fixed when it opened, which is a sound filter for jobs chosen one after
another, and each matching count (of uses, of what is shown exactly) stays within its limit. What no
epsilon bounds passes only where an account counts it. Integers only, rounded up.
Not guaranteed: a period's cap limits the rate and no more; only the lifetime cap bounds what is
lost. Which uses share an account is `accounts`' to say.
Source: Feldman and Zrnic, arXiv:2008.11193, theorem 4.3 (Renyi filter at one fixed order).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedmkt.core.errors import (
    BudgetExceeded,
    ExactScoresExceeded,
    ExactScoresNotAllowed,
    UnprotectedNotAllowed,
    UsesExceeded,
)
from fedmkt.privacy.accounts import (
    COUNTED,
    COUNTED_WORDS,
    Account,
    EpsilonLimit,
    ExactLimit,
    Scope,
    UsesLimit,
    WindowName,
)
from fedmkt.privacy.events import Event, ExactEvent, NonPrivateEvent, Release, event_to_json
from fedmkt.privacy.filter import cost_nano, spent_epsilon
from fedmkt.wire.canonical import canonical_json, digest

_NAMED_RUNS = 5


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a run will release from a dataset, and for whom: all of it, before data are read."""

    run: str
    job: str
    dataset: str
    purpose: str
    requester: str
    releases: tuple[Release, ...]

    @property
    def hash(self) -> str:
        """Return the SHA-256 that tells a repeated reservation from another under its name."""
        releases = [[one.index, one.name, event_to_json(one.event)] for one in self.releases]
        named = {"run": self.run, "job": self.job, "dataset": self.dataset}
        asked = {"purpose": self.purpose, "requester": self.requester, "releases": releases}
        return digest(canonical_json({**named, **asked}))

    def use(self, population: str) -> Scope:
        """Return the fully named scope of this use, of people in `population`."""
        return Scope(population, self.dataset, self.purpose, self.requester)


@dataclass(frozen=True, slots=True)
class Standing:
    """An open account and what earlier runs hold of it within its window.

    used_by: run to nano-RDP (epsilon), units (exact counts) or 1 (uses), with what is reserved and
    not yet spent.
    """

    account: Account
    account_id: int
    used_by: Mapping[str, int] = field(default_factory=dict)

    @property
    def used(self) -> int:
        """Return the sum over all runs."""
        return sum(self.used_by.values())


@dataclass(frozen=True, slots=True)
class Charge:
    """What one release costs one account: nano-RDP at its order, or units of an exact count."""

    account_id: int
    release: int
    nano: int


def judge(reservation: Reservation, standings: Sequence[Standing]) -> tuple[Charge, ...]:
    """Return what the reservation costs every matching account, if all of them allow it.

    Args: standings: the open accounts whose scope covers this use, each with what is used.
    Raises: UnprotectedNotAllowed, UsesExceeded, BudgetExceeded, ExactScoresNotAllowed,
        ExactScoresExceeded, naming the account that says no.
    """
    _require_counted(reservation, standings)
    for standing in standings:
        if isinstance(standing.account.limit, UsesLimit):
            _judge_uses(reservation, standing, standing.account.limit)
    charges: list[Charge] = []
    for standing in standings:
        limit = standing.account.limit
        if isinstance(limit, EpsilonLimit):
            charges += _judge_epsilon(reservation, standing, limit)
        elif isinstance(limit, ExactLimit):
            charges += _judge_exact(reservation, standing, limit)
    return tuple(charges)


def _require_counted(reservation: Reservation, standings: Sequence[Standing]) -> None:
    """Refuse what no epsilon bounds and no account counts. Raises: ExactScoresNotAllowed."""
    counted = {standing.account.window.name for standing in standings}
    for release in reservation.releases:
        event = release.event
        window = COUNTED.get(event.what) if isinstance(event, ExactEvent) else None
        # Privacy: what is neither priced nor counted would be free for ever.
        if window is not None and window not in counted:
            raise ExactScoresNotAllowed(
                what=COUNTED_WORDS[window],
                dataset=reservation.dataset,
                setting=f"{window}_lifetime",
            )


def counted_units(event: Event, window: WindowName) -> int:
    """Return how much an event counts against an account of `window`, 0 for other events."""
    if isinstance(event, ExactEvent) and COUNTED.get(event.what) == window:
        return event.count
    return 0


def _judge_exact(
    reservation: Reservation, standing: Standing, limit: ExactLimit
) -> tuple[Charge, ...]:
    window = standing.account.window.name
    charges = tuple(
        Charge(standing.account_id, release.index, units)
        for release in reservation.releases
        if (units := counted_units(release.event, window))
    )
    asked = sum(charge.nano for charge in charges)
    if asked and standing.used + asked > limit.allowed:
        by_size = sorted(standing.used_by.items(), key=lambda item: (-item[1], item[0]))
        raise ExactScoresExceeded(
            cap=standing.account.title,
            dataset=reservation.dataset,
            allowed=limit.allowed,
            used=standing.used,
            asked=asked,
            spent_by=_largest({run: f" {units}" for run, units in by_size}),
        )
    return charges


def _judge_uses(reservation: Reservation, standing: Standing, limit: UsesLimit) -> None:
    if standing.used < limit.allowed:
        return
    raise UsesExceeded(
        cap=standing.account.title,
        dataset=reservation.dataset,
        purpose=reservation.purpose,
        allowed=limit.allowed,
        window=standing.account.window.name.removeprefix("uses_"),
        used=standing.used,
        spent_by=_largest(dict.fromkeys(standing.used_by, "")),
    )


def _judge_epsilon(
    reservation: Reservation, standing: Standing, limit: EpsilonLimit
) -> tuple[Charge, ...]:
    charges = tuple(
        Charge(standing.account_id, release.index, cost)
        for release in reservation.releases
        if not isinstance(release.event, ExactEvent)
        for cost in (_price(reservation.dataset, release, limit.terms.order),)
    )
    asked = sum(charge.nano for charge in charges)
    budget = limit.terms.budget_nano
    # An account that history overfilled still lets pass what costs it nothing.
    if not asked or standing.used + asked <= budget:
        return charges

    def in_epsilon(nano: int) -> float:
        return spent_epsilon(limit.epsilon, nano, budget)

    by_size = sorted(standing.used_by.items(), key=lambda item: (-item[1], item[0]))
    raise BudgetExceeded(
        cap=standing.account.title,
        dataset=reservation.dataset,
        purpose=reservation.purpose,
        requested=in_epsilon(asked),
        remaining=max(0.0, limit.epsilon - in_epsilon(standing.used)),
        epsilon=limit.epsilon,
        spent_by=_largest({run: f" {in_epsilon(nano):.4g}" for run, nano in by_size}),
    )


def _price(dataset: str, release: Release, order: int) -> int:
    if isinstance(release.event, NonPrivateEvent):
        raise UnprotectedNotAllowed(dataset=dataset)
    return cost_nano(release.event, order)


def _largest(runs: Mapping[str, str]) -> str:
    if not runs:
        return "nobody yet"
    named = ", ".join(f"{run}{amount}" for run, amount in list(runs.items())[:_NAMED_RUNS])
    more = len(runs) - _NAMED_RUNS
    return f"{named} and {more} more" if more > 0 else named
