"""From a finished study to its report: reads ledgers, audit logs and receipts; measures models."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedmkt import __version__
from fedmkt.contract.job import Job
from fedmkt.contract.signatures import directory_of
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.training import Outcome
from fedmkt.core.errors import FedmktError
from fedmkt.evidence.receipts import Receipt, verify_receipt
from fedmkt.evidence.report import (
    Audit,
    Balance,
    Budget,
    Curve,
    Data,
    Interval,
    KnownToSeveral,
    ModelResult,
    Partner,
    Protection,
    RefusalShown,
    Report,
    Round,
    Shape,
)
from fedmkt.identity.hash_chain import Head, Verified, verify_chain
from fedmkt.identity.keys import PublicIdentity
from fedmkt.models.additive import AdditiveModel
from fedmkt.node.app import node_at
from fedmkt.node.home import NodeHome
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.simulation.demo_plan import DELTA, Arm
from fedmkt.simulation.evaluation_data import PublicTable
from fedmkt.simulation.world import World

ALL_PURPOSES = "all purposes"
CITATION = (
    "Becker, B. and Kohavi, R. (1996). Adult. UCI Machine Learning Repository. doi:10.24432/C5XW20"
)


@dataclass(frozen=True, slots=True)
class Trained:
    """One finished run: its arm, its job, its outcome, where it ran, and each round measured."""

    arm: Arm
    job: Job
    outcome: Outcome
    world: World
    rounds: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, slots=True)
class Twin:
    """A model trained without any exchange: by one partner alone, or (None) on pooled rows."""

    partner: str | None
    model: AdditiveModel
    rounds: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Study:
    """Everything a report is drawn from."""

    seed: int | None
    public: PublicTable
    rows: Mapping[str, int]
    trained: Mapping[str, list[Trained]]
    refused: FedmktError
    worlds: tuple[World, ...]
    twins: tuple[Twin, ...]


def build_report(study: Study) -> Report:
    """Return the report of a study."""
    heads = {name: _median_draw(study, runs) for name, runs in study.trained.items()}
    receipts = [
        (trained, _receipts(trained)) for runs in study.trained.values() for trained in runs
    ]
    first = study.worlds[0]
    return Report(
        schema_version=1,
        seed=0 if study.seed is None else study.seed,
        version=__version__,
        created=datetime.now(UTC),
        noise_source=next(
            r.noise_source for _, all_of in receipts for r in all_of.values() if r.noise_source
        ),
        data=_data(study),
        partners=_partners(study),
        models=(
            *(_twin_model(study, twin) for twin in study.twins),
            *(_model(study, runs, heads[name]) for name, runs in study.trained.items()),
        ),
        budget=tuple(
            row for member in first.members for row in _budget(node_at(first.node(member)).home)
        ),
        refusals=_refusals(first),
        audit=tuple(_audit(study.worlds, member) for member in first.members),
        protection=tuple(
            _protection(trained, all_of, shown=trained is heads[trained.arm.name])
            for trained, all_of in receipts
        ),
        curves=tuple(_curve(study, one) for one in heads.values()),
        shapes=tuple(s for one in heads.values() for s in _shapes(study, one)),
        rounds=tuple(
            Round(model=name, round=number, loss=loss, auc=auc)
            for name, one in heads.items()
            for number, loss, auc in one.rounds
        ),
        known_to_several=tuple(_known(one, first.members) for one in _noised(heads)),
        notes=_notes(study),
    )


def _median_draw(study: Study, runs: list[Trained]) -> Trained:
    """Return the run whose AUC is the median of its arm's draws (their number is odd)."""
    ordered = sorted(runs, key=lambda one: study.public.auc(one.outcome.model).value)
    return ordered[len(ordered) // 2]


def _noised(heads: Mapping[str, Trained]) -> list[Trained]:
    return [one for one in heads.values() if one.arm.epsilon is not None]


def _interval(study: Study, model: AdditiveModel) -> Interval:
    measured = study.public.auc(model)
    return Interval(value=measured.value, low=measured.low, high=measured.high)


def _data(study: Study) -> Data:
    return Data(
        name="Adult (UCI), official split",
        rows_training=sum(study.rows.values()),
        rows_evaluation=study.public.frame.height,
        citation=CITATION,
        licence="CC BY 4.0",
    )


def _partners(study: Study) -> tuple[Partner, ...]:
    alone = {twin.partner: twin for twin in study.twins}
    return tuple(
        Partner(name=name, rows=rows, auc=_interval(study, alone[name].model))
        for name, rows in study.rows.items()
    )


def _twin_model(study: Study, twin: Twin) -> ModelResult:
    return ModelResult(
        name=f"{twin.partner} alone" if twin.partner else "pooled twin",
        family="additive",
        training="alone" if twin.partner else "pooled",
        trust="none",
        features=tuple(feature.name for feature in twin.model.binning.features),
        epsilon=None,
        delta=None,
        auc=_interval(study, twin.model),
        rounds=twin.rounds,
        exchanges=0,
        bytes_up=0,
        bytes_down=0,
        wall_s=twin.wall_s,
    )


def _model(study: Study, runs: list[Trained], head: Trained) -> ModelResult:
    job, outcome = head.job, head.outcome
    draws = tuple(study.public.auc(one.outcome.model).value for one in runs)
    return ModelResult(
        name=head.arm.name,
        family=job.model.family,
        training="federated",
        trust=job.privacy.trust,
        features=job.features,
        epsilon=job.privacy.epsilon,
        delta=None if job.privacy.epsilon is None else job.privacy.delta,
        auc=_interval(study, outcome.model),
        rounds=outcome.state.round,
        exchanges=outcome.exchanges,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        wall_s=statistics.median(one.outcome.wall_s for one in runs),
        draws=draws if len(draws) > 1 else (),
        max_bins=job.model.max_bins,
        noise_multiplier=job.privacy.noise_multiplier,
        shares=1 if job.privacy.trust == "local" else None,
    )


def _budget(home: NodeHome) -> tuple[Budget, ...]:
    with home.store.transaction() as tx:
        balances = home.ledger.balances(tx)
        entries = home.ledger.entries(tx)
    rows = []
    for one in balances:
        if one.lifetime_cap is None or one.period_cap is None:
            continue
        events = [e.event for e in entries if e.dataset == one.dataset and e.state != "returned"]
        rows.append(
            Budget(
                partner=home.member,
                dataset=one.dataset,
                purpose=one.purpose or ALL_PURPOSES,
                period=_window(one.period_cap, one.period_spent, one.period_left),
                lifetime=_window(one.lifetime_cap, one.lifetime_spent, one.lifetime_left),
                period_days=one.period_days,
                delta=one.delta,
                reported_epsilon=epsilon_of(events, one.delta or DELTA),
            )
        )
    return tuple(rows)


def _window(cap: float, spent: float | None, left: float | None) -> Balance:
    return Balance(cap=cap, spent=spent, left=left)


def _refusals(world: World) -> tuple[RefusalShown, ...]:
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


def _audit(worlds: tuple[World, ...], member: str) -> Audit:
    """Verify a partner's logs against the latest heads that the other members countersigned."""
    records, verified, head = 0, True, ""
    witnesses = set(worlds[0].members) - {member}
    for number, world in enumerate(worlds):
        held = _heads_held(world, member)
        witnesses &= set(held)
        try:
            results = [_verified(world.node(member), seen) for seen in held.values()]
        except FedmktError:
            verified = False
            continue
        verified &= bool(results)
        records += max((result.records for result in results), default=0)
        head = str(results[0].head) if number == 0 and results else head
    return Audit(
        partner=member,
        records=records,
        verified=verified,
        head=head,
        countersigned_by=tuple(sorted(witnesses)),
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


def _receipts(trained: Trained) -> dict[str, Receipt]:
    home = open_coordinator(trained.world.coordinator)
    directory = directory_of(home.contract)
    return {
        member: verify_receipt(data, directory[member], member)
        for member, data in trained.outcome.receipts.items()
    }


def _protection(trained: Trained, receipts: Mapping[str, Receipt], *, shown: bool) -> Protection:
    everybody = set(receipts) == set(trained.job.members)
    return Protection(
        run=trained.outcome.run,
        masked=everybody and all(receipt.masked for receipt in receipts.values()),
        noised=everybody and all(receipt.noised for receipt in receipts.values()),
        model=trained.arm.name if shown else "",
        receipts=tuple(sorted(receipts)),
    )


def _curve(study: Study, one: Trained) -> Curve:
    band = study.public.curve(one.outcome.model)
    return Curve(
        model=one.arm.name,
        fpr=tuple(band.fpr),
        tpr=tuple(band.tpr),
        low=tuple(band.low),
        high=tuple(band.high),
    )


def _shapes(study: Study, one: Trained) -> list[Shape]:
    model, schema = one.outcome.model, study.public.schema
    shapes = []
    for feature in model.binning.features:
        column = schema.column(feature.name)
        labels, effects = model.shape(feature.name)
        shapes.append(
            Shape(
                model=one.arm.name,
                feature=feature.name,
                unit=column.unit,
                ordered=feature.ordered,
                labels=labels,
                edges=feature.edges,
                effects=tuple(effects),
                scale=column.scale,
            )
        )
    return shapes


def _known(one: Trained, members: tuple[str, ...]) -> KnownToSeveral:
    """Price one model for a customer whom every partner knows: all their releases composed."""
    receipts = _receipts(one)
    events = [s.release().event for receipt in receipts.values() for s in receipt.releases]
    return KnownToSeveral(
        model=one.arm.name, partners=len(members), epsilon=epsilon_of(events, DELTA)
    )


def _notes(study: Study) -> tuple[str, ...]:
    draws = len(study.worlds)
    source = (
        "Noise came from the operating system's generator, as in a deployment."
        if study.seed is None
        else "Noise came from a reproducible source, as --seed asks: whoever knows the seed can "
        "take it off again, so a deployed node refuses it."
    )
    return (
        "Each epsilon ran on a fresh copy of the demonstration's accounts. Run one after another "
        "on the same customers they would add up and cost more than any of them alone.",
        f"AUC with noise is the median of {draws} draws, each in accounts of its own; budgets and "
        "refusals are those of the first draw.",
        "The comparison without noise is an unprotected run: its sums were masked but carried no "
        "noise. The contract allows it for this public dataset alone, in an account of its own "
        "that counts uses, since no epsilon bounds it.",
        "AUC is measured on Adult's official test rows, which are public; nothing was charged "
        "for it. Models of a partner alone never left that partner in the simulation; their "
        "figures are shown because the data are public.",
        "Bin edges and categories come from the declared public schema. Bin counts and the share "
        "of prospects are part of the first noised sum and charged with it.",
        "Epsilon holds for each partner's release by itself. Every customer is known to one "
        "partner here; for a customer known to all three, see the figures for several partners.",
        "race and sex are kept for audits and are features of no model here.",
        source,
    )
