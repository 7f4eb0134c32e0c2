"""The plots of an attack: the figure of each rule with and without it, and its course by round.

Guarantee: plots show what the result holds and compute nothing but layout.
"""

import re

from fedmkt.evaluation.metrics import Interval
from fedmkt.simulation.poisoning.result import PoisoningResult, in_words
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, to_svg

_WIDTH = 400.0
_QUIET = PALETTE["quiet"][0]


def attack_plots(result: PoisoningResult) -> tuple[Plot, Plot]:
    """Return the plot of the rules and the plot of the rounds."""
    return _rule_plot(result), _round_plot(result)


def _key(result: PoisoningResult, what: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", result.attack.lower()).strip("-")
    return f"poisoning-{words}-{what}"


def _rule_plot(result: PoisoningResult) -> Plot:
    """Return each rule's figure under attack, and with nobody hostile."""
    key, title = _key(result, "rules"), f"Against {result.attack}: the rules"
    description = (
        f"{_capital(result.figure)}, with {result.hostile} of {result.partners} "
        f"partners hostile (dots) and with nobody hostile (rings). Lines: 95% over "
        f"{result.seeds} seeds. Further left is better."
    )
    outcomes = result.outcomes
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 90 + 44 * len(outcomes))
        for place, one in enumerate(outcomes):
            spread = _around(one.attacked)
            axes.errorbar(
                [one.attacked.value], [place], xerr=spread, fmt="o", capsize=4, color=SERIES[1]
            )
            axes.errorbar(
                [one.quiet.value],
                [place + 0.22],
                xerr=_around(one.quiet),
                fmt="o",
                fillstyle="none",
                capsize=3,
                color=_QUIET,
            )
        axes.set_yticks(range(len(outcomes)), [one.rule for one in outcomes])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=_short(result))
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (
            one.rule,
            in_words(one.attacked),
            in_words(one.quiet),
            in_words(one.clean_auc),
            f"{one.hostile_taken:.0%}",
            result.verdict(one),
        )
        for one in outcomes
    )
    columns = (
        "Rule",
        "With the attack (95%)",
        "Nobody hostile (95%)",
        "AUC on clean rows (95%)",
        "Hostile updates taken",
        "Verdict",
    )
    return Plot(key, title, description, svg, columns, rows)


def _round_plot(result: PoisoningResult) -> Plot:
    """Return each rule's figure after each round under attack."""
    key, title = _key(result, "rounds"), f"Against {result.attack}: round by round"
    description = (
        f"{_capital(result.figure)}, under attack after each round, mean over "
        f"{result.seeds} seeds. Dashed: the plain mean."
    )
    rounds = range(1, len(result.plain.course) + 1)
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 340)
        for place, one in enumerate(result.outcomes):
            colour, dash = SERIES[place % len(SERIES)], "-" if place else "--"
            axes.plot(rounds, one.course, color=colour, linestyle=dash, label=one.rule)
        axes.set(xlabel="round", ylabel=_short(result))
        axes.set_xticks(rounds[:: max(1, len(rounds) // 12)])
        figure.legend(loc="outside lower center", ncols=2, handlelength=2.4, columnspacing=1.2)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (str(number), *(f"{one.course[number - 1]:.4f}" for one in result.outcomes))
        for number in rounds
    )
    columns = ("Round", *(one.rule for one in result.outcomes))
    return Plot(key, title, description, svg, columns, rows)


def _around(interval: Interval) -> list[list[float]]:
    """Return how far the interval reaches below and above its value."""
    return [[interval.value - interval.low], [interval.high - interval.value]]


def _short(result: PoisoningResult) -> str:
    """Return the figure's name as it fits an axis."""
    return "AUC lost" if result.figure.startswith("AUC") else "triggered rows in the audience"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
