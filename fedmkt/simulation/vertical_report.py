"""From a finished vertical study to its report.

Guarantee: every figure was measured in this study: read at the nodes, from receipts that verified,
from the coordinator's own counts, or from a comparison trained here and named as one.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fedmkt import __version__
from fedmkt.contract.vertical_jobs import AlignmentJob, OverlapJob, SharedJob
from fedmkt.evidence.receipts import Receipt
from fedmkt.evidence.report import Data, Report
from fedmkt.evidence.shared_parts import Alignment, OverlapShown, RunCost
from fedmkt.node.alignments import read_alignment
from fedmkt.security.psi.size_noise import overlap_sensitivity
from fedmkt.simulation.demo_evidence import (
    audit_of,
    budgets_of,
    protection_of,
    receipts_of,
    refusals_of,
)
from fedmkt.simulation.demo_measures import CITATION
from fedmkt.simulation.vertical_extras import column_inference, explained, students_of
from fedmkt.simulation.vertical_measures import (
    TWIN,
    compare,
    compared_model,
    curves_of,
    partners_of,
    run_model,
    shapes_of,
    value_of,
)
from fedmkt.simulation.vertical_plan import JOINT, OWNER
from fedmkt.simulation.vertical_rows import Together, bring_together
from fedmkt.simulation.vertical_study import Done, VerticalStudy

Receipts = Mapping[str, Mapping[str, Receipt]]


def build_report(study: VerticalStudy) -> Report:
    """Return the report of a study. Raises: SignatureInvalid (a receipt does not verify)."""
    receipts = {run: receipts_of(study.world, done.outcome) for run, done in study.runs.items()}
    together = bring_together(study)
    compared = compare(together)
    models = (
        *(run_model(study, run, receipts[run][OWNER]) for run in study.trainings),
        *(compared_model(together, one) for one in compared.values()),
    )
    members = study.world.members
    return Report(
        schema_version=1,
        story="vertical",
        seed=study.seed,
        version=__version__,
        created=datetime.now(UTC),
        noise_source=study.home(OWNER).noise.name,
        data=_data(together),
        partners=partners_of(together, compared),
        models=models,
        budget=tuple(row for member in members for row in budgets_of(study.home(member))),
        refusals=refusals_of(study.world),
        audit=tuple(audit_of([study.world], member) for member in members),
        protection=tuple(
            protection_of(
                run,
                _job(done).members,
                receipts[run],
                model=run if run in study.trainings else "",
            )
            for run, done in study.runs.items()
        ),
        curves=curves_of(together, compared),
        shapes=shapes_of(study),
        overlaps=_overlaps(study),
        alignment=_alignments(study),
        value=value_of(together, compared),
        column_inference=column_inference(together),
        students=students_of(study, _expansion_epsilons(study, receipts)),
        explained=explained(study),
        runs=tuple(_cost(run, done) for run, done in study.runs.items()),
        notes=_notes(study, {model.name: model.auc.value for model in models}),
    )


def _data(together: Together) -> Data:
    return Data(
        name="Adult (UCI), its columns split over four members",
        rows_training=together.training,
        rows_evaluation=len(together.held_out),
        citation=CITATION,
        licence="CC BY 4.0",
    )


def _overlaps(study: VerticalStudy) -> tuple[OverlapShown, ...]:
    shown = []
    for run, done in study.runs.items():
        if not isinstance(done.job, OverlapJob):
            continue
        minimum = max(
            dataset.minimum_overlap
            for party in done.job.parties
            if (dataset := study.home(OWNER).contract.dataset(party.dataset)) is not None
        )
        told = done.outcome.facts["overlap"]
        shown.append(
            OverlapShown.model_validate(
                {
                    "run": run,
                    "members": done.job.members,
                    "key": done.job.key,
                    "overlap": told,
                    "minimum": minimum,
                    # Either member puts its noise in.
                    "noise": math.sqrt(2) * done.job.privacy.noise_multiplier,
                }
            )
        )
    return tuple(shown)


def _alignments(study: VerticalStudy) -> tuple[Alignment, ...]:
    return tuple(
        _alignment(study, run, done.job, done)
        for run, done in study.runs.items()
        if isinstance(done.job, AlignmentJob)
    )


def _alignment(study: VerticalStudy, run: str, job: AlignmentJob, done: Done) -> Alignment:
    facts: Mapping[str, Any] = done.outcome.facts
    overlap, sizes = facts["overlap"], facts["sizes"]
    counts = {member: read_alignment(study.home(member), run).counts for member in job.members}
    return Alignment.model_validate(
        {
            "run": run,
            "members": job.members,
            "keys": job.keys,
            "sizes": {member: max(0, sizes[member]) for member in job.members},
            "intersection": max(0, overlap[job.requester]),
            "match_rate": {
                member: min(1.0, max(0.0, overlap[member] / sizes[member]))
                for member in job.members
            },
            "duplicates": {member: one.duplicates for member, one in counts.items()},
            "opted_out": {member: one.opted_out for member, one in counts.items()},
            "noise": _overlap_noise(job),
            "exchanges": done.outcome.exchanges,
            "bytes_up": done.outcome.bytes_up,
            "bytes_down": done.outcome.bytes_down,
            "wall_s": done.outcome.wall_s,
        }
    )


def _overlap_noise(job: AlignmentJob) -> float:
    """Return the standard deviation of the overlap's noise, in customers; no size has more."""
    if job.privacy is None:
        return 0.0
    moved = overlap_sensitivity(columns=len(job.keys), members=len(job.members))
    return moved * job.privacy.noise_multiplier


