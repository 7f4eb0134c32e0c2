"""From an attack's scenario to its trials, one a seed.

Guarantee: a trial's id stands for what it computes: the attack with all its settings, the seed and
the version; two trials of one id would give the same figures.
"""

from typing import Any

from fedmkt import __version__
from fedmkt.simulation.scenario.attack_parts import Trial
from fedmkt.simulation.scenario.attack_schema import AttackScenario
from fedmkt.wire.canonical import canonical_json, digest

_ID_DIGITS = 16


def expand_attack(scenario: AttackScenario) -> tuple[Trial, ...]:
    """Return all trials, in the order of the seeds."""
    content = _content(scenario)
    return tuple(
        Trial(digest(canonical_json(content | {"seed": seed}))[:_ID_DIGITS], scenario.attack, seed)
        for seed in scenario.seeds
    )


def attack_family(scenario: AttackScenario) -> str:
    """Return what stands for the scenario but its seeds: its results' owner."""
    return digest(canonical_json(_content(scenario) | {"name": scenario.name}))


def _content(scenario: AttackScenario) -> dict[str, Any]:
    return {"attack": scenario.attack.model_dump(mode="json"), "version": __version__}
