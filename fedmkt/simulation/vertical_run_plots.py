"""Plots of what the runs took and what they gave away: attack, students, seconds.

Guarantee: as for all plots, they show what the report holds and compute nothing but layout.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from fedmkt.evidence.report import Report
from fedmkt.evidence.shared_parts import ColumnInference, RunCost
from fedmkt.simulation.svg import PALETTE, SERIES, Plot, new_axes, plot_style, shortened, to_svg
from fedmkt.simulation.vertical_plots import plain

_WIDTH = 400.0
_FONT = 12.0
_ROW = 27.0
_LONGEST_NAME = 24
_INK, _QUIET, _REST = (PALETTE[role][0] for role in ("ink", "quiet", "rest"))
STAGES: Mapping[str, tuple[str, ...]] = {
    "opening, keys": ("open",),
    "finding customers": ("blind", "hop", "match", "finish", "count"),
    "encrypting": ("residuals",),
    "adding up encrypted": ("products",),
    "noise, steps, scores": ("noised", "scores", "result", "student"),
}
_STAGE_COLOURS = (SERIES[4], SERIES[0], SERIES[1], SERIES[2], SERIES[3])
_CLOSING = "closing, receipts"


def inference_plot(report: Report) -> Plot | None:
    """Return how well the owner guesses partners' columns, beside the commonest value."""
    if not report.column_inference:
        return None
    owner = "owner" if report.value is None else plain(report.value.owner)
    rows = _by_column(report.column_inference)
    known = max(one.known for one in report.column_inference)
    key, title = "inference", f"What totals tell the {owner} about columns"
    description = (
        f"An attack: the {owner} knows a column for {known:,} customers and guesses it for all "
        "others from how their totals moved. Ring: guessing the commonest value. Dot: from the "
        "total of several partners. Diamond: trained with this partner alone, so that the totals "
        "are its scores."
    )
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 96 + _ROW * len(rows))
        alone = runs_of_one(report.column_inference)
        for place, several in enumerate(rows.values()):
            _draw_guesses(axes, place, several, alone)
        names = [shortened(plain(column), _LONGEST_NAME) for _, column in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=_FONT)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.03)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("customers guessed right", fontsize=_FONT)
        _guess_key(axes)
        figure.legend(loc="outside lower center", ncols=1, handlelength=1.2)
        svg = to_svg(figure, key=key, title=title, description=description)
    table = tuple(
        (
            one.column,
            one.partner,
            one.run,
            f"{one.accuracy:.1%}",
            f"{one.majority:.1%}",
        )
        for several in rows.values()
        for one in several
    )
    columns = ("Column", "Partner", "Totals of run", "Guessed right", "Commonest value")
    return Plot(key, title, description, svg, columns, table)


def recall_plot(report: Report) -> Plot | None:
    """Return the share of prospects that each student finds among so many customers reached."""
    if not report.students:
        return None
    key, title = "recall", "Prospects found beyond the overlap"
    description = (
        "A student ranks customers by one partner's columns alone. Bars: the share of all "
        "prospects among so many percent reached, on public rows. Lines across: by chance."
    )
    names = [student.partner for student in report.students]
    reached = tuple(report.students[0].recall)
    step = len(names) + 1.0
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 96 + 22 * step * len(reached))
        ticks = []
        for group, percent in enumerate(reached):
            for place, student in enumerate(report.students):
                at, share = group * step + place, student.recall[percent]
                colour = SERIES[place % len(SERIES)]
                label = plain(student.partner) if group == 0 else None
                axes.barh(at, share, color=colour, height=0.78, label=label)
                axes.text(share + 0.01, at, f"{share:.0%}", va="center", fontsize=_FONT)
            top, bottom = group * step - 0.55, group * step + len(names) - 0.45
            chance = int(percent) / 100
            axes.plot([chance, chance], [top, bottom], color=_INK, linewidth=1.6)
            ticks.append((group * step + (len(names) - 1) / 2, f"{percent}% reached"))
        axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks], fontsize=_FONT)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(reached) * step - 1.2, -0.8)
        most = max(max(student.recall.values()) for student in report.students)
        axes.set_xlim(0, min(1.08, most * 1.2 + 0.02))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.locator_params(axis="x", nbins=5)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("share of all prospects found", fontsize=_FONT)
        figure.legend(loc="outside lower center", ncols=2, handlelength=1.2)
        svg = to_svg(figure, key=key, title=title, description=description)
    rows = tuple(
        (student.partner, *(f"{student.recall[percent]:.1%}" for percent in reached))
        for student in report.students
    )
    columns = ("Partner", *(f"{percent}% reached" for percent in reached))
    return Plot(key, title, description, svg, columns, rows)


