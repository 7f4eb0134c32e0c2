"""Plots of what partners' columns are worth: who was found, AUC, gain, lift.

Guarantee: as for all plots, they show what the report holds and compute nothing but layout. Colour
says the verdict, in every plot the same, and words say it beside the colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from fedmkt.evaluation.value import NOTHING
from fedmkt.evidence.figures import AucInterval, Interval
from fedmkt.evidence.report import ModelResult, Report
from fedmkt.evidence.shared_parts import Alignment, Value
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, shortened, to_svg

_WIDTH = 400.0
_FONT = 12.0  # still 11 px where a telephone draws the plot 370 px wide
_ROW = 27.0
_LONGEST_NAME = 24
_INK, _QUIET, _REST = (PALETTE[role][0] for role in ("ink", "quiet", "rest"))
VERDICT_COLOUR = {"worth_it": SERIES[2], "adds_nothing": SERIES[1], "not_shown": SERIES[4]}
VERDICT_WORDS = {
    "worth_it": "worth it",
    "adds_nothing": "adds nothing",
    "not_shown": "not shown",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One estimate of a plot. gap: rows of space above it. words: its verdict."""

    label: str
    interval: AucInterval | Interval
    colour: str = _QUIET
    ring: bool = False
    bold: bool = False
    gap: float = 0.0
    words: str = ""


def signed(value: float, decimals: int = 3) -> str:
    """Return a figure with its sign, a true minus."""
    return f"{value:+.{decimals}f}".replace("-", "\u2212")


def plain(name: str) -> str:
    """Return a member's name as it is said in a sentence."""
    return name.replace("_", " ")


def auc_plot(report: Report) -> Plot | None:
    """Return the AUC of every side alone, of the owner with each partner, and of all together."""
    value = report.value
    if value is None:
        return None
    rows = _auc_rows(value, {model.name: model for model in report.models})
    if not rows:
        return None
    key, title = "auc", "How well prospects are found"
    description = (
        "AUC on customers held out, with 95% intervals. Rings: one side's columns alone. Dots: the "
        f"{plain(value.owner)} with one partner, and with all of them, trained with noise. The "
        f"line is the {plain(value.owner)} alone; 0.5 is guessing."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 62 + _ROW * _height(rows))
        axes.axvline(value.owner_auc, color=_INK, linewidth=1.1, linestyle="--")
        low = min(0.5, *(row.interval.low for row in rows))
        high = max(row.interval.high for row in rows)
        _draw_rows(axes, rows, [f"{row.interval.value:.3f}" for row in rows], low, high)
        axes.set_xlabel("AUC", fontsize=_FONT)
        svg = to_svg(figure, key=key, title=title, description=description)
    table = tuple(
        (
            row.label,
            f"{row.interval.value:.3f}",
            f"{row.interval.low:.3f} to {row.interval.high:.3f}",
        )
        for row in rows
    )
    return Plot(key, title, description, svg, ("Who", "AUC", "95% interval"), table)


def gain_plot(report: Report) -> Plot | None:
    """Return what each partner adds to the owner's AUC, with both thresholds of the verdict."""
    value = report.value
    if value is None:
        return None
    rows = _gain_rows(value)
    key, title = "gain", f"What they add to the {plain(value.owner)}'s AUC"
    description = (
        "Gain over the owner alone, on the same customers, with 95% intervals. Worth it: all of "
        f"the interval lies right of 0. Adds nothing: all of it lies left of {NOTHING:g}, the "
        "dotted line. Else it is not shown either way."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 62 + 1.6 * _ROW * _height(rows))
        axes.axvline(0, color=_INK, linewidth=1.1)
        axes.axvline(NOTHING, color=_INK, linewidth=1.2, linestyle=":")
        low = min(-NOTHING, *(row.interval.low for row in rows))
        high = max(2 * NOTHING, *(row.interval.high for row in rows))
        said = [f"{signed(row.interval.value)}\n{row.words}" for row in rows]
        _draw_rows(axes, rows, said, low, high)
        axes.set_xlabel("gain in AUC", fontsize=_FONT)
        svg = to_svg(figure, key=key, title=title, description=description)
    table = tuple(
        (
            row.label,
            signed(row.interval.value),
            f"{signed(row.interval.low)} to {signed(row.interval.high)}",
            row.words,
        )
        for row in rows
    )
    columns = ("Partner", "Gain in AUC", "95% interval", "Verdict")
    return Plot(key, title, description, svg, columns, table)


def lift_plot(report: Report) -> Plot | None:
    """Return how many more prospects than by chance the best tenth of each score holds."""
    value = report.value
    if value is None:
        return None
    rows = [_Row(f"{plain(value.owner)} alone", value.owner_lift)]
    rows += [_Row(f"{plain(one.name)} alone", one.lift) for one in value.partners]
    colour = VERDICT_COLOUR[value.verdict]
    rows.append(_Row("all together", value.joint_lift, colour, bold=True, gap=0.4))
    key, title = "lift", "The best tenth"
    description = (
        "Whoever reaches the tenth of customers that a score puts first finds so many times as "
        "many prospects as in a tenth picked at random. Lines: 95% intervals."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 62 + _ROW * _height(rows))
        high = max(row.interval.high for row in rows)
        places = _places(rows)
        for row, at in zip(rows, places, strict=True):
            colour = row.colour if row.bold else _REST
            axes.barh(at, row.interval.value, color=colour, height=0.62)
            axes.plot([row.interval.low, row.interval.high], [at, at], color=_INK, linewidth=1.2)
            text = f"{row.interval.value:.2f} ×"
            axes.text(high * 1.04, at, text, va="center", fontsize=_FONT, color=_INK)
        axes.axvline(1, color=_INK, linewidth=1.1, linestyle="--")
        _labelled(axes, rows, places)
        axes.set_xlim(0, high * 1.24)
        axes.spines["bottom"].set_bounds(0, high)
        axes.set_xticks(range(int(high) + 1))
        axes.set_xlabel("times as many prospects as by chance", fontsize=_FONT)
        svg = to_svg(figure, key=key, title=title, description=description)
    table = tuple(
        (
            row.label,
            f"{row.interval.value:.2f}",
            f"{row.interval.low:.2f} to {row.interval.high:.2f}",
        )
        for row in rows
    )
    return Plot(key, title, description, svg, ("Score", "Lift", "95% interval"), table)


