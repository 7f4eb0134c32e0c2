"""`fedmkt simulate`: a scenario and the sweep over it, into a folder of results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedmkt.core.errors import SettingInvalid

if TYPE_CHECKING:
    from fedmkt.simulation.scenario.attack_schema import AttackScenario
    from fedmkt.simulation.scenario.engine import SweepWatcher
    from fedmkt.simulation.scenario.folder import ResultsFolder
    from fedmkt.simulation.scenario.schema import Scenario

_FOLDER = "fedmkt-simulations"
_NONE_TRAINED = (
    "No trial trained a joint model to the end, so there is no result. Change what the report says "
    "ended them, as model.ridge or model.learning_rate for diverged ones, or participation."
)


def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(help="A TOML file, or a bundled scenario's name.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The results folder. Default: fedmkt-simulations/NAME.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Worker processes. Default: one more than there are cores.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a long sweep.")] = False,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Also write the trials to mlflow:URI or tensorboard:FOLDER (extra `tracking`).",
            show_default=False,
        ),
    ] = None,
    list_all: Annotated[
        bool,
        typer.Option("--list", help="List scenarios, data sets, partitions, models and keys."),
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Say what a key means, as partition.alpha.", show_default=False
        ),
    ] = None,
) -> None:
    """Simulate a SCENARIO: partners, a model, privacy, and a sweep over any of them; or an attack.

    Writes results.parquet, timings.parquet and report.html. A run that was stopped goes on where
    it stopped; finished trials are not run again.
    """
    if list_all:
        _list()
    elif explain is not None:
        _explain(explain)
    elif scenario is None:
        problem = "name a TOML file or a bundled scenario; --list shows what there is"
        raise SettingInvalid(setting="SCENARIO", problem=problem)
    else:
        _run(scenario, out, workers, yes=yes, log=log)


def _run(given: str, out: Path | None, workers: int | None, *, yes: bool, log: str | None) -> None:
    # Imported here so that --help and mistakes answer at once.
    from fedmkt.cli.simulate_progress import shown
    from fedmkt.simulation.scenario.attack_schema import AttackScenario
    from fedmkt.simulation.scenario.folder import ResultsFolder
    from fedmkt.simulation.scenario.loading import load_any
    from fedmkt.simulation.scenario.report import PAGE
    from fedmkt.simulation.scenario.tracking import refuse_log_of_attack
    from fedmkt.simulation.scenario.workers import usual_workers

    scenario = load_any(Path(given))
    folder = ResultsFolder(out or Path(_FOLDER) / scenario.name)
    console, many = Console(), workers or usual_workers()
    with shown(console, yes=yes) as watcher:
        if isinstance(scenario, AttackScenario):
            refuse_log_of_attack(log)
            lines, failed = _attack(scenario, folder, many, watcher), None
        else:
            lines, failed = _sweep(scenario, folder, many, watcher, log)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {folder.path / PAGE}", highlight=False, soft_wrap=True)
    if failed is not None:
        typer.echo(failed, err=True)
        raise typer.Exit(1)


def _sweep(
    scenario: "Scenario",
    folder: "ResultsFolder",
    workers: int,
    watcher: "SweepWatcher",
    log: str | None,
) -> tuple[list[str], str | None]:
    """Run a sweep and return its result in a sentence, and why it counts as failed, if it does."""
    from fedmkt.simulation.scenario.api import run_scenario
    from fedmkt.simulation.scenario.report import headline
    from fedmkt.simulation.scenario.summary import count_failed, lines_of

    results = run_scenario(scenario, folder, workers=workers, watcher=watcher, log=log)
    lines = lines_of(results, tuple(scenario.sweep))
    said = [headline(scenario, lines)]
    failed, trials = count_failed(results), results["trial"].n_unique()
    if not failed:
        none = all(line.joint is None for line in lines)
        return said, _NONE_TRAINED if none else None
    return said, (
        f"{failed} of {trials} trials could not be simulated; their rows have the status failed "
        "and its code. They are tried again when the command is."
    )


def _attack(
    scenario: "AttackScenario", folder: "ResultsFolder", workers: int, watcher: "SweepWatcher"
) -> list[str]:
    """Run an attack and return its result in a sentence, and the main figure for each defence."""
    from fedmkt.simulation.scenario.attack_report import attack_headline, tables_of
    from fedmkt.simulation.scenario.attack_run import run_attack

    _, found = run_attack(scenario, folder, workers=workers, watcher=watcher)
    table = tables_of(found)[0]
    width = max(len(line.defence) for line in table.lines)
    rows = [f"  {line.defence:<{width}}  {line.value} ({line.interval})" for line in table.lines]
    return [attack_headline(scenario, found), *rows]


def _list() -> None:
    from fedmkt.simulation.scenario.keys import choices, listed
    from fedmkt.simulation.scenario.loading import bundled_scenarios

    console = Console(soft_wrap=True, highlight=False)
    console.print("[bold]Bundled scenarios[/]")
    for name, text in bundled_scenarios().items():
        console.print(f"  {name:<26}", text.split("\n", 1)[0].removeprefix("# "), markup=False)
    for title, key in (
        ("Customers", "data.kind"),
        ("Data sets", "data.set"),
        ("Partitions", "partition.kind"),
        ("Models", "model.family"),
        ("Algorithms of networks", "model.algorithm"),
        ("Protocols", "protocol"),
        ("Attacks", "attack.kind"),
    ):
        console.print(f"[bold]{title}[/] ({key})")
        console.print(f"  {', '.join(choices(key))}", markup=False)
    console.print("[bold]Keys[/] (--explain KEY says more)")
    for name, kind in listed():
        console.print(f"  {name:<32}", kind, markup=False)


def _explain(name: str) -> None:
    from fedmkt.simulation.scenario.effect import needs_of
    from fedmkt.simulation.scenario.keys import explained, nearest, never_beside

    found = explained(name)
    if not found:
        meant = nearest(name)
        problem = f"no such key; did you mean {meant}?" if meant else "no such key; see --list"
        raise SettingInvalid(setting=f"--explain {name}", problem=problem)
    table = Table(box=SIMPLE_HEAD, show_header=False, pad_edge=False, show_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for key in found:
        table.add_row(f"[bold]{key.name}[/]", f"({key.where})" if key.where else None)
        for title, words in (
            ("type", key.kind),
            ("default", key.default),
            ("meaning", key.meaning),
            ("needs", needs_of(key.name, never_beside(key))),
        ):
            if words:
                table.add_row(title, escape(words))
        table.add_section()
    Console(highlight=False).print(table)
