"""What figures are said to mean follows from figures and intervals alone."""

from dataclasses import replace

import pytest

from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.scenario.attack_parts import STATED, Measured
from fedmkt.simulation.scenario.attack_schema_networks import CanariesPart
from fedmkt.simulation.scenario.attack_view import Found
from fedmkt.simulation.scenario.attack_words import (
    NOISE_LEFT,
    canary_words,
    collusion_words,
    inspection_words,
    inversion_words,
    membership_words,
)

NOTHING = Found(CanariesPart(kind="canaries"), (), ())


def figure(
    low: float, value: float, high: float, *, chance: float, name: str = "f"
) -> AttackResult:
    return AttackResult("attack", "all on", name, "", value, low, high, chance)


@pytest.mark.parametrize(
    ("say", "above", "beside"),
    [
        (membership_words, "gives members away", "not shown to be more than guessing"),
        (inversion_words, "gives customers away", "another customer's row"),
        (collusion_words, "seen, blurred", "Nothing is learnt"),
    ],
)
def test_more_than_guessing_is_said_only_where_the_interval_lies_above_chance(
    say, above, beside
) -> None:
    assert above in say(figure(0.3, 0.4, 0.5, chance=0.2), NOTHING)
    assert beside in say(figure(0.1, 0.4, 0.5, chance=0.2), NOTHING)


def test_a_distribution_is_given_away_only_where_the_distance_lies_below_chance() -> None:
    said = inspection_words(figure(0.1, 0.12, 0.15, chance=0.2), NOTHING)
    assert "off by 12 customers in 100" in said
    assert "given away, blurred" in said
    assert "no better" in inspection_words(figure(0.1, 0.12, 0.25, chance=0.2), NOTHING)


def test_a_part_that_lies_open_and_noise_that_is_short_are_named() -> None:
    assert "lies open" in collusion_words(figure(1.0, 1.0, 1.0, chance=0.0), NOTHING)
    short = figure(1.8, 1.9, 2.0, chance=3.7, name=NOISE_LEFT)
    assert "Less noise is left" in collusion_words(short, NOTHING)
    assert "As much noise" in collusion_words(replace(short, high=3.8), NOTHING)


def test_audits_above_the_statement_are_counted() -> None:
    stated = Measured("on", figure(2.0, 2.0, 2.0, chance=0.0, name=STATED))
    seeds = tuple(
        (Measured("off", figure(bound, bound, 9.0, chance=0.0)), stated) for bound in (1.0, 3.0)
    )
    found = Found(NOTHING.attack, seeds, seeds[1])
    said = canary_words(figure(2.0, 2.0, 9.0, chance=0.0), found)
    assert said == "1 of 2 audits show that the stated epsilon of 2.00 does not hold."
    none = Found(NOTHING.attack, seeds[:1], seeds[0])
    assert "No audit contradicts" in canary_words(figure(1.0, 1.0, 9.0, chance=0.0), none)
