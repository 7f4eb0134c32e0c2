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
)
from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.poisoning.plots import attack_plots
from fedmkt.simulation.scenario import attack_words as words
from fedmkt.simulation.scenario.attack_parts import STATED, Measured
from fedmkt.simulation.scenario.attack_pooling import poisoning_result
from fedmkt.simulation.scenario.attack_schema import (
    AttackPart,
    CanariesPart,
    CollusionPart,
    InspectionPart,
    InversionPart,
    MembershipPart,
    PoisoningPart,
)
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
