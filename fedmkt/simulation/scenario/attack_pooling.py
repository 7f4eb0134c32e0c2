"""Hostile partners' trials as rows, and back to what a study says of them over all seeds.

Guarantee: nothing is lost on the way: rows of two or more seeds give the `PoisoningResult` that
`run_study` gives for the same seeds.
"""

from collections.abc import Sequence

from fedmkt.evaluation.metrics import Interval
from fedmkt.simulation.attacks.result import AttackResult, series
from fedmkt.simulation.poisoning.result import (
    AUC_TOLERANCE,
    COURSE,
    ENTERED,
    ENTERED_TOLERANCE,
    PoisoningResult,
    SeedOutcome,
    Setup,
    joined,
)
from fedmkt.simulation.scenario.attack_parts import Measured
from fedmkt.simulation.scenario.attack_schema_poisoning import PoisoningPart

CLEAN = "AUC on rows without a trigger"
TAKEN = "share of hostile updates taken"
DIVERGED = "trainings that diverged"


def rows_of_seed(attack: str, figure: str, outcomes: Sequence[SeedOutcome]) -> tuple[Measured, ...]:
    """Return what an attack did to each rule as rows; the first rule is the plain mean.

    `chance` is what the same rule has with nobody hostile; of the AUC, what guessing has.
    """
    rows = []
    for place, one in enumerate(outcomes):
        lost = Interval(float(one.diverged), float(one.diverged), float(one.diverged))
        taken = Interval(one.hostile_taken, one.hostile_taken, one.hostile_taken)
        course = (series(COURSE, range(1, len(one.course) + 1), one.course),)
        for name, value, chance, curve in (
            (figure, one.attacked, one.quiet, course),
            (CLEAN, one.clean_auc, 0.5, ()),
            (TAKEN, taken, 0.0, ()),
            (DIVERGED, lost, 0.0, ()),
        ):
            result = AttackResult(
                name=attack,
                defence=one.rule,
                figure=name,
                unit="",
                value=value.value,
                low=value.low,
                high=value.high,
                chance=chance,
                series=curve,
                least=0.0 if name != figure or figure == ENTERED else -1.0,
                most=1.0,
            )
            rows.append(Measured("on" if place else "off", result))
    return tuple(rows)


def poisoning_result(part: PoisoningPart, seeds: Sequence[Sequence[Measured]]) -> PoisoningResult:
    """Return what all seeds say. Raises: SettingInvalid for a single one."""
    first = seeds[0][0].result
    tolerance = ENTERED_TOLERANCE if first.figure == ENTERED else AUC_TOLERANCE
    about = Setup(first.name, first.figure, tolerance, part.partners, part.hostile)
    return joined(about, [_outcomes(rows) for rows in seeds])


def _outcomes(rows: Sequence[Measured]) -> tuple[SeedOutcome, ...]:
    """Return the outcomes of one seed, in the order of `rows_of_seed`."""
    results = [one.result for one in rows]
    return tuple(
        SeedOutcome(
            rule=figure.defence,
            attacked=Interval(figure.value, figure.low, figure.high),
            quiet=figure.chance,
            clean_auc=Interval(clean.value, clean.low, clean.high),
            hostile_taken=taken.value,
            diverged=bool(diverged.value),
            course=figure.series_named(COURSE).y,
        )
        for figure, clean, taken, diverged in zip(
            results[::4], results[1::4], results[2::4], results[3::4], strict=True
        )
    )
