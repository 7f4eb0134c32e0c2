"""The pictures of attacks, as SVG with the table that says the same.

Guarantee: that of `fedmkt.simulation.svg`; plots compute nothing but layout.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from fedmkt.simulation.attacks.canaries import CanaryAudit
from fedmkt.simulation.attacks.label_inference import SEEN
from fedmkt.simulation.attacks.result import AttackResult, interval_words
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, to_svg

_WIDTH = 400.0
_QUIET = PALETTE["quiet"][0]
_BINS = 30


def canary_plot(audit: CanaryAudit) -> Plot:
    """Return the scores of the canaries that were in and of those that were not."""
    return canary_heaps(audit.result, key="canary-scores", title="Scores of the canaries")


def canary_heaps(result: AttackResult, *, key: str, title: str) -> Plot:
    """Return the same of an audit's result, under a key and a title of its own."""
    description = (
        "Each canary was in the training by the toss of a coin. The further the two heaps stand "
        "apart, the better the coin can be guessed from what was released."
    )
    heaps = [result.series_named(name) for name in ("in", "out")]
    edges = np.histogram_bin_edges(np.concatenate([heap.x for heap in heaps]), _BINS)
    counts = [np.histogram(heap.x, edges)[0] for heap in heaps]
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 280)
        for heap, count, colour in zip(heaps, counts, SERIES, strict=False):
            axes.stairs(count, edges, color=colour, fill=True, alpha=0.35)
            axes.stairs(count, edges, color=colour, label=heap.name)
        axes.set(xlabel="score", ylabel="canaries")
        figure.legend(loc="outside lower center", ncols=2)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (f"{low:.3g} to {high:.3g}", str(inside), str(outside))
        for low, high, inside, outside in zip(edges, edges[1:], *counts, strict=False)
    )
    return Plot(key, title, description, svg, ("Score", "In", "Not in"), rows)


def bounds_plot(results: Sequence[AttackResult], stated: float) -> Plot:
    """Return the lower bounds on epsilon beside the statement, for each defence."""
    description = (
        "How much epsilon a training is shown to lose, at least. Bars: 95% intervals over seeds; "
        "rings: what is stated. A dot right of its ring shows that the statement does not hold."
    )
    beside = [replace(one, chance=stated) for one in results]
    plot = _comparison("canary-bounds", "Lower bounds on epsilon", description, beside)
    return replace(plot, columns=(*plot.columns[:-1], "Stated"))


def epsilon_bar(audit: CanaryAudit) -> Plot:
    """Return the lower bound beside the stated epsilon."""
    key, title = "canary-epsilon", "Lower bound and statement"
    description = "The bar reaches from the lower bound (95%) upward; the line is the statement."
    bound = audit.result.value
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 130)
        top = max(audit.stated, bound) * 1.3
        axes.barh([0], [top - bound], left=[bound], color=SERIES[0], alpha=0.35, height=0.5)
        axes.axvline(bound, color=SERIES[0], label=f"lower bound {bound:.2f}")
        axes.axvline(audit.stated, color=SERIES[1], label=f"stated {audit.stated:g}", ls="--")
        axes.set(xlim=(0, top), xlabel="epsilon", yticks=[])
        figure.legend(loc="outside lower center", ncols=2)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = (("lower bound", f"{bound:.3f}"), ("stated", f"{audit.stated:g}"))
    return Plot(key, title, description, svg, ("Epsilon", "Value"), rows)


def membership_plot(results: Sequence[AttackResult]) -> Plot:
    """Return the attack's ROC curve for each defence, both axes logarithmic."""
    key, title = "membership-roc", "Membership inference"
    description = (
        "How many members an attack finds when it takes so many others for members. The dotted "
        "line is guessing."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 380)
        axes.plot([1e-3, 1], [1e-3, 1], color=_QUIET, linewidth=0.8, linestyle=":")
        for one, colour in zip(results, SERIES, strict=False):
            curve = one.series_named("curve")
            axes.plot(curve.x, np.maximum(curve.y, 1e-3), color=colour, label=one.defence)
        axes.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1.05))
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        # The scale's own labels are formulas, which the plot style leaves as they are written.
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([0.001, 0.01, 0.1, 1.0], ["0.1%", "1%", "10%", "100%"])
        figure.legend(loc="outside lower center", ncols=2)
        svg = to_svg(figure, key=key, title=title, description=description)
    return Plot(key, title, description, svg, *_table(results))


