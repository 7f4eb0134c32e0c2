"""An attack against every rule, over several seeds, with and without the attack.

Guarantee: within a seed all trainings have the same partners, first model and honest draws, so that
they differ by the rule and the attack alone. Equal studies give equal results on one machine.
Not guaranteed: privacy; a study holds all rows in one place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import Interval, auc, auc_interval
from fedmkt.models.network import Network
from fedmkt.privacy.dp_sgd.library import one_thread
from fedmkt.simulation.attacks.result import BoolArray, clopper_pearson
from fedmkt.simulation.poisoning.attackers import Backdoor
from fedmkt.simulation.poisoning.defences import DEFENCES, PLAIN, assume, plain_mean, rule_named
from fedmkt.simulation.poisoning.loop import train
from fedmkt.simulation.poisoning.parts import Attack, Terms, Training
from fedmkt.simulation.poisoning.population import Population
from fedmkt.simulation.poisoning.result import (
    AUC_TOLERANCE,
    ENTERED,
    ENTERED_TOLERANCE,
    LOST,
    PoisoningResult,
    SeedOutcome,
    Setup,
    joined,
)


@dataclass(frozen=True, slots=True)
class Study:
    """What is studied.

    populate: from a seed to partners and test rows; the first `hostile` partners attack. rules: of
    `DEFENCES`. reached: the share of clean test rows that the audience takes. auc_tolerance,
    entered_tolerance: what an attack may add to its figure before a rule counts as failing.
    Raises: SettingInvalid.
    """

    populate: Callable[[int], Population]
    terms: Terms
    hostile: int
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    rules: tuple[str, ...] = tuple(DEFENCES)
    reached: float = 0.1
    auc_tolerance: float = AUC_TOLERANCE
    entered_tolerance: float = ENTERED_TOLERANCE

    def __post_init__(self) -> None:
        """Refuse what can be no study. Raises: SettingInvalid."""
        for name in self.rules:
            if name not in DEFENCES:
                problem = f"the rules are {', '.join(DEFENCES)}"
                raise SettingInvalid(setting=f"the rule {name!r}", problem=problem)
        if len(set(self.seeds)) < 2:
            raise SettingInvalid(setting="the seeds", problem="two or more different are needed")
        if self.hostile < 1:
            raise SettingInvalid(setting="the hostile partners", problem="one or more are needed")


@one_thread()
def run_study(study: Study, attacks: Sequence[Attack]) -> tuple[PoisoningResult, ...]:
    """Return what each attack did to each rule.

    Raises: SettingInvalid; UpdatesTooFew where a rule does not bear so many hostile partners.
    """
    seeds = [_OneSeed(study, seed) for seed in study.seeds]
    partners = len(seeds[0].population.partners)
    return tuple(
        joined(setup(study, attack, partners), [one.outcomes(attack) for one in seeds])
        for attack in attacks
    )


@one_thread()
def run_seed(study: Study, attack: Attack, seed: int) -> tuple[SeedOutcome, ...]:
    """Return what an attack did to each rule with one seed, the plain mean's first.

    Raises: as `run_study`.
    """
    return _OneSeed(study, seed).outcomes(attack)


def setup(study: Study, attack: Attack, partners: int) -> Setup:
    """Return what a study of this attack measures, and among how many partners."""
    planted = isinstance(attack, Backdoor)
    tolerance = study.entered_tolerance if planted else study.auc_tolerance
    figure = ENTERED if planted else LOST
    return Setup(attack.name, figure, tolerance, partners, study.hostile)


class _OneSeed:
    """The trainings of one seed; those with nobody hostile serve all attacks."""

    def __init__(self, study: Study, seed: int) -> None:
        self.study, self.seed = study, seed
        self.population = study.populate(seed)
        quiet = train(self.population, study.terms, plain_mean, seed=seed)
        self.told = assume(study.hostile, quiet)
        self.quiet = {PLAIN: quiet}
        for name in study.rules:
            rule = rule_named(name, self.told)
            self.quiet[name] = train(self.population, study.terms, rule, seed=seed)

    def attacked(self, name: str, attack: Attack) -> Training:
        """Return the training under attack with the rule of that name."""
        return train(
            self.population,
            self.study.terms,
            rule_named(name, self.told),
            seed=self.seed,
            attack=attack,
            hostile=range(self.study.hostile),
        )

    def outcomes(self, attack: Attack) -> tuple[SeedOutcome, ...]:
        """Return what an attack did to each rule, the plain mean's first."""
        return tuple(self._outcome(name, attack) for name in (PLAIN, *self.study.rules))

    def _outcome(self, name: str, attack: Attack) -> SeedOutcome:
        training = self.attacked(name, attack)
        course, quiet = self._course(training, attack), self._course(self.quiet[name], attack)
        figure, clean = self._ended(training, attack)
        return SeedOutcome(
            rule=name,
            attacked=figure,
            quiet=float(quiet[-1]),
            clean_auc=clean,
            hostile_taken=training.hostile_taken,
            diverged=len(training.models) < self.study.terms.rounds,
            course=tuple(course.tolist()),
        )

    @cached_property
    def _best(self) -> float:
        """Return the AUC of the plain mean with nobody hostile."""
        return self._auc(Network(self.population.shape, self.quiet[PLAIN].models[-1]))

    def _course(self, training: Training, attack: Attack) -> FloatArray:
        """Return the figure after each round; a model that is lost tells nobody from anybody."""
        planted = isinstance(attack, Backdoor)
        found = np.full(self.study.terms.rounds, 0.0 if planted else self._best - 0.5)
        for number, parameters in enumerate(training.models):
            network = Network(self.population.shape, parameters)
            found[number] = (
                self._entered(network, attack).mean()
                if isinstance(attack, Backdoor)
                else self._best - self._auc(network)
            )
        return found

    def _ended(self, training: Training, attack: Attack) -> tuple[Interval, Interval]:
        """Return the figure and the AUC at the end, with their intervals over test rows."""
        lost = len(training.models) < self.study.terms.rounds
        area = Interval(0.5, 0.5, 0.5)
        if not lost:
            network = Network(self.population.shape, training.models[-1])
            test = self.population.test
            area = auc_interval(test.target, network.scores(test.inputs))
        if not isinstance(attack, Backdoor):
            best = self._best
            return Interval(best - area.value, best - area.high, best - area.low), area
        if lost:
            return Interval(0.0, 0.0, 0.0), area
        inside = self._entered(network, attack)
        low, high = clopper_pearson(int(inside.sum()), inside.size)
        return Interval(float(inside.mean()), low, high), area

    def _auc(self, network: Network) -> float:
        test = self.population.test
        return auc(test.target, network.scores(test.inputs))

    def _entered(self, network: Network, attack: Backdoor) -> BoolArray:
        """Return which triggered rows without a yes are in the audience."""
        test = self.population.test
        marked = attack.trigger.put_into(test.taken(np.flatnonzero(test.target == 0)))
        least = np.quantile(network.scores(test.inputs), 1 - self.study.reached)
        inside: BoolArray = network.scores(marked.inputs) > least
        return inside
