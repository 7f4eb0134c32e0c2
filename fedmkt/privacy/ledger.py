"""The ledger's rules: which accounts a use is charged to, and whether every one of them allows it.

Guarantee: `judge` lets a reservation pass only if each matching epsilon account stays within its
Renyi budget at the order fixed when it opened, which is a sound filter for jobs chosen one after
another, and each matching count (of uses, of what is shown exactly) stays within its limit. What no
epsilon bounds passes only where an account counts it. Integers only, rounded up.
Not guaranteed: a period's cap limits the rate and no more; only the lifetime cap bounds what is
lost. Two populations that hold the same people under different names are two accounts here; the
contract must name them alike.
Source: Feldman and Zrnic, arXiv:2008.11193, theorem 4.3 (Renyi filter at one fixed order).
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset
from fedmkt.core.errors import (
    BudgetExceeded,
    CapConflict,
    ExactScoresExceeded,
    ExactScoresNotAllowed,
    UnprotectedNotAllowed,
    UsesExceeded,
)
from fedmkt.privacy.events import Event, ExactEvent, NonPrivateEvent, Release, event_to_json
from fedmkt.privacy.filter import FilterTerms, cost_nano, filter_terms, spent_epsilon
from fedmkt.wire.canonical import canonical_json, digest

WindowName = Literal[
    "period",
    "lifetime",
    "uses_day",
    "uses_week",
    "uses_month",
    "uses_lifetime",
    "exact_scores",
    "alignments",
]
COUNTED: dict[str, WindowName] = {"scores": "exact_scores", "alignment": "alignments"}
"""The account that each kind of exact event is counted against; sizes are a contract's term."""
_COUNTED_WORDS = {"exact_scores": "exact scores", "alignments": "alignments"}
_NAMED_RUNS = 5


def fold(name: str) -> str:
    """Return the form in which two spellings of one name are equal (Unicode NFKC, case folded).

    Privacy: another letter case, width or spacing must not open a second account.
    """
    once = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", once).split())


@dataclass(frozen=True, slots=True)
class Window:
    """How far back an account looks: `days` rolling days, or for life (None)."""

    name: WindowName
    days: int | None

    @property
    def title(self) -> str:
        """Return the words for it: `lifetime`, `30 days`, `uses a day`."""
        if self.name == "period":
            return f"{self.days} days"
        if self.name in _COUNTED_WORDS:
            return f"{_COUNTED_WORDS[self.name]} for life"
        return self.name.replace("_", " a ")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose people, and which uses of them: None means every one.

    A root scope has no dataset: all datasets about one population share its accounts.
    """

    population: str
    dataset: str | None = None
    purpose: str | None = None
    requester: str | None = None

    @property
    def key(self) -> tuple[str | None, ...]:
        """Return what two spellings of one scope have in common."""
        parts = (self.population, self.dataset, self.purpose, self.requester)
        return tuple(None if part is None else fold(part) for part in parts)

    def covers(self, use: "Scope") -> bool:
        """Return whether the fully named `use` falls under this scope."""
        return all(mine in (None, theirs) for mine, theirs in zip(self.key, use.key, strict=True))


@dataclass(frozen=True, slots=True)
class EpsilonLimit:
    """A cap (epsilon, delta) and the filter it was given when the account opened."""

    epsilon: float
    delta: float
    terms: FilterTerms


@dataclass(frozen=True, slots=True)
class UsesLimit:
    """At most `allowed` runs; a run counts once, from its reservation on, given back or not."""

    allowed: int


@dataclass(frozen=True, slots=True)
class ExactLimit:
    """At most `allowed` of what no epsilon bounds, for life; what was not sent does not count."""

    allowed: int


@dataclass(frozen=True, slots=True)
class Account:
    """One limit on one scope over one window."""

    scope: Scope
    window: Window
    limit: EpsilonLimit | UsesLimit | ExactLimit

    @property
    def key(self) -> tuple[str | None, ...]:
        """Return what identifies the account: its scope and the window's name, not its terms."""
        return (*self.scope.key, self.window.name)

    @property
    def title(self) -> str:
        """Return the account's name for people: `lifetime of cards, purpose lookalike`."""
        scope = self.scope
        parts = [f"{self.window.title} of {scope.dataset or scope.population}"]
        parts += [f"purpose {scope.purpose}"] if scope.purpose else []
        parts += [f"requester {scope.requester}"] if scope.requester else []
        return ", ".join(parts)

    @property
    def stated(self) -> tuple[float | int | None, ...]:
        """Return what the contract states; the filter's order is ours, fixed when it opened."""
        if isinstance(self.limit, UsesLimit | ExactLimit):
            return (self.window.days, self.limit.allowed)
        return (self.window.days, self.limit.epsilon, self.limit.delta)


@dataclass(frozen=True, slots=True)
class DatasetAccounts:
    """The accounts that a contract's caps give one dataset, its population's root among them."""

    dataset: str
    population: str
    accounts: tuple[Account, ...]


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


def accounts_for(collaboration: Collaboration, dataset: Dataset) -> DatasetAccounts:
    """Return the accounts that the contract's caps give `dataset`.

    Raises: CapConflict, when two caps differ in spelling of a scope only and state other terms.
    """
    found: dict[tuple[str | None, ...], Account] = {}
    for cap in collaboration.caps:
        if fold(cap.dataset) != fold(dataset.name):
            continue
        for account in _accounts_of(cap, dataset):
            first = found.setdefault(account.key, account)
            if first.stated != account.stated:
                raise CapConflict(account=account.title, problem="two caps name one scope")
    return DatasetAccounts(dataset.name, dataset.population, tuple(found.values()))


def _accounts_of(cap: Cap, dataset: Dataset) -> list[Account]:
    root = cap.purpose is None and cap.requester is None
    named = None if root else dataset.name
    scope = Scope(dataset.population, named, cap.purpose, cap.requester)
    accounts = []
    epsilons: tuple[tuple[Window, float | None], ...] = (
        (Window("period", cap.period_days), cap.period_epsilon),
        (Window("lifetime", None), cap.lifetime_epsilon),
    )
    for window, epsilon in epsilons:
        if epsilon is not None:
            terms = filter_terms(epsilon, cap.delta)
            accounts.append(Account(scope, window, EpsilonLimit(epsilon, cap.delta, terms)))
    uses: tuple[tuple[Window, int | None], ...] = (
        (Window("uses_day", 1), cap.uses_per_day),
        (Window("uses_week", 7), cap.uses_per_week),
        (Window("uses_month", 30), cap.uses_per_month),
        (Window("uses_lifetime", None), cap.uses_lifetime),
    )
    for window, allowed in uses:
        if allowed is not None:
            accounts.append(Account(scope, window, UsesLimit(allowed)))
    exact: tuple[tuple[Window, int | None], ...] = (
        (Window("exact_scores", None), cap.exact_scores_lifetime),
        (Window("alignments", None), cap.alignments_lifetime),
    )
    for window, allowed in exact:
        if allowed is not None:
            accounts.append(Account(scope, window, ExactLimit(allowed)))
    return accounts


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
                what=_COUNTED_WORDS[window],
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
