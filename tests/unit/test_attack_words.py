"""What figures are said to mean follows from figures and intervals alone."""

from dataclasses import replace

import pytest

from fedmkt.simulation.attacks.result import AttackResult
from fedmkt.simulation.scenario.attack_parts import STATED, Measured
from fedmkt.simulation.scenario.attack_schema_networks import CanariesPart
from fedmkt.simulation.scenario.attack_view import Found
from fedmkt.simulation.scenario.attack_words import (
    LEARNT,
    MODEL,
    NOISE_LEFT,
    canary_words,
    collusion_words,
    column_words,
    inspection_words,
    inversion_words,
    label_words,
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
        (label_words, "give labels away", "not shown to be more than guessing"),
        (column_words, "give the column away", "not shown to be more than always guessing"),
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


def test_labels_told_no_better_than_by_the_model_are_said_beside_it() -> None:
    model = figure(0.7, 0.8, 0.9, chance=0.6, name=MODEL)
    found = Found(NOTHING.attack, (), (Measured("on", model),))
    told = figure(0.68, 0.7, 0.72, chance=0.5, name=LEARNT)
    said = "A yes is told from a no in 70% of pairs; the model itself does so in 80%."
    assert label_words(told, found) == said
    assert "give labels away" in label_words(replace(told, value=0.81), found)
    # Under another defence the model is another.
    assert "give labels away" in label_words(replace(told, defence="noise off"), found)


@pytest.mark.parametrize("say", [label_words, column_words])
def test_what_partners_add_is_said_to_be_none_where_the_owner_alone_lies_in_the_interval(
    say,
) -> None:
    model = figure(0.7, 0.8, 0.9, chance=0.75, name=MODEL)
    assert say(model, NOTHING).endswith(
        "+0.050 on what the owner's columns reach alone: no gain is shown."
    )
    gained = say(replace(model, low=0.76), NOTHING)
    assert gained == "+0.050 on what the owner's columns reach alone."


def test_a_label_s_epsilon_is_said_as_the_best_guess_it_allows() -> None:
    # e^1 / (1 + e^1) = 0.731: Kairouz, Oh and Viswanath 2014, arXiv:1407.1338.
    assert "73 times in 100 at most" in label_words(
        figure(1, 1.0, 1, chance=0, name=STATED), NOTHING
    )
