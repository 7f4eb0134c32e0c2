"""`fedmkt demo`: the whole thing, on bundled public data, in one command."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.homes import DEMO_FOLDER
from fedmkt.cli.value import say_value
from fedmkt.core.errors import SettingInvalid
from fedmkt.evidence.report import Report


class Story(StrEnum):
    """The demonstrations there are."""

    vertical = "vertical"
    horizontal = "horizontal"


_WHAT = {
    Story.vertical: "four partners know different things about the same customers",
    Story.horizontal: "three partners know the same things about different customers",
}


def demo(
    story: Annotated[
        Story | None,
        typer.Argument(help="Which demonstration. Default: both.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where it goes, each story in a folder below; it may exist.")
    ] = DEMO_FOLDER,
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
    """Train audience models across partners, with every protection on.

    STORY is vertical (a bank, a retailer, a map provider and one partner who knows nothing useful
    hold different columns of the same customers) or horizontal (three partners hold the same
    columns for different customers). Without it both run, the vertical one first.

    Writes report.html and report.json for each, and each partner's ledger and audit log under
    nodes/.
    """
    if out.exists() and not out.is_dir():
        raise SettingInvalid(setting=f"--out {out}", problem="it is a file, not a folder")
    for one in Story if story is None else (story,):
        _tell(one, out / one, seed)


def _tell(story: Story, out: Path, seed: int | None) -> None:
    # Imported here so that --help and mistakes answer at once.
    from fedmkt.simulation.demo import run_horizontal
    from fedmkt.simulation.progress import live
    from fedmkt.simulation.report_page import write
    from fedmkt.simulation.vertical_demo import run_vertical

    console = Console()
    console.print(f"[bold]fedmkt demo {story}[/]: {_WHAT[story]}")
    with live(console) as progress:
        run = run_vertical if story is Story.vertical else run_horizontal
        report = run(out, seed=seed, progress=progress)
    _, page = write(report, out)
    if story is Story.vertical:
        say_value(console, report)
        following = "ledger explain joint"
    else:
        say_models(console, report)
        console.print("AUC: chance that a prospect scores above another, on public test rows.")
        following = "ledger explain epsilon-1"
    _say(console, report)
    console.print(f"report: [bold]{page}[/]", highlight=False, soft_wrap=True)
    console.print(f"next: fedmkt {following} --home {out}", highlight=False, soft_wrap=True)


def say_models(console: Console, report: Report) -> None:
    """Print the models of a report as a table."""
    console.print(_models(report))


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
