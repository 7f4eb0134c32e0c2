"""From a finished study to its report: measures on one side, evidence on the other."""

from collections.abc import Sequence
from datetime import UTC, datetime

from fedmkt import __version__
from fedmkt.evidence.report import Report
from fedmkt.node.app import node_at
from fedmkt.simulation.demo_evidence import (
    audit_of,
    budgets_of,
    known_to_several,
    protection_of,
    receipts_of,
    refusals_of,
)
from fedmkt.simulation.demo_measures import (
    curve_of,
    data_of,
    median_draw,
    model_result,
    partners_of,
    rounds_of,
    shapes_of,
    twin_result,
)
from fedmkt.simulation.demo_study import Study, Trained


def build_report(study: Study, notes: tuple[str, ...] | None = None) -> Report:
    """Return the report of a study. notes: in place of the demonstration's own.

    Raises: SignatureInvalid (a receipt does not verify).
    """
    medians = {name: median_draw(study, runs) for name, runs in study.trained.items()}
    runs = [one for draws in study.trained.values() for one in draws]
    receipts = {one.outcome.run: receipts_of(one.world, one.outcome) for one in runs}
    shown, first = tuple(medians.values()), study.worlds[0]
    return Report(
        schema_version=1,
        seed=study.seed,
        version=__version__,
        created=datetime.now(UTC),
        noise_source=next(
            (r.noise_source for each in receipts.values() for r in each.values() if r.noise_source),
            None,
        ),
        data=data_of(study),
        partners=partners_of(study),
        models=(
            *(twin_result(study, twin) for twin in study.twins),
            *(
                model_result(study, study.trained[name], one, receipts[one.outcome.run])
                for name, one in medians.items()
            ),
        ),
        budget=tuple(
            row for member in first.members for row in budgets_of(node_at(first.node(member)).home)
        ),
        refusals=refusals_of(first),
        audit=tuple(audit_of(study.worlds, member) for member in first.members),
        protection=tuple(
            protection_of(
                one.outcome.run,
                one.job.members,
                receipts[one.outcome.run],
                model=one.name if one is medians[one.name] else "",
            )
            for one in runs
        ),
        curves=tuple(curve_of(study, one) for one in shown),
        shapes=tuple(shape for one in shown for shape in shapes_of(study, one)),
        rounds=tuple(entry for one in shown for entry in rounds_of(one)),
        known_to_several=tuple(
            known_to_several(one, receipts[one.outcome.run]) for one in _noised(shown)
        ),
        notes=_notes(study) if notes is None else notes,
    )


def _noised(shown: Sequence[Trained]) -> list[Trained]:
    return [one for one in shown if one.job.privacy.epsilon is not None]


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
        f"AUC with noise is the median of {draws} draws, each in accounts of its own; budgets, "
        "refusals and audit logs are those of the first draw, and the logs of all were verified.",
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
