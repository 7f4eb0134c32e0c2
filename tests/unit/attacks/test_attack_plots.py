"""The pictures and the page of attacks: complete, self-contained, the same for the same figures."""

from datetime import date

import numpy as np
import pytest

from fedmkt import __version__
from fedmkt.simulation.attacks import attack_plots
from fedmkt.simulation.attacks.audit_page import Subject, audit_lines, audit_page
from fedmkt.simulation.attacks.canaries import audit
from fedmkt.simulation.attacks.label_inference import SEEN
from fedmkt.simulation.attacks.result import AttackResult, Series, series


class Told:
    """A training that gives each coin away, or nothing."""

    what, epsilon, delta, canaries = "a <b>training</b>", 1.0, 1e-5, 200

    def __init__(self, *, tells: bool) -> None:
        self.tells = tells

    def scores(self, present):
        noise = np.random.default_rng(1).normal(0, 1, self.canaries)
        return noise + 10.0 * present if self.tells else noise


SUBJECT = Subject("a<b.toml", "adult", "own.csv", date(2026, 3, 1))


def found(*, tells: bool):
    coins = np.random.default_rng(2).random(200) < 0.5
    return audit(Told(tells=tells), coins, defence="as stated")


def test_a_training_that_tells_is_found_up_to_what_an_audit_can_reach():
    one = found(tells=True)
    assert one.exceeds
    assert 2.5 < one.result.value <= one.reach
    assert one.right > 0.9 * one.guesses


def test_a_training_that_tells_nothing_is_at_chance():
    one = found(tells=False)
    assert not one.exceeds
    assert one.result.value < 0.3
    assert one.result.high == float("inf")


@pytest.mark.parametrize(("tells", "words"), [(True, "does not keep it"), (False, "not prove")])
def test_the_page_says_what_was_found_and_what_was_not(tells, words):
    one = found(tells=tells)
    page = audit_page(one, Told.what, SUBJECT)
    assert page == audit_page(one, Told.what, SUBJECT)
    head = page.split("</header>")[0]
    assert "Job a&lt;b.toml, table own.csv, schema adult." in head
    assert f"By fedmkt {__version__} on 2026-03-01." in head
    assert words in page
    assert "<b>" not in page
    assert "://" not in page
    assert page.count("<svg") == 2
    assert all("short by half" in lines[2] for lines in [audit_lines(one)])


def test_too_few_canaries_are_said_to_be_too_few():
    one = found(tells=False)
    object.__setattr__(one, "stated", 50.0)
    assert "Take more canaries" in audit_lines(one)[1]


def result(defence: str, value: float, curve: Series) -> AttackResult:
    low, high = value - 0.1, value + 0.1
    return AttackResult("attack", defence, "figure", "unit", value, low, high, 0.05, (curve,))


@pytest.mark.parametrize("draw", ["membership", "inversion", "inspection", "collusion", "noise"])
def test_each_attack_has_a_picture_with_its_figures_as_a_table(draw):
    results = [
        result(defence, value, series("curve", [0.01, 0.1, 1.0], [value, value, 1.0]))
        for defence, value in (("none", 0.9), ("noise", 0.12))
    ]
    plot = getattr(attack_plots, f"{draw}_plot")(results)
    assert [row[:2] for row in plot.rows] == [("none", "0.900"), ("noise", "0.120")]
    assert plot.svg.startswith("<svg")
    assert plot.svg == getattr(attack_plots, f"{draw}_plot")(results).svg


def test_a_figure_by_rounds_has_a_line_a_defence_and_their_intervals_last():
    results = [
        result(defence, value, series(SEEN, [1, 2, 4], [0.6, 0.65, value]))
        for defence, value in (("noise off", 0.9), ("all on", 0.7))
    ]
    plot = attack_plots.rounds_plot(results, "rounds", "A title", "A description")
    assert plot.columns == ("Rounds seen", "noise off", "all on")
    assert plot.rows[0] == ("1", "0.600", "0.600")
    assert plot.rows[2:] == (
        ("4", "0.900", "0.700"),
        ("95% interval", "0.800 to 1.000", "0.600 to 0.800"),
    )
    for words in ("noise off", "all on", "rounds seen", "figure"):
        assert f">{words}</text>" in plot.svg
    assert plot.svg == attack_plots.rounds_plot(results, "rounds", "A title", "A description").svg