def _cost(run: str, done: Done) -> RunCost:
    outcome, job = done.outcome, _job(done)
    return RunCost(
        run=run,
        kind=job.kind,
        members=job.members,
        exchanges=outcome.exchanges,
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        wall_s=outcome.wall_s,
        seconds=dict(outcome.seconds),
    )


def _job(done: Done) -> SharedJob:
    assert isinstance(done.job, SharedJob)
    return done.job


def _expansion_epsilons(study: VerticalStudy, receipts: Receipts) -> dict[str, float]:
    return {run: receipts[run][OWNER].epsilon or 0.0 for run in study.expansions}


def _notes(study: VerticalStudy, auc: Mapping[str, float]) -> tuple[str, ...]:
    source = (
        "Noise came from the operating system's generator, as in a deployment."
        if study.seed is None
        else "Noise came from a reproducible source, as --seed asks: whoever knows the seed can "
        "take it off again, so a deployed node refuses it."
    )
    return (
        "All columns but the weather service's are Adult's, one person a row. Names, addresses, "
        "telephone numbers, customer keys, consent, who is whose customer, and all that the "
        "weather service knows are made.",
        "AUC, lift and gain are measured on the holdout: aligned customers whom no training used. "
        "It says nothing of customers whom only one member knows; the audience expansions do, on "
        "Adult's official test rows, which are public.",
        f"The {OWNER}'s own model is trained at its node without noise, since it never leaves; "
        "trainings with partners carry noise. A partner that knows nothing useful can so lower the "
        f"AUC. Without noise the joint model reaches {auc[TWIN]:.3f}, with it {auc[JOINT]:.3f}.",
        "A model of one partner's columns alone, and the twin without noise, were trained in one "
        f"place under the {OWNER}'s labels. They are there for comparison; no deployment could "
        "make them.",
        "A training's epsilon is about the label of an aligned customer, not about who is a "
        "customer, and holds against coordinator and partners together, as long as partners follow "
        "the protocol. Trainings add up: see Budgets for what all of them cost.",
        f"Columns have no differential privacy against the {OWNER}. It sees the partners' total "
        "for each customer once a round and once a scoring; such totals are exact, and are counted "
        "against a cap for life. The attack on this page shows what they tell.",
        "Sizes that members state carry noise, and each member draws its own. Duplicates and "
        "opt-outs are each node's own counts, which no run tells to others; they stand here "
        "because this is a simulation.",
        "One process played all members here. In a deployment exchanges also wait for the network.",
        "Which customers are held out follows from the keys of the alignment, which are new each "
        "time. So figures differ a little from run to run, even with one seed.",
        "race and sex are kept for audits and are features of no model here.",
        source,
    )
