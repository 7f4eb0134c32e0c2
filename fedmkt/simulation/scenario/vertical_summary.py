"""What each partner is worth, from a vertical sweep's results: gains, with intervals over seeds.

Guarantee: a gain is paired: within a seed, two models are measured on the same customers and their
difference is taken; the interval is Student's, over the seeds' differences. Diverged trainings are
left out. Not guaranteed: that an interval speaks of other data; it speaks of other seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes

from fedmkt.simulation.scenario.page_plots import (
    mean_words,
    place_values,
    setting_words,
    value_words,
)
from fedmkt.simulation.scenario.rows import TRAINED
from fedmkt.simulation.scenario.summary import Mean, Values, last_rounds, mean_of
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, shortened, to_svg

EVERYBODY = "all together"
_WIDTH, _HEIGHT = 400.0, 340.0


@dataclass(frozen=True, slots=True)
class Worth:
    """What a partner, or all together, add to the label owner's own model.

    partner: None for all together. gain: in AUC over all test customers. shared_gain: among those
    whom the model's parties all know. joint, owner: the AUCs behind it. best: the AUC of the true
    probabilities, None where nobody knows them. share, true_share: of the partner's part in the
    variance of the joint score, and of the true one.
    """

    values: Values
    partner: str | None
    gain: Mean
    shared_gain: Mean | None
    joint: Mean | None
    owner: Mean | None
    best: Mean | None
    share: Mean | None
    true_share: Mean | None

    @property
    def name(self) -> str:
        """Return whose worth it is."""
        return self.partner or EVERYBODY


def worth_of(results: pl.DataFrame, keys: Sequence[str]) -> tuple[Worth, ...]:
    """Return a line for each combination of swept values, and each partner; all together last.

    Empty for a sweep that is not vertical.
    """
    last = last_rounds(results).filter(pl.col("status") == TRAINED)
    if last["gain"].null_count() == last.height:
        return ()
    groups = last.group_by(list(keys), maintain_order=True) if keys else [((), last)]
    found: list[Worth] = []
    for values, rows in groups:
        pairs = rows.filter(pl.col("method") == "pair")
        for name in sorted(set(pairs["partner"])):
            found += _worth(tuple(values), name, pairs.filter(pl.col("partner") == name), rows)
        found += _worth(tuple(values), None, rows.filter(pl.col("method") == "federated"), rows)
    return tuple(found)


def gain_plots(lines: Sequence[Worth], keys: Sequence[str]) -> tuple[Plot, ...]:
    """Return gains against the values of each key that takes more than one."""
    return tuple(
        _gain_plot(lines, keys, place)
        for place in range(len(keys))
        if len({line.values[place] for line in lines}) > 1
    )


def draw_gains(axes: Axes, lines: Sequence[Worth], place: int) -> None:
    """Draw a line a partner, gains against the values of the swept key at `place`."""
    at = place_values(axes, list(dict.fromkeys(line.values[place] for line in lines)))
    groups: dict[str, list[Worth]] = {}
    for line in lines:
        rest = [value_words(v) for other, v in enumerate(line.values) if other != place]
        groups.setdefault(", ".join((line.name, *rest)), []).append(line)
    for colour, (label, group) in zip(SERIES, groups.items(), strict=False):
        points = sorted(((at[one.values[place]], one.gain) for one in group), key=lambda p: p[0])
        axes.errorbar(
            [x for x, _ in points],
            [gain.value for _, gain in points],
            yerr=[gain.half or 0.0 for _, gain in points],
            color=colour,
            marker="o",
            markersize=5,
            capsize=3,
            label=shortened(label, 34),
        )
    axes.axhline(0.0, color=PALETTE["quiet"][0], linewidth=0.8)


def _worth(
    values: Values, partner: str | None, own: pl.DataFrame, all_: pl.DataFrame
) -> list[Worth]:
    gain = _mean(own, "gain")
    if gain is None:
        return []
    return [
        Worth(
            values,
            partner,
            gain,
            shared_gain=_mean(own, "shared_gain"),
            joint=_mean(own, "auc"),
            owner=_mean(all_.filter(pl.col("method") == "alone"), "auc"),
            best=_mean(all_.filter(pl.col("method") == "truth"), "auc"),
            share=_mean(own, "share"),
            true_share=_mean(own, "true_share"),
        )
    ]


def _mean(rows: pl.DataFrame, column: str) -> Mean | None:
    return mean_of(rows[column].drop_nulls().to_list())


def _gain_plot(lines: Sequence[Worth], keys: Sequence[str], place: int) -> Plot:
    key, name = keys[place], keys[place].rpartition(".")[2]
    identity = f"gain-{key.replace('.', '-').replace('_', '-')}"
    title = f"Gain against {name}"
    description = "AUC gained over the label owner alone: mean over seeds, with its 95% interval."
    with plot_style(identity):
        figure, axes = new_axes(_WIDTH, _HEIGHT)
        draw_gains(axes, lines, place)
        axes.set(xlabel=name, ylabel="gain in AUC")
        figure.legend(loc="outside lower center", ncols=2, handlelength=2.0, columnspacing=1.2)
        svg = to_svg(figure, key=identity, title=title, description=description)
    rows = tuple(
        (setting_words(keys, line.values), line.name, mean_words(line.gain)) for line in lines
    )
    return Plot(identity, title, description, svg, ("Setting", "Partner", "Gain"), rows)
