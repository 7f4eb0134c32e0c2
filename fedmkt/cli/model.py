"""`fedmkt model`: the models that a deployment's finished trainings left at its coordinator."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.deployments import DeploymentOption, deployment
from fedmkt.contract.job import HorizontalJob, parse_job_json
from fedmkt.core.errors import OutputUnwritable, ResultUnknown
from fedmkt.deployment.plan import Layout
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.kept import AnyModel, model_from_json
from fedmkt.models.network_shape import NetworkShape
from fedmkt.storage.whole_file import write_whole

app = typer.Typer(
    help="Models of finished trainings: list, show, pull.",
    no_args_is_help=True,
    add_completion=False,
)
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run that made it.")]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A model that a run left. file: its canonical JSON."""

    run: str
    job: HorizontalJob
    file: Path
    model: AnyModel

    @property
    def privacy(self) -> str:
        """Return by what its sums were protected."""
        terms = self.job.privacy
        return "no noise" if terms.epsilon is None else f"{terms.trust}, epsilon {terms.epsilon:g}"


@app.command("list")
def list_models(home: DeploymentOption = None) -> None:
    """List the models, oldest first.

    Trainings over shared customers leave none here: each member keeps its own part.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "job", "family", "predicts", "noise", "hash"):
        table.add_column(heading, no_wrap=True)
    for one in _kept(deployment(home)):
        family = "additive" if isinstance(one.model, AdditiveModel) else "network"
        hashed = one.model.hash[:16]
        table.add_row(one.run, one.job.name, family, one.job.target, one.privacy, hashed)
    _console().print(table)


@app.command()
def show(run: RunArgument, home: DeploymentOption = None) -> None:
    """Show what a model says: its features, those that move scores most first.

    Example: fedmkt model show demo-1
    """
    found, console = _named(deployment(home), run), _console()
    console.print(f"model of run [bold]{found.run}[/]: predicts {found.job.target}")
    console.print(f"hash {found.model.hash}; {found.privacy}")
    if isinstance(found.model, AdditiveModel):
        _show_additive(console, found.model)
    else:
        _show_network(console, found.model.shape)


def _show_additive(console: Console, model: AdditiveModel) -> None:
    console.print(f"{model.task}, additive; score of nobody {model.intercept:+.3f}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("feature", "bins", "moves scores by", "lowest at", "highest at"):
        table.add_column(heading, no_wrap=True)
    for row in _features(model):
        table.add_row(*row)
    console.print(table)
    console.print("scores are log-odds; each feature adds the effect of the bin a customer is in")


def _show_network(console: Console, shape: NetworkShape) -> None:
    layers = f"{shape.blocks + 1} hidden layers of {shape.width}" if shape.width else "linear"
    console.print(f"{shape.task}, network: {layers}, {shape.length:,} parameters")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("feature", "taken as"):
        table.add_column(heading, no_wrap=True)
    for scale in shape.scales:
        kind = "its logarithm" if scale.log else "a number"
        table.add_row(scale.name, f"{kind} from {scale.low:g} to {scale.high:g}")
    for bins, (size, columns) in zip(shape.categories.features, shape.tables, strict=True):
        table.add_row(bins.name, f"one of {size} values, {columns} numbers each")
    console.print(table)
    console.print("a network does not say what moves its scores; an additive model does")


@app.command()
def pull(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Default: RUN.model.json.", show_default=False),
    ] = None,
    home: DeploymentOption = None,
) -> None:
    """Write a model to a file, byte for byte as members signed for it in their receipts.

    Example: fedmkt model pull demo-1 --out prospects.json
    """
    found, file = _named(deployment(home), run), out or Path(f"{run}.model.json")
    if file.exists() and file.read_bytes() != found.file.read_bytes():
        raise OutputUnwritable(path=file, problem="another file is there")
    write_whole(file, found.file.read_bytes())
    _console().print(f"wrote {file}, hash {found.model.hash}")


def _features(model: AdditiveModel) -> list[tuple[str, ...]]:
    rows = []
    for bins in model.binning.features:
        labels, effects = model.shape(bins.name)
        low, high = int(effects.argmin()), int(effects.argmax())
        spread = float(effects[high] - effects[low])
        rows.append(
            (spread, (bins.name, str(bins.bins), f"{spread:.3f}", labels[low], labels[high]))
        )
    return [row for _, row in sorted(rows, key=lambda one: (-one[0], one[1]))]


def _named(layout: Layout, run: str) -> _Kept:
    found = {one.run: one for one in _kept(layout)}
    if run not in found:
        known = f" Runs with a model: {', '.join(found) or 'none'}."
        raise ResultUnknown(what="model", run=run, known=known)
    return found[run]


def _kept(layout: Layout) -> Iterator[_Kept]:
    files = (layout.coordinator / "runs").glob("*/model.json")
    for file in sorted(files, key=lambda path: path.stat().st_mtime):
        stated = (file.parent / "job.json").read_bytes()
        job = parse_job_json(stated, source=file.parent.name)
        if isinstance(job, HorizontalJob):
            model = model_from_json(json.loads(file.read_bytes()))
            yield _Kept(file.parent.name, job, file, model)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
