"""Accuracy against epsilon, and drift and its remedies: runs the scenarios, draws, prints tables.

    python simulations/network_studies.py accuracy [--out studies] [--workers 1]
    python simulations/network_studies.py drift

Each scenario is also run by itself: `fedmkt simulate simulations/drift/bank_by_job.toml`. What is
finished below --out is not run again. The pages are docs/studies/accuracy.md and drift.md.
"""

import argparse
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fedmkt.simulation.scenario.api import simulate
from fedmkt.simulation.scenario.loading import load_scenario
from fedmkt.simulation.scenario.page_plots import mean_words, value_words
from fedmkt.simulation.scenario.summary import Line, lines_of
from fedmkt.simulation.svg import SERIES, plot_style

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
STUDIES = {
    "accuracy": ("adult_additive", "adult_linear"),
    "drift": ("adult_fedavg", "adult_steps", "bank_by_job", "bank_proximal"),
}
Found = dict[str, tuple[tuple[str, ...], tuple[Line, ...]]]


def measured(study: str, out: Path, workers: int) -> Found:
    """Run a study's scenarios; return each one's swept keys and lines."""
    found: Found = {}
    for name in STUDIES[study]:
        file = HERE / study / f"{name}.toml"
        keys = tuple(load_scenario(file).sweep)
        results = simulate(file, out=out / study / name, workers=workers)
        found[name] = keys, lines_of(results, keys)
    return found


def draw_accuracy(axes: Axes, found: Found) -> None:
    """Draw AUC against epsilon for both families, their twins as lines."""
    for (name, (_, lines)), colour in zip(found.items(), SERIES, strict=False):
        label = name.removeprefix("adult_")
        points = [(float(str(line.values[0])), line.joint) for line in lines if line.joint]
        axes.errorbar(
            [epsilon for epsilon, _ in points],
            [mean.value for _, mean in points],
            [mean.half or 0 for _, mean in points],
            color=colour,
            marker="o",
            capsize=3,
            label=f"{label}, seven companies together",
        )
        twin = lines[0].pooled
        if twin is not None:
            label = f"{label}, in one place without noise"
            axes.axhline(twin.value, color=colour, linestyle="--", linewidth=1, label=label)
    axes.set(xscale="log", xlabel="epsilon", ylabel="AUC on Adult's test rows")
    axes.set_xticks([0.5, 1, 3, 8], ["0.5", "1", "3", "8"])
    axes.minorticks_off()


def draw_drift(axes: Axes, found: Found) -> None:
    """Draw AUC against local steps, by algorithm, and the twins'."""
    _, lines = found["adult_steps"]
    for algorithm, colour in zip(
        dict.fromkeys(line.values[0] for line in lines), SERIES, strict=False
    ):
        own = [line for line in lines if line.values[0] == algorithm and line.joint]
        steps = [float(str(line.values[1])) for line in own]
        means = [line.joint for line in own if line.joint]
        axes.errorbar(
            steps,
            [mean.value for mean in means],
            [mean.half or 0 for mean in means],
            color=colour,
            marker="o",
            capsize=3,
            label=f"{algorithm}, seven companies together",
        )
    twins = [(float(str(line.values[1])), line.pooled) for line in lines if line.pooled]
    twins = twins[: len({steps for steps, _ in twins})]
    axes.plot(
        [steps for steps, _ in twins],
        [mean.value for _, mean in twins if mean],
        color=SERIES[2],
        linestyle="--",
        label="the same steps in one place",
    )
    axes.set(
        xscale="log", xlabel="local steps a round (20 rounds)", ylabel="AUC on Adult's test rows"
    )
    axes.set_xticks([5, 20, 80], ["5", "20", "80"])
    axes.minorticks_off()


def draw(study: str, found: Found) -> None:
    """Write a study's picture."""
    with plot_style(study):
        figure = Figure(figsize=(7.2, 4.6), dpi=110, layout="constrained", facecolor="white")
        axes = figure.subplots()
        (draw_accuracy if study == "accuracy" else draw_drift)(axes, found)
        axes.legend()
        FigureCanvasAgg(figure)
        figure.savefig(IMAGES / f"{study}.png", metadata={"Software": None})


def tables(found: Found) -> str:
    """Return the figures as Markdown."""
    parts = []
    for name, (keys, lines) in found.items():
        head = [*(key.removeprefix("model.") for key in keys), "together", "in one place"]
        rows = [
            [*map(value_words, line.values), mean_words(line.joint), mean_words(line.pooled)]
            for line in lines
        ]
        table = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
        parts.append("\n".join([f"{name}:", "", *table]))
    return "\n\n".join(parts)


def main() -> None:
    """Run a study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--out", type=Path, default=Path("studies"))
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    found = measured(given.study, given.out, given.workers)
    draw(given.study, found)
    sys.stdout.write(f"{tables(found)}\n")


if __name__ == "__main__":
    main()
