"""What a job would do at this node: what would leave, what it would cost, what would be refused.

Guarantee: nothing runs, nothing is spent, nothing leaves; the ledger's judgement is made in a
transaction that is rolled back. No customer data are read.
"""

from dataclasses import dataclass

from fedmkt.contract.job import Job
from fedmkt.core.errors import Refusal
from fedmkt.horizontal.plan import SumPlan
from fedmkt.node.home import NodeHome
from fedmkt.node.training import PricedJob, price, reservation_for
from fedmkt.node.wording import noise_words
from fedmkt.privacy.ledger import accounts_for
from fedmkt.storage.balances import Balance

BYTES_A_VALUE = 8
_NO_RUN = "(dry run)"  # no run can be named so


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would happen. epsilon: infinite without noise. refusal: why not, or None."""

    member: str
    job: str
    leaves: tuple[str, ...]
    epsilon: float | None
    delta: float
    left_before: tuple[Balance, ...]
    left_after: tuple[Balance, ...]
    refusal: Refusal | None


class _RollBackError(Exception):
    """Ends the trial transaction without keeping anything of it."""


def dry_run(home: NodeHome, job: Job) -> DryRun:
    """Judge a job as if it were asked now."""
    try:
        priced = price(home, job)
    except Refusal as refusal:
        return DryRun(home.member, job.name, (), None, job.privacy.delta, (), (), refusal)
    before, after, refused = _trial(home, priced)
    return DryRun(
        member=home.member,
        job=job.name,
        leaves=_leaves(priced),
        epsilon=priced.epsilon,
        delta=job.privacy.delta,
        left_before=before,
        left_after=after,
        refusal=refused,
    )


def _trial(
    home: NodeHome, priced: PricedJob
) -> tuple[tuple[Balance, ...], tuple[Balance, ...], Refusal | None]:
    before: tuple[Balance, ...] = ()
    after: tuple[Balance, ...] = ()
    try:
        with home.store.transaction() as tx:
            home.ledger.open_accounts(tx, accounts_for(home.contract, priced.dataset))
            before = _of(home.ledger.balances(tx), priced)
            home.ledger.reserve(tx, reservation_for(_NO_RUN, priced))
            after = _of(home.ledger.balances(tx), priced)
            raise _RollBackError
    except _RollBackError:
        return before, after, None
    except Refusal as refusal:
        return before, before, refusal


def _of(balances: tuple[Balance, ...], priced: PricedJob) -> tuple[Balance, ...]:
    return tuple(balance for balance in balances if balance.dataset == priced.dataset.name)


def _leaves(priced: PricedJob) -> tuple[str, ...]:
    return tuple(
        f"{release.name}: {_size(plan)}, masked; {noise_words(release.event)}"
        for plan, release in zip(priced.sums, priced.releases, strict=True)
    )


def _size(plan: SumPlan) -> str:
    most = "at most " if plan.at_most else ""
    return f"{most}{plan.length} numbers ({plan.length * BYTES_A_VALUE:,} bytes)"