def found_plots(report: Report) -> tuple[Plot, ...]:
    """Return one plot an alignment: what each member offered, and how much of it all share."""
    return tuple(_found_plot(one, index) for index, one in enumerate(report.alignment))


def _found_plot(alignment: Alignment, index: int) -> Plot:
    key, title = f"found-{index}", "Offered, and shared by all"
    description = (
        f"Each bar is the customers a member offered; the filled part are those that all "
        f"{len(alignment.members)} share. Sizes carry noise of up to ± {2 * alignment.noise:.0f}."
    )
    most = max(alignment.sizes.values())
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 62 + 36 * len(alignment.members))
        for place, member in enumerate(alignment.members):
            size, rate = alignment.sizes[member], alignment.match_rate[member]
            axes.barh(place, size, color=_REST, height=0.66)
            axes.barh(place, size * rate, color=SERIES[0], height=0.66)
            axes.text(most * 1.03, place, f"{rate:.0%}", va="center", fontsize=_FONT, color=_INK)
        axes.set_yticks(
            range(len(alignment.members)),
            [shortened(plain(member), _LONGEST_NAME) for member in alignment.members],
            fontsize=_FONT,
        )
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(alignment.members) - 0.4, -0.6)
        axes.set_xlim(0, most * 1.16)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_bounds(0, most)
        axes.grid(visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("customers", fontsize=_FONT)
        svg = to_svg(figure, key=key, title=title, description=description)
    columns = ("Member", "Offered", "Shared by all", "Entered twice", "Opted out")
    rows = tuple(
        (
            member,
            f"{alignment.sizes[member]:,}",
            f"{alignment.match_rate[member]:.1%}",
            f"{alignment.duplicates[member]:,}",
            f"{alignment.opted_out[member]:,}",
        )
        for member in alignment.members
    )
    return Plot(key, title, description, svg, columns, rows)


def _auc_rows(value: Value, models: dict[str, ModelResult]) -> list[_Row]:
    owner = plain(value.owner)
    members = (value.owner, *(partner.name for partner in value.partners))
    rows = [
        _Row(f"{plain(member)} alone", models[f"{member} alone"].auc, _INK, ring=True)
        for member in members
        if f"{member} alone" in models
    ]
    rows += [
        _Row(
            f"{owner} + {plain(partner.name)}",
            models[partner.run].auc,
            VERDICT_COLOUR[partner.verdict],
            gap=0.0 if number else 0.5,
            words=VERDICT_WORDS[partner.verdict],
        )
        for number, partner in enumerate(value.partners)
        if partner.run in models
    ]
    colour, words = VERDICT_COLOUR[value.verdict], VERDICT_WORDS[value.verdict]
    if value.run in models:
        joint = models[value.run].auc
        rows.append(_Row("all together", joint, colour, bold=True, gap=0.5, words=words))
    return rows


def _gain_rows(value: Value) -> list[_Row]:
    rows = [
        _Row(
            f"{plain(partner.name)}",
            partner.gain,
            VERDICT_COLOUR[partner.verdict],
            words=VERDICT_WORDS[partner.verdict],
        )
        for partner in value.partners
    ]
    colour, words = VERDICT_COLOUR[value.verdict], VERDICT_WORDS[value.verdict]
    return [*rows, _Row("all together", value.gain, colour, bold=True, gap=0.5, words=words)]


def _draw_rows(
    axes: Axes, rows: Sequence[_Row], said: Sequence[str], low: float, high: float
) -> None:
    """Draw estimates with their intervals, one below the other, figures at the right."""
    span, places = high - low, _places(rows)
    for row, at, text in zip(rows, places, said, strict=True):
        interval = row.interval
        axes.plot([interval.low, interval.high], [at, at], color=row.colour, linewidth=2.0)
        axes.plot(
            [interval.value],
            [at],
            marker="o",
            markersize=9 if row.bold else 7,
            color=row.colour,
            markerfacecolor=_REST if row.ring else row.colour,
            markeredgewidth=1.6,
        )
        weight = "bold" if row.bold else "normal"
        axes.text(
            high + span * 0.05, at, text, va="center", fontsize=_FONT, color=_INK, weight=weight
        )
    _labelled(axes, rows, places)
    axes.set_xlim(low - span * 0.05, high + span * 0.27)
    axes.spines["bottom"].set_bounds(low - span * 0.05, high + span * 0.03)
    axes.locator_params(axis="x", nbins=6)
    shown = [tick for tick in axes.get_xticks() if low - span * 0.05 <= tick <= high + span * 0.03]
    axes.set_xticks(shown)


def _labelled(axes: Axes, rows: Sequence[_Row], places: Sequence[float]) -> None:
    labels = [shortened(row.label, _LONGEST_NAME) for row in rows]
    axes.set_yticks(places, labels, fontsize=_FONT)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.bold else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")


def _places(rows: Sequence[_Row]) -> list[float]:
    """Return where each row stands, from the top, in rows."""
    places, at = [], -1.0
    for row in rows:
        at += 1 + row.gap
        places.append(at)
    return places


def _height(rows: Sequence[_Row]) -> float:
    return _places(rows)[-1] + 1
