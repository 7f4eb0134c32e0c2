"""What a study of an attack found: one figure for each rule, with and without the attack.

Guarantee: a verdict follows from the figures and the tolerance alone, and says "not told" where the
interval lies on both sides of it.
Not guaranteed: that a rule which held here holds against another attacker or other data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.evaluation.metrics import Interval, student_half
from fedmkt.simulation.attacks.result import AttackResult, series

COURSE = "course"
LOST = "AUC lost to the plain mean with nobody hostile"
ENTERED = "share of triggered rows without a yes that enter the audience"
AUC_TOLERANCE, ENTERED_TOLERANCE = 0.01, 0.1
"""What an attack may add to its figure before a rule counts as failing."""
Verdict = Literal["holds", "does not hold", "not told"]


@dataclass(frozen=True, slots=True)
class SeedOutcome:
    """What an attack did to one rule with one seed. Intervals are over test rows.

    attacked, quiet: the figure with the attack and with nobody hostile. clean_auc: of the attacked
    model on rows without a trigger. hostile_taken: share of hostile updates that the rule made its
    results from. course: the figure after each round.
    """

    rule: str
    attacked: Interval
    quiet: float
    clean_auc: Interval
    hostile_taken: float
    diverged: bool
    course: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """What an attack did to one rule. Intervals are over seeds, which draw rows and start anew.

    attacked, quiet: the figure with the attack and with nobody hostile. added: their difference,
    seed by seed. clean_auc: of the attacked model on rows without a trigger. hostile_taken: share
    of hostile updates that the rule made its results from. diverged: how many trainings did.
    course: the figure after each round, mean over seeds.
    """

    rule: str
    attacked: Interval
    quiet: Interval
    added: Interval
    clean_auc: Interval
    hostile_taken: float
    diverged: int
    course: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PoisoningResult:
    """What a study of one attack found.

    figure: what is measured, in words; less is better. tolerance: how much an attack may add to it
    before a rule counts as failing. plain: the outcome without a defence. defended: the others.
    """

    attack: str
    figure: str
    tolerance: float
    partners: int
    hostile: int
    seeds: int
    plain: RuleOutcome
    defended: tuple[RuleOutcome, ...]

    @property
    def outcomes(self) -> tuple[RuleOutcome, ...]:
        """Return all outcomes, the plain mean's first."""
        return (self.plain, *self.defended)

    def outcome(self, rule: str) -> RuleOutcome:
        """Return the outcome of the rule of that name. Raises: KeyError."""
        return {one.rule: one for one in self.outcomes}[rule]

    def verdict(self, outcome: RuleOutcome) -> Verdict:
        """Say whether what the attack adds stays within the tolerance, by its 95% interval."""
        if outcome.added.high <= self.tolerance:
            return "holds"
        return "does not hold" if outcome.added.low > self.tolerance else "not told"

    def sentences(self) -> tuple[str, ...]:
        """Return what was found, one plain sentence a rule, the plain mean's first."""
        return tuple(self._sentence(one) for one in self.outcomes)

    def rows(self) -> tuple[AttackResult, ...]:
        """Return the same as results of attacks: the rule is the defence.

        What nobody's hostility gives stands as `chance`; the course by round is the series.
        """
        return tuple(
            AttackResult(
                name=self.attack,
                defence=one.rule,
                figure=self.figure,
                unit="",
                value=one.attacked.value,
                low=one.attacked.low,
                high=one.attacked.high,
                chance=one.quiet.value,
                series=(series(COURSE, range(1, len(one.course) + 1), one.course),),
            )
            for one in self.outcomes
        )

    def _sentence(self, one: RuleOutcome) -> str:
        """Return what was found of one rule."""
        rule = one.rule[0].upper() + one.rule[1:]
        begun = {
            "holds": f"{rule} holds",
            "does not hold": f"{rule} does not hold",
            "not told": f"{rule} may or may not hold, as far as {self.seeds} seeds tell,",
        }[self.verdict(one)]
        figure = f"{self.figure} is {in_words(one.attacked)}, and {one.quiet.value:.3f} without it"
        lost = f"; {one.diverged} of {self.seeds} trainings diverged" if one.diverged else ""
        return f"{begun} against {self.attack}: the {figure}{lost}."


@dataclass(frozen=True, slots=True)
class Setup:
    """What a study measures of an attack: as in `PoisoningResult`."""

    attack: str
    figure: str
    tolerance: float
    partners: int
    hostile: int


def joined(setup: Setup, seeds: Sequence[Sequence[SeedOutcome]]) -> PoisoningResult:
    """Return what an attack did to each rule, the plain mean being the first, over all seeds.

    Raises: SettingInvalid for a single seed.
    """
    least = 0.0 if setup.figure == ENTERED else -1.0  # of a share, of a difference of AUC
    plain, *defended = (_pooled(one, least=least) for one in zip(*seeds, strict=True))
    return PoisoningResult(
        attack=setup.attack,
        figure=setup.figure,
        tolerance=setup.tolerance,
        partners=setup.partners,
        hostile=setup.hostile,
        seeds=len(seeds),
        plain=plain,
        defended=tuple(defended),
    )


def _pooled(seeds: Sequence[SeedOutcome], *, least: float) -> RuleOutcome:
    """Return what an attack did to one rule over all seeds."""
    added = [one.attacked.value - one.quiet for one in seeds]
    return RuleOutcome(
        rule=seeds[0].rule,
        attacked=over_seeds([one.attacked.value for one in seeds], least=least, most=1.0),
        quiet=over_seeds([one.quiet for one in seeds], least=least, most=1.0),
        added=over_seeds(added, least=-1.0, most=1.0),
        clean_auc=over_seeds([one.clean_auc.value for one in seeds], least=0.0, most=1.0),
        hostile_taken=float(np.mean([one.hostile_taken for one in seeds])),
        diverged=sum(one.diverged for one in seeds),
        course=tuple(np.mean([one.course for one in seeds], axis=0).tolist()),
    )


def over_seeds(values: Sequence[float], *, least: float, most: float) -> Interval:
    """Return the mean with its 95% interval by `student_half`, cut to what is possible.

    Args: values: one a seed, two or more. least, most: between which every value lies.
    Raises: SettingInvalid.
    """
    if len(values) < 2:
        raise SettingInvalid(setting="the seeds", problem="an interval needs two or more")
    mean, half = float(np.mean(values)), student_half(values)
    return Interval(mean, max(least, mean - half), min(most, mean + half))


def in_words(interval: Interval) -> str:
    """Return a value and its interval, three decimals."""
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
