"""What an account has left, in the contract's own unit: epsilon at the cap's delta.

Guarantee: `spent` is the cap times the used share of its Renyi budget, rounded up, with what is
reserved; so `spent` reaches the cap when the filter refuses. It is a measure of the budget, not
the epsilon lost: that comes from an accountant over the stored events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedmkt.privacy.accounts import (
    EpsilonLimit,
    ExactLimit,
    Scope,
    UsesLimit,
    WindowName,
)
from fedmkt.privacy.filter import spent_epsilon
from fedmkt.privacy.ledger import Standing


@dataclass(frozen=True, slots=True)
class UsesBalance:
    """What is allowed and used within one window: runs, or units of an exact count."""

    window: WindowName
    allowed: int
    used: int

    @property
    def left(self) -> int:
        """What may still be used; 0 where a cap agreed on later finds more used than it allows."""
        return max(0, self.allowed - self.used)


@dataclass(frozen=True, slots=True)
class Balance:
    """One scope's balance; None where the contract sets no such cap. Amounts in epsilon.

    *_nano: the same in nano-RDP at the account's own order, as the filter counts it.
    """

    dataset: str
    population: str
    purpose: str | None = None
    requester: str | None = None
    delta: float | None = None
    period_days: int | None = None
    period_cap: float | None = None
    period_spent: float | None = None
    period_left: float | None = None
    period_used_nano: int | None = None
    period_budget_nano: int | None = None
    lifetime_cap: float | None = None
    lifetime_spent: float | None = None
    lifetime_left: float | None = None
    lifetime_used_nano: int | None = None
    lifetime_budget_nano: int | None = None
    uses: tuple[UsesBalance, ...] = ()


@dataclass(frozen=True, slots=True)
class _Side:
    """The period's or the lifetime's half of a balance."""

    cap: float | None = None
    spent: float | None = None
    left: float | None = None
    used_nano: int | None = None
    budget_nano: int | None = None
    delta: float | None = None
    days: int | None = None


def balance_of(dataset: str, root: Scope, standings: Sequence[Standing]) -> Balance:
    """Return the balance of the one scope that `standings` share (none of them: `root`'s)."""
    scope = standings[0].account.scope if standings else root
    period, lifetime = _side(standings, "period"), _side(standings, "lifetime")
    return Balance(
        dataset=dataset,
        population=scope.population,
        purpose=scope.purpose,
        requester=scope.requester,
        delta=lifetime.delta or period.delta,
        period_days=period.days,
        period_cap=period.cap,
        period_spent=period.spent,
        period_left=period.left,
        period_used_nano=period.used_nano,
        period_budget_nano=period.budget_nano,
        lifetime_cap=lifetime.cap,
        lifetime_spent=lifetime.spent,
        lifetime_left=lifetime.left,
        lifetime_used_nano=lifetime.used_nano,
        lifetime_budget_nano=lifetime.budget_nano,
        uses=tuple(
            UsesBalance(one.account.window.name, one.account.limit.allowed, one.used)
            for one in standings
            if isinstance(one.account.limit, UsesLimit | ExactLimit)
        ),
    )


def _side(standings: Sequence[Standing], name: WindowName) -> _Side:
    for one in standings:
        limit = one.account.limit
        if one.account.window.name == name and isinstance(limit, EpsilonLimit):
            budget = limit.terms.budget_nano
            spent = spent_epsilon(limit.epsilon, one.used, budget)
            left = max(0.0, limit.epsilon - spent)
            days = one.account.window.days
            return _Side(limit.epsilon, spent, left, one.used, budget, limit.delta, days)
    return _Side()
