"""An attack against every rule, over several seeds, with and without the attack.

Guarantee: within a seed all trainings have the same partners, first model and honest draws, so that
they differ by the rule and the attack alone. Equal studies give equal results on one machine.
Not guaranteed: privacy; a study holds all rows in one place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedmkt.core.errors import SettingInvalid
from fedmkt.core.stages import FloatArray
from fedmkt.evaluation.metrics import auc
from fedmkt.models.network import Network
from fedmkt.simulation.poisoning.attackers import Backdoor
from fedmkt.simulation.poisoning.defences import DEFENCES, PLAIN, assume, plain_mean, rule_named
from fedmkt.simulation.poisoning.loop import one_thread, train
from fedmkt.simulation.poisoning.parts import Attack, Terms, Training
from fedmkt.simulation.poisoning.population import Population
from fedmkt.simulation.poisoning.result import AttackResult, RuleOutcome, over_seeds

LOST = "AUC lost to the plain mean with nobody hostile"
ENTERED = "share of triggered rows without a yes that enter the audience"


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
    auc_tolerance: float = 0.01
    entered_tolerance: float = 0.1

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


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A training's AUC and figure after each round, each (rounds,)."""

    auc: FloatArray
    figure: FloatArray
    training: Training
    diverged: bool


@one_thread()
def run_study(study: Study, attacks: Sequence[Attack]) -> tuple[AttackResult, ...]:
    """Return what each attack did to each rule.

    Raises: SettingInvalid; UpdatesTooFew where a rule does not bear so many hostile partners.
    """
    seeds = [_OneSeed(study, seed) for seed in study.seeds]
    return tuple(_result(study, attack, seeds) for attack in attacks)


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

    def judged(self, training: Training, attack: Attack) -> _Judged:
        """Return a training's course; a model that is lost tells nobody from anybody."""
        rounds = self.study.terms.rounds
        aucs, entered = np.full(rounds, 0.5), np.zeros(rounds)
        for number, parameters in enumerate(training.models):
            network = Network(self.population.shape, parameters)
            aucs[number], entered[number] = self._measures(network, attack)
        figure = entered
        if not isinstance(attack, Backdoor):
            best = Network(self.population.shape, self.quiet[PLAIN].models[-1])
            figure = self._measures(best, attack)[0] - aucs
        return _Judged(aucs, figure, training, len(training.models) < rounds)

    def _measures(self, network: Network, attack: Attack) -> tuple[float, float]:
        """Return the AUC, and the share of triggered rows in the audience, 0 without a trigger."""
        test = self.population.test
        scores = network.scores(test.inputs)
        if not isinstance(attack, Backdoor):
            return auc(test.target, scores), 0.0
        marked = attack.trigger.put_into(test.at(np.flatnonzero(test.target == 0)))
        least = np.quantile(scores, 1 - self.study.reached)
        return auc(test.target, scores), float((network.scores(marked.inputs) > least).mean())


def _result(study: Study, attack: Attack, seeds: Sequence[_OneSeed]) -> AttackResult:
    """Return what one attack did to each rule."""
    outcomes = [_outcome(name, attack, seeds) for name in (PLAIN, *study.rules)]
    planted = isinstance(attack, Backdoor)
    return AttackResult(
        attack=attack.name,
        figure=ENTERED if planted else LOST,
        tolerance=study.entered_tolerance if planted else study.auc_tolerance,
        partners=len(seeds[0].population.partners),
        hostile=study.hostile,
        seeds=len(seeds),
        plain=outcomes[0],
        defended=tuple(outcomes[1:]),
    )


def _outcome(name: str, attack: Attack, seeds: Sequence[_OneSeed]) -> RuleOutcome:
    """Return what an attack did to the rule of that name."""
    attacked = [seed.judged(seed.attacked(name, attack), attack) for seed in seeds]
    quiet = [seed.judged(seed.quiet[name], attack) for seed in seeds]
    ends, starts = ([float(one.figure[-1]) for one in found] for found in (attacked, quiet))
    added = [end - start for end, start in zip(ends, starts, strict=True)]
    least = 0.0 if isinstance(attack, Backdoor) else -1.0  # of a share, of a difference of AUC
    course = np.mean([one.figure for one in attacked], axis=0)
    return RuleOutcome(
        rule=name,
        attacked=over_seeds(ends, least=least, most=1.0),
        quiet=over_seeds(starts, least=least, most=1.0),
        added=over_seeds(added, least=-1.0, most=1.0),
        clean_auc=over_seeds([float(one.auc[-1]) for one in attacked], least=0.0, most=1.0),
        hostile_taken=float(np.mean([one.training.hostile_taken for one in attacked])),
        diverged=sum(one.diverged for one in attacked),
        course=tuple(course.tolist()),
    )
