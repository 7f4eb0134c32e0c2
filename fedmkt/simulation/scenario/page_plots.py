"""The plots of a sweep's page: AUC against each swept key, and AUC by round.

Guarantee: plots show means over seeds and their intervals, and compute nothing else. Equal results
give equal bytes.
"""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmkt.simulation.scenario.rows import TRAINED
from fedmkt.simulation.scenario.summary import Line, Mean, Values, mean_of
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, shortened, to_svg

_WIDTH, _HEIGHT = 400.0, 340.0
_QUIET = PALETTE["quiet"][0]
_FAR = 20.0  # from so many times the smallest value on, numbers are spaced by their ratios
_LONGEST = 34


def key_plots(lines: Sequence[Line], keys: Sequence[str], *, alone: str) -> tuple[Plot, ...]:
    """Return AUC against the values of each key that takes more than one. alone: who is."""
    return tuple(
        _key_plot(lines, keys, place, alone)
        for place in range(len(keys))
        if len({line.values[place] for line in lines}) > 1
    )


def round_plot(results: pl.DataFrame, keys: Sequence[str]) -> Plot | None:
    """Return the joint model's AUC by round, a line for each combination of values.

    Of more combinations than there are colours the first are drawn; the numbers have all.
    """
    joint = results.filter((pl.col("method") == "federated") & (pl.col("status") == TRAINED))
    found: dict[str, dict[int, Mean]] = {}
    for group, each in joint.group_by([*keys, "round"], maintain_order=True):
        *values, number = group
        mean = mean_of(each["auc"].to_list())
        if mean is not None and isinstance(number, int):
            found.setdefault(setting_words(keys, tuple(values)), {})[number] = mean
    numbers = sorted({number for points in found.values() for number in points})
    if len(numbers) < 2:
        return None
    key, title = "auc-rounds", "AUC by round"
    description = "The joint model on the test rows after each round, mean over seeds."
    description += _drawn_of(len(found))
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, _HEIGHT)
        for colour, (name, points) in zip(SERIES, found.items(), strict=False):
            values = [points[number].value for number in points]
            axes.plot(list(points), values, color=colour, marker="o", markersize=3.5, label=name)
        axes.set(xlabel="round", ylabel="AUC")
        axes.set_xticks(numbers[:: max(1, len(numbers) // 12)])
        _legend(figure, len(found))
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (name, *(f"{points[n].value:.4f}" if n in points else "–" for n in numbers))
        for name, points in found.items()
    )
    columns = ("Setting", *(f"Round {number}" for number in numbers))
    return Plot(key, title, description, svg, columns, rows)


def setting_words(keys: Sequence[str], values: Values) -> str:
    """Return a combination of values in words, as `epsilon 1, kind iid`."""
    words = (
        f"{key.rpartition('.')[2]} {value_words(v)}" for key, v in zip(keys, values, strict=True)
    )
    return ", ".join(words) or "the one setting"


def value_words(value: object) -> str:
    """Return one swept value in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def mean_words(mean: Mean | None) -> str:
    """Return a mean with its interval, three decimals."""
    if mean is None:
        return "–"
    if mean.half is None:
        return f"{mean.value:.3f}"
    return f"{mean.value:.3f} ({mean.value - mean.half:.3f} to {mean.value + mean.half:.3f})"


def _drawn_of(lines: int) -> str:
    """Return a sentence where there are more lines than colours."""
    if lines <= len(SERIES):
        return ""
    return f" Drawn are the first {len(SERIES)} of {lines} settings; the numbers have all."


def _key_plot(lines: Sequence[Line], keys: Sequence[str], place: int, alone: str) -> Plot:
    key, name = keys[place], keys[place].rpartition(".")[2]
    others = [other for at, other in enumerate(keys) if at != place]
    groups: dict[str, list[Line]] = {}
    for line in lines:
        rest = tuple(value for at, value in enumerate(line.values) if at != place)
        groups.setdefault(setting_words(others, rest) if others else "together", []).append(line)
    title = f"AUC against {key}"
    description = "Points: the joint model, mean over seeds with its 95% interval." + (
        _drawn_of(len(groups))
        if others
        else f" Broken lines: the same rows in one place, and the {alone} alone, without noise."
    )
    identity = f"auc-{key.replace('.', '-').replace('_', '-')}"
    with plot_style(identity):
        figure, axes = new_axes(_WIDTH, _HEIGHT)
        values = list(dict.fromkeys(line.values[place] for line in lines))
        at = place_values(axes, values)
        for colour, (label, group) in zip(SERIES, groups.items(), strict=False):
            _draw_joint(axes, [(at[one.values[place]], one) for one in group], colour, label)
        if not others:
            _draw_beside(axes, [(at[one.values[place]], one) for one in lines], alone)
        axes.set(xlabel=name, ylabel="AUC")
        _legend(figure, len(groups) if others else 3)
        svg = to_svg(figure, key=identity, title=title, description=description)
    rows = tuple(
        (
            setting_words(keys, line.values),
            mean_words(line.joint),
            mean_words(line.pooled),
            mean_words(line.alone),
        )
        for line in lines
    )
    columns = ("Setting", "Together", "In one place", f"{alone.capitalize()} alone")
    return Plot(identity, title, description, svg, columns, rows)


def place_values(axes: Axes, values: Sequence[object]) -> dict[object, float]:
    """Return where each value stands on the x axis, which is set up for them."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        axes.set_xticks(range(len(values)), [shortened(value_words(v), 12) for v in values])
        axes.set_xlim(-0.4, len(values) - 0.6)
        return {value: float(place) for place, value in enumerate(values)}
    low, high = min(numbers), max(numbers)
    if low > 0 and high >= 5 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.4, high * 1.4)
    axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
    axes.minorticks_off()
    return {value: float(value) for value in numbers}


def _draw_joint(axes: Axes, points: Sequence[tuple[float, Line]], colour: str, label: str) -> None:
    found = sorted(((x, line.joint) for x, line in points if line.joint), key=lambda one: one[0])
    axes.errorbar(
        [x for x, _ in found],
        [mean.value for _, mean in found],
        yerr=[mean.half or 0.0 for _, mean in found],
        color=colour,
        marker="o",
        markersize=5,
        capsize=3,
        label=shortened(label, _LONGEST),
    )


def _draw_beside(axes: Axes, points: Sequence[tuple[float, Line]], alone: str) -> None:
    """Draw the twins without noise."""
    ordered = sorted(points, key=lambda one: one[0])
    for label, dash, means in (
        ("in one place", "--", [(x, line.pooled) for x, line in ordered]),
        (f"{alone} alone", ":", [(x, line.alone) for x, line in ordered]),
    ):
        found = [(x, mean.value) for x, mean in means if mean is not None]
        if found:
            xs, ys = zip(*found, strict=True)
            lone = "_" if len(found) == 1 else ""  # a line through one point shows nothing
            axes.plot(xs, ys, color=_QUIET, linestyle=dash, label=label, marker=lone, ms=14)


def _legend(figure: Figure, entries: int) -> None:
    columns = 1 if entries > 4 else 2
    figure.legend(loc="outside lower center", ncols=columns, handlelength=2.4, columnspacing=1.2)
