"""What a job would do at this node: what would leave, what it would cost, what would be refused.

Guarantee: nothing runs, nothing is spent, nothing leaves; the ledger's judgement is made in a
transaction that is rolled back. No customer data are read.
"""

from dataclasses import dataclass

from fedmkt.contract.job import AnyJob
from fedmkt.core.errors import Refusal
from fedmkt.node.answer import Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.programs import program_for
from fedmkt.privacy.accounts import accounts_for
from fedmkt.storage.balances import Balance

_NO_RUN = "(dry run)"  # no run can be named so


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would happen. epsilon: infinite without noise. refusal: why not, or None."""

    member: str
    job: str
    leaves: tuple[str, ...]
    epsilon: float | None
    delta: float | None
    left_before: tuple[Balance, ...]
    left_after: tuple[Balance, ...]
    refusal: Refusal | None


class _RollBackError(Exception):
    """Ends the trial transaction without keeping anything of it."""


def dry_run(home: NodeHome, job: AnyJob) -> DryRun:
    """Judge a job as if it were asked now."""
    try:
        priced: Priced = program_for(job).price(home, job)
    except Refusal as refusal:
        return DryRun(home.member, job.name, (), None, None, (), (), refusal)
    before, after, refused = _trial(home, priced)
    return DryRun(
        member=home.member,
        job=job.name,
        leaves=priced.leaves,
        epsilon=priced.epsilon,
        delta=priced.delta,
        left_before=before,
        left_after=after,
        refusal=refused,
    )


def _trial(
    home: NodeHome, priced: Priced
) -> tuple[tuple[Balance, ...], tuple[Balance, ...], Refusal | None]:
    before: tuple[Balance, ...] = ()
    after: tuple[Balance, ...] = ()
    try:
        with home.store.transaction() as tx:
            requester, allowed = priced.job.requester, home.settings.runs_per_hour
            too_often = home.begun.begin(tx, _NO_RUN, requester, allowed=allowed)
            home.ledger.open_accounts(tx, accounts_for(home.contract, priced.dataset))
            before = _of(home.ledger.balances(tx), priced)
            if too_often is not None:
                raise too_often
            home.ledger.reserve(tx, priced.reservation(_NO_RUN))
            after = _of(home.ledger.balances(tx), priced)
            raise _RollBackError
    except _RollBackError:
        return before, after, None
    except Refusal as refusal:
        return before, before, refusal


def _of(balances: tuple[Balance, ...], priced: Priced) -> tuple[Balance, ...]:
    return tuple(balance for balance in balances if balance.dataset == priced.dataset.name)
