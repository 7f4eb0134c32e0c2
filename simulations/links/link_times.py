"""Link speed against time: how long trainings take from 1 Mb/s to 1 Gb/s and 1 to 200 ms.

    python simulations/links/link_times.py [--customers 12000]

Makes each run once, as deployed, over Adult's training rows; writes down what each exchange sends
and computes; and lays the simulated clock over it. Draws the picture of docs/studies/links.md and
prints its table.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fedmkt.contract.collaboration import Cap, Dataset, Mode
from fedmkt.contract.job import AdditiveSettings, Job, NetworkJob, PrivacySettings
from fedmkt.contract.network_settings import NetworkSettings
from fedmkt.data import bundled
from fedmkt.privacy.calibration import noise_multiplier_for
from fedmkt.simulation.partitions.link import Link
from fedmkt.simulation.recorded_run import RecordedRun, record_run
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.vertical_customers import share_customers
from fedmkt.simulation.scenario.vertical_training import Trainer
from fedmkt.simulation.scenario.vertical_world import ALIGNMENT, alignment_for, vertical_world
from fedmkt.simulation.svg import SERIES, plot_style
from fedmkt.simulation.world import Terms, World, build_world

PICTURE = Path(__file__).parent.parent.parent / "docs" / "images" / "links.png"
MEMBERS = ("north", "east", "south")
MODES: tuple[Mode, ...] = ("local", "none")
EPSILON, SEED = 3.0, 1
MBIT_S = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
LATENCIES_MS = (1.0, 20.0, 50.0, 100.0, 200.0)


def horizontal_world(folder: Path, customers: int) -> World:
    """Return three members with equally many of Adult's customers."""
    datasets = tuple(
        Dataset(
            name=f"customers-{mode}",
            population=f"customers-{mode}",
            holders=MEMBERS,
            uses={"study": MEMBERS[:1]},
            modes=(mode,),
            table=bundled.schema("adult"),
        )
        for mode in MODES
    )
    caps = (
        Cap(dataset=datasets[0].name, lifetime_epsilon=2 * EPSILON),
        Cap(dataset=datasets[1].name, uses_lifetime=1),
    )
    table, each = bundled.load("adult_train"), customers // len(MEMBERS)
    parts = {name: table.slice(place * each, each) for place, name in enumerate(MEMBERS)}
    ends = datetime.now(UTC) + timedelta(days=1)
    return build_world(folder, Terms("links", datasets, caps, ends), parts, noise_seed=SEED)


def horizontal_runs(folder: Path, customers: int) -> dict[str, RecordedRun]:
    """Train the additive model with noise, and a network by FedSGD without."""
    world = horizontal_world(folder, customers)
    columns = bundled.schema("adult").columns
    stated: dict[str, Any] = {
        "requester": MEMBERS[0],
        "purpose": "study",
        "members": MEMBERS,
        "target": "income",
        "features": tuple(c.name for c in columns if c.use == "feature" and not c.guarded),
    }
    additive = AdditiveSettings()
    privacy = PrivacySettings(
        epsilon=EPSILON,
        noise_multiplier=noise_multiplier_for(
            epsilon=EPSILON, delta=1e-5, releases=additive.releases
        ),
    )
    network = NetworkSettings(algorithm="fedsgd", width=32, blocks=1, rounds=20)
    bare = PrivacySettings(trust="none", count_weight=1.0)
    noised, plain = (f"customers-{mode}" for mode in MODES)
    jobs: dict[str, Job | NetworkJob] = {
        "additive, horizontal": Job(
            name="additive", dataset=noised, model=additive, privacy=privacy, **stated
        ),
        "network, FedSGD": NetworkJob(
            name="network", dataset=plain, model=network, privacy=bare, **stated
        ),
    }
    try:
        return {name: record_run(world, job, job.name) for name, job in jobs.items()}
    finally:
        world.close()


def vertical_runs(folder: Path, customers: int) -> dict[str, RecordedRun]:
    """Align a bank, a retailer and a map provider, and train the additive model."""
    plain = {
        "name": "links",
        "data": {"set": "adult", "rows": customers},
        "partition": {"kind": "vertical"},
        "privacy": {"trust": "local", "epsilon": EPSILON},
    }
    setting = scenario_of(plain, source="the study")
    shared, _ = share_customers(setting, SEED)
    job = Trainer(setting, shared, SEED).job(shared.partners)
    held = {name: shared.parties[name] for name in job.members}
    world = vertical_world(job, held, seed=SEED, folder=folder)
    try:
        return {
            "alignment": record_run(world, alignment_for(job), ALIGNMENT),
            "additive, vertical": record_run(world, job, "vertical"),
        }
    finally:
        world.close()


def draw(runs: dict[str, RecordedRun]) -> None:
    """Write the picture: a panel a run, a line a latency."""
    with plot_style("links"):
        figure = Figure(figsize=(11, 8.6), dpi=110, layout="constrained", facecolor="white")
        panels = figure.subplots(2, 2, sharex=True, sharey=True).flat
        for axes, (name, run) in zip(panels, runs.items(), strict=True):
            for colour, latency in zip(SERIES, LATENCIES_MS, strict=False):
                seconds = [run.seconds(Link(speed, latency)) for speed in MBIT_S]
                axes.plot(MBIT_S, seconds, color=colour, marker="o", markersize=4,
                          label=f"{latency:g} ms")  # fmt: skip
            axes.set(xscale="log", yscale="log", title=name)
            axes.set(xlabel="Mb/s", ylabel="seconds")
            axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
            axes.set_yticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
            axes.minorticks_off()
        figure.axes[0].legend(title="latency, one way")
        FigureCanvasAgg(figure)
        figure.savefig(PICTURE, metadata={"Software": None})


def table(runs: dict[str, RecordedRun]) -> str:
    """Return a Markdown table of what runs ask, and how long they take."""
    links = [(1.0, 1.0), (1.0, 200.0), (10.0, 50.0), (100.0, 20.0), (1000.0, 1.0), (1000.0, 200.0)]
    head = ["run", "exchanges", "MB in all", "MB, busiest line", "processor s"]
    head += [f"{speed:g} Mb/s, {latency:g} ms" for speed, latency in links]
    rows = [
        [name, str(len(run.exchanges)), f"{run.sent_mb:.2f}", f"{run.busiest_mb:.2f}",
         f"{run.compute_s:.1f}", *(f"{run.seconds(Link(*link)):.0f} s" for link in links)]
        for name, run in runs.items()
    ]  # fmt: skip
    cells = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description="Link speed against time.")
    parser.add_argument("--customers", type=int, default=12_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = horizontal_runs(Path(folder) / "horizontal", asked.customers)
        runs |= vertical_runs(Path(folder) / "vertical", asked.customers)
    draw(runs)
    sys.stdout.write(f"{table(runs)}\n")


if __name__ == "__main__":
    main()