def inversion_plot(results: Sequence[AttackResult]) -> Plot:
    """Return the share of cells read back right, for each defence."""
    description = (
        "The share of a partner's values that are read back from one update. Bars: 95% intervals; "
        "rings: what guessing gives."
    )
    return _comparison("inversion", "Gradient inversion", description, results)


def inspection_plot(results: Sequence[AttackResult]) -> Plot:
    """Return how far what is read of partners is from the truth, for each defence."""
    description = (
        "How far what is read from updates is from what holds for each partner. Bars: 95% "
        "intervals; rings: knowing nothing but the average of all partners."
    )
    return _comparison("inspection", "Inspection of updates", description, results)


def collusion_plot(results: Sequence[AttackResult]) -> Plot:
    """Return what colluding members make of an honest one's update, by how many collude."""
    description = (
        "The correlation of what colluding members are left with and an honest member's own part "
        "of the sum. Bars: 95% intervals; rings: what guessing gives."
    )
    return _comparison("collusion", "Collusion in the secure sum", description, results)


def noise_plot(results: Sequence[AttackResult]) -> Plot:
    """Return the noise that is left to colluding members, against what the job states."""
    description = (
        "The noise multiplier left in the sum when colluding members take their shares off. Bars: "
        "95% intervals; rings: what the job counts on."
    )
    return _comparison("collusion-noise", "Noise left to colluding members", description, results)


def other_plot(results: Sequence[AttackResult]) -> Plot:
    """Return any figure for each defence, where an attack has no plot of its own."""
    description = "Bars: 95% intervals; rings: what guessing gives, or nobody hostile."
    return _comparison("figure", results[0].name.capitalize(), description, results)


def rounds_plot(results: Sequence[AttackResult], key: str, title: str, description: str) -> Plot:
    """Return a figure by how many rounds the attacker saw, a line for each defence."""
    curves = [one.series_named(SEEN) for one in results]
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 320 + 18 * len(results))
        axes.axhline(results[0].chance, color=_QUIET, linewidth=1.6, linestyle=":")
        apart = 0.015 * curves[0].x[-1]  # so that bars of like figures do not hide each other
        for place, (one, curve, colour) in enumerate(zip(results, curves, SERIES, strict=False)):
            axes.plot(curve.x, curve.y, "o-", color=colour, markersize=4, label=one.defence)
            at = curve.x[-1] + apart * place
            axes.errorbar(at, one.value, yerr=_error(one), color=colour, capsize=3)
        axes.set(xlabel="rounds seen", ylabel=results[0].figure, xticks=curves[0].x)
        figure.legend(loc="outside lower center", ncols=1)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = [
        (f"{at:g}", *(f"{curve.y[place]:.3f}" for curve in curves))
        for place, at in enumerate(curves[0].x)
    ]
    rows.append(("95% interval", *map(interval_words, results)))
    return Plot(key, title, description, svg, ("Rounds seen", *_defences(results)), tuple(rows))


def _comparison(key: str, title: str, description: str, results: Sequence[AttackResult]) -> Plot:
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 90 + 36 * len(results))
        _draw_results(axes, results)
        svg = to_svg(figure, key=key, title=title, description=description)
    return Plot(key, title, description, svg, *_table(results))


def _draw_results(axes: Axes, results: Sequence[AttackResult]) -> None:
    for place, one in enumerate(results):
        axes.errorbar([one.value], [place], xerr=_error(one), fmt="o", color=SERIES[0], capsize=4)
        axes.plot([one.chance], [place], "o", color=_QUIET, fillstyle="none")
    axes.set_yticks(range(len(results)), _defences(results))
    axes.set(ylim=(len(results) - 0.5, -0.5))
    unit = f" ({results[0].unit})" if results[0].unit else ""
    axes.set_xlabel(results[0].figure + unit)


def _error(one: AttackResult) -> list[list[float]]:
    """Return how far the interval reaches below and above its value."""
    below, above = max(one.value - one.low, 0.0), max(one.high - one.value, 0.0)
    return [[below], [above if math.isfinite(above) else 0.0]]


def _defences(results: Sequence[AttackResult]) -> list[str]:
    return [one.defence for one in results]


def _table(
    results: Sequence[AttackResult],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    columns = ("Defence", results[0].figure, "95% interval", "By chance")
    rows = tuple(
        (one.defence, f"{one.value:.3f}", interval_words(one), f"{one.chance:.3f}")
        for one in results
    )
    return columns, rows
