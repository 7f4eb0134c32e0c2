"""The attacks that a scenario can run, each by one function. What computes networks is loaded late.

Guarantee: every kind of `attack_schema.AttackPart` is in the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedmkt.simulation.attacks.attack_plots import (
    bounds_plot,
    canary_heaps,
    collusion_plot,
    inspection_plot,
    inversion_plot,
    membership_plot,
    noise_plot,
    other_plot,
    rounds_plot,
)
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.poisoning.plots import attack_plots
from fedmkt.simulation.scenario import attack_words as words
from fedmkt.simulation.scenario.attack_parts import STATED, Measured
from fedmkt.simulation.scenario.attack_pooling import poisoning_result
from fedmkt.simulation.scenario.attack_schema import AttackPart
from fedmkt.simulation.scenario.attack_schema_networks import (
    CanariesPart,
    InversionPart,
    MembershipPart,
)
from fedmkt.simulation.scenario.attack_schema_poisoning import PoisoningPart
from fedmkt.simulation.scenario.attack_schema_split import FeatureInversionPart, LabelInferencePart
from fedmkt.simulation.scenario.attack_schema_sums import CollusionPart, InspectionPart
from fedmkt.simulation.scenario.attack_sums import run_collusion, run_inspection
from fedmkt.simulation.scenario.attack_view import Found
from fedmkt.simulation.svg import Plot

Run = Callable[[AttackPart, int], tuple[Measured, ...]]
_WRONG = "the table of kinds"


@dataclass(frozen=True, slots=True)
class Kind:
    """One attack. title, asks: in words. run: a trial's figures, by its settings and its seed.
    seconds: about how long a trial takes on one core. plots: the first is the picture. says: what a
    figure means."""

    title: str
    asks: str
    run: Run
    seconds: float
    plots: Callable[[Found], Sequence[Plot]]
    says: Callable[[AttackResult, Found], str]


def kind_of(attack: AttackPart) -> Kind:
    """Return how an attack is run and shown."""
    return KINDS[attack.kind]


def _membership(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    from fedmkt.simulation.scenario.attack_networks import run_membership

    assert isinstance(part, MembershipPart), _WRONG
    return run_membership(part, seed)


def _canaries(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    from fedmkt.simulation.scenario.attack_networks import run_canaries

    assert isinstance(part, CanariesPart), _WRONG
    return run_canaries(part, seed)


def _inversion(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    from fedmkt.simulation.scenario.attack_networks import run_inversion

    assert isinstance(part, InversionPart), _WRONG
    return run_inversion(part, seed)


def _inspection(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    assert isinstance(part, InspectionPart), _WRONG
    return run_inspection(part, seed)


def _collusion(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    assert isinstance(part, CollusionPart), _WRONG
    return run_collusion(part, seed)


def _label_inference(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    from fedmkt.simulation.scenario.attack_split import run_label_inference

    assert isinstance(part, LabelInferencePart), _WRONG
    return run_label_inference(part, seed)


def _feature_inversion(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    from fedmkt.simulation.scenario.attack_split import run_feature_inversion

    assert isinstance(part, FeatureInversionPart), _WRONG
    return run_feature_inversion(part, seed)


def _poisoning(part: AttackPart, seed: int) -> tuple[Measured, ...]:
    from fedmkt.simulation.scenario.attack_poisoning import run_poisoning

    assert isinstance(part, PoisoningPart), _WRONG
    return run_poisoning(part, seed)


def _canary_plots(found: Found) -> tuple[Plot, ...]:
    bounds, stated = found.results(found.figures[0]), found.results(STATED)[0].value
    heaps = [
        canary_heaps(one, key=f"canary-scores-{place}", title=f"Scores, {one.defence}")
        for place, one in enumerate(bounds)
        if one.defence in (bounds[0].defence, bounds[-1].defence)
    ]
    return (bounds_plot(bounds, stated), *heaps)


def _label_plots(found: Found) -> tuple[Plot, ...]:
    description = (
        "How well labels are told from gradients, by how many rounds of them were seen, with each "
        "defence. Bars: 95% intervals after all rounds. The dotted line is guessing."
    )
    title = "Labels read from gradients"
    return (rounds_plot(found.results(words.LEARNT), "label-inference", title, description),)


def _column_plots(found: Found) -> tuple[Plot, ...]:
    assert isinstance(found.attack, FeatureInversionPart), _WRONG
    description = (
        "The share of customers whose value is guessed right, by how many rounds of activations "
        "were seen, the final ones last. Bars: 95% intervals. The dotted line is always guessing "
        "the commonest value."
    )
    return tuple(
        rounds_plot(
            found.results(figure), f"feature-{column}", f"Inversion of {column}", description
        )
        for column, figure in zip(found.attack.columns, found.figures, strict=False)
    )


def _poisoning_plots(found: Found) -> tuple[Plot, ...]:
    assert isinstance(found.attack, PoisoningPart), _WRONG
    if len(found.seeds) < 2:
        return (other_plot(found.results(found.figures[0])),)
    return attack_plots(poisoning_result(found.attack, found.seeds))


def _one_plot(draw: Callable[[Sequence[AttackResult]], Plot]) -> Callable[[Found], tuple[Plot]]:
    return lambda found: (draw(found.results(found.figures[0])),)


def _hostile(title: str, asks: str) -> Kind:
    return Kind(title, asks, _poisoning, 15.0, _poisoning_plots, words.poisoning_words)


KINDS: Mapping[str, Kind] = {
    "membership": Kind(
        "Membership inference",
        "Can somebody who sees a model's scores tell who was in its training?",
        _membership,
        12.0,
        _one_plot(membership_plot),
        words.membership_words,
    ),
    "canaries": Kind(
        "Canary audit",
        "How much epsilon does a training lose at least, and is that within what it states?",
        _canaries,
        3.0,
        _canary_plots,
        words.canary_words,
    ),
    "gradient_inversion": Kind(
        "Gradient inversion",
        "Can the coordinator read a partner's rows back from one update of a network?",
        _inversion,
        4.0,
        _one_plot(inversion_plot),
        words.inversion_words,
    ),
    "update_inspection": Kind(
        "Inspection of updates",
        "Can the coordinator tell how a partner's customers are distributed?",
        _inspection,
        1.0,
        _one_plot(inspection_plot),
        words.inspection_words,
    ),
    "collusion": Kind(
        "Collusion in the secure sum",
        "What do partners who put all they know together learn of another one's sums?",
        _collusion,
        1.0,
        lambda found: (
            collusion_plot(found.results(words.READ)),
            noise_plot(found.results(words.NOISE_LEFT)),
        ),
        words.collusion_words,
    ),
    "label_inference": Kind(
        "Label inference",
        "Can a partner of a split training read labels from the gradients that it is sent?",
        _label_inference,
        10.0,
        _label_plots,
        words.label_words,
    ),
    "feature_inversion": Kind(
        "Feature inversion",
        "Can the label owner of a split training read partners' columns from their activations?",
        _feature_inversion,
        8.0,
        _column_plots,
        words.column_words,
    ),
    "label_flips": _hostile(
        "Label flips", "How much worse does a model get when some partners turn their labels round?"
    ),
    "turned_updates": _hostile(
        "Turned updates", "How much worse does a model get when some partners send updates turned?"
    ),
    "backdoor": _hostile(
        "A backdoor", "Can some partners make customers with a mark enter the audience?"
    ),
    "free_riders": _hostile(
        "Free riders", "How much worse does a model get when some partners do no work?"
    ),
}
