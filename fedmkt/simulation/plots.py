"""The plots of a report: each an inline SVG with its words and the table that says the same.

Guarantee: plots show what the report holds and compute nothing but layout, order and, for ROC
tables, linear interpolation. Equal reports give equal bytes.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmkt.evidence.figures import AucInterval
from fedmkt.evidence.report import ModelResult, Report
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, to_svg

_WIDTH = 400.0
_QUIET = PALETTE["quiet"][0]
JOINT = ("federated", "vertical")
"""How a model was trained where several partners took part and nothing was brought together."""
_ROC_AT = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class LineStyle:
    """How a model is drawn in every plot of a page."""

    colour: str
    dash: str


def line_styles(report: Report) -> dict[str, LineStyle]:
    """Return each model's style: joint models solid, models of one partner or a pool dashed."""
    joint = [model.name for model in report.models if model.training in JOINT]
    others = [model.name for model in report.models if model.training not in JOINT]
    turned = SERIES[::-1]
    solid = {name: LineStyle(SERIES[i % len(SERIES)], "-") for i, name in enumerate(joint)}
    dashed = {name: LineStyle(turned[i % len(turned)], "--") for i, name in enumerate(others)}
    return solid | dashed


def roc_plot(report: Report) -> Plot | None:
    """Return the ROC curves with their bands, or None where the report has none."""
    if not report.curves:
        return None
    styles, key = line_styles(report), "roc"
    auc = {model.name: model.auc.value for model in report.models}
    title = "ROC curves"
    description = (
        "Each curve shows how many prospects a model finds when so many other customers are "
        "reached along with them. Bands: 95%. The dotted line is guessing. "
        "The number beside a name is its AUC."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 440)
        axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle=":")
        for curve in report.curves:
            style = styles[curve.model]
            colour, label = style.colour, f"{curve.model}  {auc[curve.model]:.3f}"
            # A curve may hold its first step already taken: the customers put before all others.
            fpr, tpr, low, high = (
                (0.0, *values) for values in (curve.fpr, curve.tpr, curve.low, curve.high)
            )
            axes.fill_between(fpr, low, high, color=colour, alpha=0.13, lw=0)
            axes.plot(fpr, tpr, color=colour, linestyle=style.dash, label=label)
        axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
        axes.set(xlabel="share of other customers reached", ylabel="share of prospects found")
        _legend_below(figure)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (curve.model, *(f"{np.interp(at, curve.fpr, curve.tpr):.3f}" for at in _ROC_AT))
        for curve in report.curves
    )
    columns = ("Prospects found when reaching", *(f"{at:.0%} of the others" for at in _ROC_AT))
    return Plot(key, title, description, svg, columns, rows)


def epsilon_plot(report: Report) -> Plot | None:
    """Return AUC against epsilon, or None where no joint model has noise."""
    noised = [m for m in report.models if m.training == "federated" and m.epsilon is not None]
    if not noised:
        return None
    key, title = "auc-epsilon", "AUC against epsilon"
    description = (
        "Points: models trained together with noise, with their 95% intervals; rings: single "
        "draws of the noise. Lines: models without noise, for comparison; a shaded band is the 95% "
        "interval of the line that the legend names with it."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 500)
        _draw_references(axes, report)
        _draw_noised(axes, noised)
        epsilons = sorted({model.epsilon for model in noised if model.epsilon is not None})
        axes.set_xscale("log")
        axes.set_xlim(epsilons[0] / 1.7, epsilons[-1] * 1.7)
        axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
        axes.minorticks_off()
        axes.grid(visible=False, axis="x")
        axes.set(xlabel="epsilon (smaller is more private)", ylabel="AUC")
        _legend_below(figure, columns=1)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (
            model.name,
            "none" if model.epsilon is None else f"{model.epsilon:g}",
            interval_text(model.auc),
            ", ".join(f"{draw:.3f}" for draw in model.draws) or "–",
        )
        for model in report.models
    )
    return Plot(key, title, description, svg, ("Model", "Epsilon", "AUC (95%)", "Draws"), rows)


def round_plots(report: Report) -> tuple[Plot, ...]:
    """Return loss and AUC by round; empty where the report has no rounds."""
    if not report.rounds:
        return ()
    return (
        _round_plot(report, "loss", "Loss by round", "loss (mean log loss)"),
        _round_plot(report, "auc", "AUC by round", "AUC"),
    )


def interval_text(interval: AucInterval) -> str:
    """Return an estimate and its interval, three decimals."""
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _draw_references(axes: Axes, report: Report) -> None:
    """Draw models without noise as lines, dashed ones over solid ones they coincide with."""
    styles = line_styles(report)
    drawn: dict[str, str] = {}
    plain = [model for model in report.models if model.epsilon is None]
    for model in sorted(plain, key=lambda model: model.training != "federated"):
        style, value = styles[model.name], f"{model.auc.value:.4f}"
        label = f"{model.name}  {model.auc.value:.3f}"
        if value in drawn:
            label = f"{model.name}: same line as {drawn[value]}"
        elif model.training == "federated":
            label += ", with its 95% band"
            axes.axhspan(model.auc.low, model.auc.high, color=style.colour, alpha=0.1, lw=0)
        drawn.setdefault(value, model.name)
        axes.axhline(model.auc.value, color=style.colour, linestyle=style.dash, label=label, lw=1.4)


def _draw_noised(axes: Axes, noised: list[ModelResult]) -> None:
    ink = PALETTE["ink"][0]
    for i, model in enumerate(noised):
        assert model.epsilon is not None, "the caller selects models with noise"
        low, high = model.auc.value - model.auc.low, model.auc.high - model.auc.value
        axes.errorbar(
            [model.epsilon],
            [model.auc.value],
            yerr=[[low], [high]],
            fmt="o",
            markersize=6,
            capsize=4,
            color=ink,
            label="together, with noise; 95% interval" if i == 0 else None,
        )
        axes.annotate(
            f"{model.auc.value:.3f}",
            (model.epsilon, model.auc.value),
            xytext=(9, 4),
            textcoords="offset points",
            fontsize=10,
        )
        beside = [model.epsilon / 1.08] * len(model.draws)
        axes.plot(beside, model.draws, "o", color=_QUIET, fillstyle="none", markersize=4, lw=0)


def _round_plot(report: Report, value: str, title: str, label: str) -> Plot:
    key, styles = f"rounds-{value}", line_styles(report)
    description = f"{title}, measured on the public evaluation data after each round."
    numbers = sorted({entry.round for entry in report.rounds})
    table: dict[str, dict[int, float]] = {}
    for entry in sorted(report.rounds, key=lambda entry: entry.round):
        table.setdefault(entry.model, {})[entry.round] = getattr(entry, value)
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 300)
        for name, points in table.items():
            style = styles[name]
            axes.plot(
                list(points),
                list(points.values()),
                color=style.colour,
                linestyle=style.dash,
                marker="o",
                markersize=3.5,
                label=name,
            )
        axes.set(xlabel="round", ylabel=label)
        axes.set_xticks(numbers[:: max(1, len(numbers) // 12)])
        _legend_below(figure)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (str(number), *(f"{p[number]:.4f}" if number in p else "–" for p in table.values()))
        for number in numbers
    )
    return Plot(key, title, description, svg, ("Round", *table), rows)


def _legend_below(figure: Figure, *, columns: int = 2) -> None:
    figure.legend(loc="outside lower center", ncols=columns, handlelength=2.4, columnspacing=1.2)
