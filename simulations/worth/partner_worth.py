"""When is a partner worth it? Runs the study's scenarios, draws its picture and prints its tables.

    python simulations/worth/partner_worth.py [--out worth] [--workers 1]

Each scenario is also run by itself: `fedmkt simulate simulations/worth/overlap.toml`. What is
finished below --out is not run again. The page is docs/studies/partner_worth.md.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fedmkt.simulation.scenario.api import simulate
from fedmkt.simulation.scenario.loading import load_scenario
from fedmkt.simulation.scenario.page_plots import mean_words, value_words
from fedmkt.simulation.scenario.vertical_summary import Worth, draw_gains, worth_of
from fedmkt.simulation.svg import plot_style

HERE = Path(__file__).parent
PICTURE = HERE.parent.parent / "docs" / "images" / "partner_worth.png"
PANELS: dict[str, tuple[str, Callable[[Worth], bool]]] = {
    "overlap": ("share of our customers that partners know", lambda _: True),
    "correlation": ("correlation of columns", lambda line: line.partner is not None),
    "unseen": ("what nobody knows, in log-odds", lambda line: line.partner is not None),
    "epsilon": ("label epsilon", lambda line: line.partner == "useful"),
}
SCENARIOS = (*PANELS, "adult")
OVERLAPS = (0.1, 0.25, 0.5, 0.75, 1.0)


def worth(scenario: str, out: Path, workers: int) -> tuple[tuple[str, ...], tuple[Worth, ...]]:
    """Run a scenario of the study; return its swept keys and what each partner is worth."""
    file = HERE / f"{scenario}.toml"
    keys = tuple(load_scenario(file).sweep)
    results = simulate(file, out=out / scenario, workers=workers)
    return keys, worth_of(results, keys)


def draw(found: dict[str, tuple[Worth, ...]]) -> None:
    """Write the picture: a panel a scenario."""
    with plot_style("worth"):
        figure = Figure(figsize=(11, 8.6), dpi=110, layout="constrained", facecolor="white")
        for axes, (name, (label, wanted)) in zip(
            figure.subplots(2, 2).flat, PANELS.items(), strict=True
        ):
            draw_gains(axes, [line for line in found[name] if wanted(line)], 0)
            if name == "overlap":  # spaced evenly, to show that worth grows in proportion
                axes.set(xscale="linear", xlim=(0, 1.05), xticks=OVERLAPS)
            axes.set(xlabel=label, ylabel="gain in AUC over ourselves alone")
            axes.legend()
        FigureCanvasAgg(figure)
        PICTURE.parent.mkdir(exist_ok=True)
        figure.savefig(PICTURE, metadata={"Software": None})


def table(keys: Sequence[str], lines: Sequence[Worth]) -> str:
    """Return a Markdown table of gains."""
    head = [*keys, "partner", "gain", "among shared", "joint", "ourselves", "share of the score"]
    rows = [
        [
            *map(value_words, line.values),
            line.name,
            *map(mean_words, (line.gain, line.shared_gain, line.joint, line.owner, line.share)),
        ]
        for line in lines
    ]
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description="When is a partner worth it?")
    parser.add_argument("--out", type=Path, default=Path("worth"))
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    found = {name: worth(name, asked.out, asked.workers) for name in SCENARIOS}
    draw({name: lines for name, (_, lines) in found.items()})
    for name, (keys, lines) in found.items():
        sys.stdout.write(f"## {name}\n\n{table(keys, lines)}\n\n")


if __name__ == "__main__":
    main()
