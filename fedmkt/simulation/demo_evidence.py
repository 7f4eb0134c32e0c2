"""The evidence half of a demonstration's report: budgets, refusals, audit logs and receipts.

Guarantee: budgets are read from the nodes' own ledgers, refusals from their audit logs, protection
from receipts that verified, and a log counts as verified only against the heads that the other
members countersigned and hold in their own stores.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedmkt.contract.signatures import directory_of
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.coordinator.summed_training import Outcome
from fedmkt.core.errors import FedmktError
from fedmkt.evidence.receipts import Receipt, verify_receipt
from fedmkt.evidence.report import (
    Audit,
    Budget,
    CapUse,
    KnownToSeveral,
    Protection,
    RefusalShown,
    UsesShown,
)
from fedmkt.identity.hash_chain import Head, Verified, verify_chain
from fedmkt.identity.keys import PublicIdentity
from fedmkt.models.kept import AnyModel
from fedmkt.node.app import node_at
from fedmkt.node.home import NodeHome
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.accounts import WindowName
from fedmkt.privacy.events import ExactEvent
from fedmkt.simulation.demo_plan import DELTA
from fedmkt.simulation.demo_study import Trained
from fedmkt.simulation.world import World
from fedmkt.storage.balances import Balance
from fedmkt.storage.losses import epsilon_lost

ALL_PURPOSES = "all purposes"


def budgets_of(home: NodeHome) -> tuple[Budget, ...]:
    """Return every scope of a node's ledger, capped or not."""
    with home.store.transaction() as tx:
        balances = home.ledger.balances(tx)
        entries = home.ledger.entries(tx)
    rows = []
    for one in balances:
        lost = epsilon_lost(one, balances, entries)
        rows.append(
            Budget(
                partner=home.member,
                dataset=one.dataset,
                purpose=one.purpose or ALL_PURPOSES,
                period=CapUse(cap=one.period_cap, spent=one.period_spent, left=one.period_left),
                lifetime=CapUse(
                    cap=one.lifetime_cap, spent=one.lifetime_spent, left=one.lifetime_left
                ),
                period_days=one.period_days,
                delta=one.delta,
                reported_epsilon=lost if math.isfinite(lost) else None,
                exact_scores=_counted(one, "exact_scores"),
                alignments=_counted(one, "alignments"),
            )
        )
    return tuple(rows)


def _counted(balance: Balance, window: WindowName) -> UsesShown | None:
    """Return a count for life of what no epsilon bounds, where the contract caps it."""
    for uses in balance.uses:
        if uses.window == window:
            return UsesShown(allowed=uses.allowed, used=uses.used)
    return None


def refusals_of(world: World) -> tuple[RefusalShown, ...]:
    """Return what each node's own audit log says it refused, with its reason."""
    shown = []
    for member in world.members:
        for line in (world.node(member) / "audit.log").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            facts = record["facts"]
            if record["kind"] == "refused":
                shown.append(
                    RefusalShown(
                        partner=member,
                        job=facts["job"],
                        code=facts["code"],
                        message=facts["reason"],
                    )
                )
    return tuple(shown)


@dataclass(frozen=True, slots=True)
class _Checked:
    """One log against the heads that others hold of it. records: 0 where it does not verify."""

    held: Mapping[str, Head]
    verified: bool
    records: int


def audit_of(worlds: Sequence[World], member: str) -> Audit:
    """Verify a partner's logs against the heads that the other members countersigned.

    The figures are those of the log in the first world; `verified` speaks for all of them.
    """
    checked = [_checked(world, member) for world in worlds]
    first = checked[0]
    latest = max(first.held.values(), key=lambda head: head.sequence, default=None)
    return Audit(
        partner=member,
        records=first.records,
        verified=all(one.verified for one in checked),
        head="" if latest is None else str(latest),
        countersigned_by=tuple(other for other, head in first.held.items() if head == latest),
        after_head=max(0, first.records - latest.sequence) if latest else 0,
    )


def _checked(world: World, member: str) -> _Checked:
    held = _heads_held(world, member)
    try:
        results = [_verified(world.node(member), seen) for seen in held.values()]
    except FedmktError:
        return _Checked(held, verified=False, records=0)
    # Of a log whose head nobody else holds, a cut tail could not be noticed.
    return _Checked(held, bool(results), max((one.records for one in results), default=0))


def receipts_of(world: World, outcome: Outcome[AnyModel] | SharedOutcome) -> dict[str, Receipt]:
    """Return the run's receipts, each verified with its member's key. Raises: SignatureInvalid."""
    home = open_coordinator(world.coordinator)
    directory = directory_of(home.contract)
    return {
        member: verify_receipt(data, directory[member], member)
        for member, data in outcome.receipts.items()
    }


def protection_of(
    run: str, members: Sequence[str], receipts: Mapping[str, Receipt], *, model: str = ""
) -> Protection:
    """Return what protected a run of `members`. model: the model it trained, if it is reported."""
    everybody = set(receipts) == set(members)
    exact = {member: _exact(receipt) for member, receipt in receipts.items()}
    # A member that released nothing has nothing to mask; one that released only what is counted
    # has nothing to put noise on.
    sent = [one for one in receipts.values() if one.releases]
    priced = [one for one in sent if exact[one.member] < len(one.releases)]
    return Protection(
        run=run,
        masked=everybody and bool(sent) and all(one.masked for one in sent),
        noised=everybody and bool(priced) and all(one.noised for one in priced),
        model=model,
        receipts=tuple(sorted(receipts)),
        epsilon={one.member: one.epsilon for one in priced if one.epsilon is not None},
        exact={member: count for member, count in exact.items() if count},
    )


def _exact(receipt: Receipt) -> int:
    """Return how many of a receipt's releases are counted, since no epsilon bounds them."""
    return sum(isinstance(one.release().event, ExactEvent) for one in receipt.releases)


def known_to_several(one: Trained, receipts: Mapping[str, Receipt]) -> KnownToSeveral:
    """Price a model for a customer whom every partner knows: all their releases composed."""
    events = [s.release().event for receipt in receipts.values() for s in receipt.releases]
    return KnownToSeveral(
        model=one.name, partners=len(one.job.members), epsilon=epsilon_of(events, DELTA)
    )


def _verified(home: Path, seen: Head) -> Verified:
    key = PublicIdentity((home / "audit.pub").read_text(encoding="ascii").strip())
    with (home / "audit.log").open("rb") as log:
        return verify_chain(log, key, seen, "audit.log")


def _heads_held(world: World, member: str) -> dict[str, Head]:
    """Return the latest head of `member` that each other member holds in its own store."""
    held = {}
    for other in world.members:
        home = node_at(world.node(other)).home
        with home.store.transaction() as tx:
            known = home.runs.heads(tx)
        if other != member and member in known:
            held[other] = known[member]
    return held