def cost_plot(report: Report) -> Plot | None:
    """Return how many seconds each run took, and on what."""
    if not report.runs:
        return None
    key, title = "seconds", "Where the time went"
    description = (
        "Seconds of each run, all members on one machine: the work, without waiting for a network."
    )
    most = max(run.wall_s for run in report.runs)
    with plot_style(key):
        figure, axes = new_axes(_WIDTH, 130 + 25 * len(report.runs))
        shown: set[str] = set()
        for place, run in enumerate(report.runs):
            start = 0.0
            for colour, (stage, seconds) in zip(
                (*_STAGE_COLOURS, _QUIET), stages_of(run).items(), strict=True
            ):
                label = None if stage in shown else stage
                shown.add(stage)
                axes.barh(place, seconds, left=start, color=colour, height=0.66, label=label)
                start += seconds
            text = f"{run.wall_s:.1f} s"
            axes.text(run.wall_s + most * 0.02, place, text, va="center", fontsize=_FONT)
        names = [shortened(plain(run.run), _LONGEST_NAME) for run in report.runs]
        axes.set_yticks(range(len(names)), names, fontsize=_FONT)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, most * 1.2)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("seconds", fontsize=_FONT)
        figure.legend(loc="outside lower center", ncols=2, handlelength=1.2)
        svg = to_svg(figure, key=key, title=title, description=description)
    stages = (*STAGES, _CLOSING)
    rows = tuple(
        (run.run, *(f"{stages_of(run)[stage]:.1f}" for stage in stages)) for run in report.runs
    )
    return Plot(key, title, description, svg, ("Run, seconds", *stages), rows)


def stages_of(run: RunCost) -> dict[str, float]:
    """Return the seconds of each stage of a run; together they are its wall seconds."""
    stages = {
        stage: sum(run.seconds.get(step, 0.0) for step in steps) for stage, steps in STAGES.items()
    }
    return {**stages, _CLOSING: max(0.0, run.wall_s - sum(stages.values()))}


def _by_column(
    found: Sequence[ColumnInference],
) -> dict[tuple[str, str], list[ColumnInference]]:
    """Return the attacks by partner and column, in the order they stand."""
    rows: dict[tuple[str, str], list[ColumnInference]] = {}
    for one in found:
        rows.setdefault((one.partner, one.column), []).append(one)
    return rows


def runs_of_one(found: Sequence[ColumnInference]) -> set[str]:
    """Return the runs with a single partner, whose totals are that partner's scores."""
    partners: dict[str, set[str]] = {}
    for one in found:
        partners.setdefault(one.run, set()).add(one.partner)
    return {run for run, several in partners.items() if len(several) == 1}


def _draw_guesses(
    axes: Axes, place: float, several: Sequence[ColumnInference], alone: set[str]
) -> None:
    majority = several[0].majority
    for one in several:
        style = ("D", SERIES[1], 6) if one.run in alone else ("o", SERIES[0], 7)
        axes.plot([majority, one.accuracy], [place, place], color=_QUIET, linewidth=1.0, zorder=1)
        axes.plot([one.accuracy], [place], marker=style[0], color=style[1], markersize=style[2])
    axes.plot(
        [majority], [place], marker="o", markersize=8, color=_INK, markerfacecolor="none", zorder=3
    )


def _guess_key(axes: Axes) -> None:
    for marker, colour, face, label in (
        ("o", _INK, "none", "always the commonest value"),
        ("o", SERIES[0], SERIES[0], "from the total of several partners"),
        ("D", SERIES[1], SERIES[1], "with this partner alone: from its scores"),
    ):
        axes.plot([], [], marker=marker, color=colour, mfc=face, linestyle="", label=label)
