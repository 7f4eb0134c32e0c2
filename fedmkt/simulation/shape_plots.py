"""Plots of what each feature adds to a score: steps for numbers, bars for categories.

Guarantee: every effect of a shape stands in the plot's table; a plot of many categories shows the
strongest and says how many it leaves to the table.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from fedmkt.core.stages import FloatArray
from fedmkt.evidence.report import Report, Shape
from fedmkt.simulation.plots import LineStyle, line_styles
from fedmkt.simulation.svg import PALETTE, Plot, new_axes, plot_style, shortened, to_svg

_WIDTH = 360.0
_MOST_BARS = 14
_MOST_STEPS = 32
_LONGEST_LABEL = 22
_EFFECT = "effect on log-odds"


def shape_plots(report: Report) -> tuple[Plot, ...]:
    """Return one plot a feature, the features that move the score most first.

    Models are drawn over one another; the first listed is the one the order and the bars follow.
    """
    by_feature: dict[str, list[Shape]] = {}
    for shape in report.shapes:
        by_feature.setdefault(shape.feature, []).append(shape)
    ordered = sorted(by_feature.values(), key=lambda shapes: -_span(shapes[0]))
    styles = line_styles(report)
    return tuple(_shape_plot(shapes, styles, index) for index, shapes in enumerate(ordered))


def _shape_plot(shapes: Sequence[Shape], styles: dict[str, LineStyle], index: int) -> Plot:
    first, key = shapes[0], f"shape-{index}"
    title = first.feature.replace("_", " ")
    shown = f"{title} ({first.unit})" if first.unit else title
    kind = "Steps" if first.edges else "Bars"
    joined = first.edges and len(first.edges) >= _MOST_STEPS
    drawn = f"; drawn as means of neighbouring bins, {_MOST_STEPS} steps" if joined else ""
    description = (
        f"{kind}: what {title} adds to the score, in log-odds; "
        f"from end to end it moves {first.model} by {_span(first):.2f}{drawn}."
    )
    with plot_style(key):
        if first.edges:
            figure, axes = new_axes(_WIDTH, 240)
            _draw_steps(axes, shapes, styles)
            axes.set(xlabel=shown, ylabel=_EFFECT)
        else:
            bars = min(len(first.labels), _MOST_BARS)
            figure, axes = new_axes(_WIDTH, 76 + 19 * bars)
            _draw_bars(axes, shapes, styles)
            left_out = len(first.labels) - bars
            more = (
                f"\n{left_out} weaker {'one' if left_out == 1 else 'ones'} in the table"
                if left_out
                else ""
            )
            axes.set_xlabel(_EFFECT + more)
        svg = to_svg(figure, key=key, title=title, description=description)
    columns, rows = _table(shapes, shown)
    return Plot(key, title, description, svg, columns, rows)


def _table(
    shapes: Sequence[Shape], heading: str
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return models side by side where they share their bins, else one after the other."""
    labels = shapes[0].labels
    if all(shape.labels == labels for shape in shapes):
        effects = zip(*(shape.effects for shape in shapes), strict=True)
        rows = zip(labels, effects, strict=True)
        side_by_side = tuple((label, *(f"{e:+.3f}" for e in several)) for label, several in rows)
        return (heading, *(shape.model for shape in shapes)), side_by_side
    return (heading, "Effect", "Model"), tuple(
        (label, f"{effect:+.3f}", shape.model)
        for shape in shapes
        for label, effect in zip(shape.labels, shape.effects, strict=True)
    )


def _draw_steps(axes: Axes, shapes: Sequence[Shape], styles: dict[str, LineStyle]) -> None:
    axes.axhline(0, color=PALETTE["quiet"][0], linewidth=0.8)
    low = min(_ends(shape)[0] for shape in shapes)
    high = max(_ends(shape)[-1] for shape in shapes)
    for shape in shapes:
        style = styles[shape.model]
        ends = np.concatenate([[low], shape.edges, [high]])
        steps = np.array(shape.effects[: len(shape.edges) + 1])
        steps, ends = _joined(steps, ends)
        axes.stairs(steps, ends, baseline=None, color=style.colour, linestyle=style.dash, lw=1.6)
    _scale(axes, shapes[0], low, high)
    missing = [shape.effects[-1] for shape in shapes if len(shape.effects) == len(shape.edges) + 2]
    if missing:
        text = "missing: " + ", ".join(f"{effect:+.2f}" for effect in missing)
        axes.set_title(text, fontsize=10, loc="right", color=PALETTE["quiet"][0])


def _joined(steps: FloatArray, ends: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Join neighbouring inner bins to at most `_MOST_STEPS` steps, each the mean of its bins.

    The outer bins stay as they are: they often hold most customers (no capital gain, say).
    """
    if len(steps) <= _MOST_STEPS:
        return steps, ends
    starts = np.unique(np.linspace(1, len(steps) - 1, _MOST_STEPS - 1).round().astype(int))
    starts = np.concatenate([[0], starts])
    means = np.add.reduceat(steps, starts) / np.diff([*starts, len(steps)])
    return means, np.concatenate([ends[starts], ends[-1:]])


def _ends(shape: Shape) -> tuple[float, float]:
    """Return where to end the plot on either side, since the outer bins are open."""
    first, last = shape.edges[0], shape.edges[-1]
    if shape.scale == "log":
        return min(0.0, 2 * first), 1.5 * last
    width = float(np.median(np.diff(shape.edges))) if len(shape.edges) > 1 else 1.0
    return first - width, last + width


def _scale(axes: Axes, shape: Shape, low: float, high: float) -> None:
    if shape.scale == "linear":
        axes.set_xlim(low, high)
        return
    least = min((edge for edge in shape.edges if edge > 0), default=1.0)
    axes.set_xscale("symlog", linthresh=least, linscale=0.4)
    axes.set_xlim(low, high)
    decades = 10.0 ** np.arange(np.ceil(np.log10(least)), np.floor(np.log10(high)) + 1)
    ticks = [0.0, *decades]
    axes.set_xticks(ticks, [_compact(tick) for tick in ticks])
    axes.minorticks_off()


def _draw_bars(axes: Axes, shapes: Sequence[Shape], styles: dict[str, LineStyle]) -> None:
    first = shapes[0]
    strongest = sorted(range(len(first.labels)), key=lambda i: -abs(first.effects[i]))[:_MOST_BARS]
    upwards = (lambda i: -i) if first.ordered else (lambda i: first.effects[i])
    kept = sorted(strongest, key=upwards)
    rows = np.arange(len(kept))
    axes.barh(rows, [first.effects[i] for i in kept], color=styles[first.model].colour, height=0.66)
    for shape in shapes[1:]:
        by_label = dict(zip(shape.labels, shape.effects, strict=True))
        effects = [by_label.get(first.labels[i], np.nan) for i in kept]
        axes.plot(
            effects,
            rows,
            marker="o",
            linestyle="",
            markersize=7,
            color=styles[shape.model].colour,
            markeredgecolor=PALETTE["rest"][0],
        )
    axes.axvline(0, color=PALETTE["quiet"][0], linewidth=0.8)
    axes.set_yticks(rows, [shortened(first.labels[i], _LONGEST_LABEL) for i in kept])
    axes.set_ylim(-0.6, len(kept) - 0.4)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(visible=False, axis="y")


def _span(shape: Shape) -> float:
    return max(shape.effects) - min(shape.effects)


def _compact(value: float) -> str:
    for limit, sign in ((1e6, "m"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{sign}"
    return f"{value:g}"
