"""The accounts that a contract's caps open: on whose people, over which window, up to what.

Guarantee: two spellings of a name (letter case, width, spacing) open one account, and caps without
purpose and requester are shared by all datasets about one population.
Not guaranteed: two populations that hold the same people under different names are two accounts
here; the contract must name them alike.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset
from fedmkt.core.errors import CapConflict
from fedmkt.privacy.filter import FilterTerms, filter_terms

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
COUNTED: dict[str, WindowName] = {
    "scores": "exact_scores",
    "activations": "exact_scores",
    "alignment": "alignments",
}
"""The account that each kind of exact event is counted against; sizes are a contract's term."""
COUNTED_WORDS = {"exact_scores": "exact scores", "alignments": "alignments"}


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
        if self.name in COUNTED_WORDS:
            return f"{COUNTED_WORDS[self.name]} for life"
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
