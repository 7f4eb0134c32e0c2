"""`fedmkt demo`: the whole thing, on bundled public data, in one command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.homes import DEMO_FOLDER
from fedmkt.evidence.report import Report


class Story(StrEnum):
    """The demonstrations there are."""

    horizontal = "horizontal"


def demo(
    story: Annotated[Story, typer.Argument(help="Which demonstration.")] = Story.horizontal,
    out: Annotated[Path, typer.Option(help="Where it goes; it may exist.")] = DEMO_FOLDER,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**31,
            help="Make noise reproducible. Default: the operating system's, as in a deployment.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train one audience model across three partners, with every protection on.

    A bank, a map provider and a retailer hold the same columns for different customers. Writes
    report.html and report.json, and each partner's ledger and audit log under nodes/.
    """
    # Imported here so that --help and mistakes answer at once.
    from fedmkt.simulation.demo import run_horizontal
    from fedmkt.simulation.progress import live
    from fedmkt.simulation.report_page import write

    console = Console()
    console.print(f"[bold]fedmkt demo {story}[/]: three partners, one model, no shared rows")
    with live(console) as progress:
        report = run_horizontal(out, seed=seed, progress=progress)
    _, page = write(report, out)
    console.print(_models(report))
    console.print("AUC: chance that a prospect scores above another, on public test rows.")
    _say(console, report)
    console.print(f"report: [bold]{page}[/]", highlight=False, soft_wrap=True)
    console.print(
        f"next: fedmkt ledger explain epsilon-1 --home {out}", highlight=False, soft_wrap=True
    )


def _models(report: Report) -> Table:
    table = Table(
        title="Who is a high-income prospect?",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column("model", no_wrap=True)
    for heading in ("epsilon", "AUC", "95%", "rounds", "exch.", "kB", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in report.models:
        auc = model.auc
        table.add_row(
            model.name,
            "–" if model.epsilon is None else f"{model.epsilon:g}",
            f"{auc.value:.3f}",
            f"{auc.low:.3f}–{auc.high:.3f}",
            str(model.rounds),
            str(model.exchanges),
            f"{(model.bytes_up + model.bytes_down) / 1000:.0f}",
            f"{model.wall_s:.1f}",
        )
    return table


def _say(console: Console, report: Report) -> None:
    masked = sum(run.masked for run in report.protection)
    noised = sum(run.noised for run in report.protection)
    runs = len(report.protection)
    logs = sum(audit.verified for audit in report.audit)
    console.print(f"protection: {masked} of {runs} runs masked, {noised} of {runs} noised")
    console.print(f"audit logs: {logs} of {len(report.audit)} partners' logs verify")
    for refusal in report.refusals[:1]:
        console.print(
            f"refused: {refusal.partner} refused {refusal.job} ({refusal.code}); {refusal.message}",
            soft_wrap=True,
            highlight=False,
        )
