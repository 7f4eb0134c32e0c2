"""`fedmkt result`: what runs over shared customers left at a node, for its own people."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.homes import HomeOption, opened, runs_known
from fedmkt.core.errors import (
    AlignmentUnknown,
    CustomerUnknown,
    FedmktError,
    ModelUnknown,
    ResultUnknown,
)
from fedmkt.evidence.value_report import UnmeasuredValue, ValueReport
from fedmkt.node.alignments import Alignment, read_alignment
from fedmkt.node.home import NodeHome
from fedmkt.node.model_parts import read_table, read_value
from fedmkt.node.reasons import reasons

app = typer.Typer(
    help="What runs over shared customers left.", no_args_is_help=True, add_completion=False
)
RunArgument = Annotated[str, typer.Argument()]


@app.command("alignment")
def alignment(run: RunArgument = "alignment", home: HomeOption = None) -> None:
    """Say what happened to this node's customers in an alignment, and how many are shared.

    RUN is the alignment's run.
    """
    console = Console()
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("member", overflow="fold")
    for heading in ("rows", "opted\nout", "twice", "no\nkey", "offered", "shared", "stated"):
        table.add_column(heading, justify="right", no_wrap=True)
    found = False
    with opened(home) as homes:
        for one in homes:
            try:
                known = read_alignment(one, run)
            except AlignmentUnknown:
                continue
            found = True
            table.add_row(one.member, *_counts(known))
    if not found:
        raise AlignmentUnknown(alignment=run, problem="any job")
    console.print(table)
    console.print("shared is exact and stays at the node; stated is what others were told.")


def _counts(known: Alignment) -> tuple[str, ...]:
    counts = known.counts
    figures = (
        counts.rows,
        counts.opted_out,
        counts.duplicates,
        counts.unusable,
        counts.offered,
        known.rows,
        known.overlap,
    )
    return tuple(f"{figure:,}" for figure in figures)


@app.command("value")
def value(run: RunArgument, home: HomeOption = None) -> None:
    """Say what the partners' columns added to the label owner's, and whether it is worth it.

    RUN is a training's run; its report lies at the label owner.
    """
    console = Console(soft_wrap=True, highlight=False)
    _first(home, lambda one: _say_value(console, read_value(one, run)), run)


def _say_value(console: Console, report: ValueReport) -> None:
    if isinstance(report, UnmeasuredValue):
        console.print(report.problem)
        return
    for title, one, lift in (
        ("alone", report.owner_auc, report.owner_lift),
        ("together", report.joint_auc, report.joint_lift),
    ):
        console.print(
            f"{title}: AUC {one.value:.3f} ({one.low:.3f} to {one.high:.3f}), "
            f"lift in the top tenth {lift.value:.2f}"
        )
    console.print(report.words(" and ".join(report.partners)))
    console.print(
        f"measured on {report.holdout_rows:,} shared customers that were not trained on; labels "
        f"in mode {report.mode}" + (f", label epsilon {report.epsilon:g}" if report.epsilon else "")
    )
    if report.scores_seen:
        console.print("There was one partner, so its scores were seen by the label owner.")


@app.command("why")
def why(
    run: RunArgument,
    customer: Annotated[str, typer.Argument()],
    home: HomeOption = None,
) -> None:
    """Say why a customer scores as it does: this node's own columns, the largest part first.

    RUN is a training's run, CUSTOMER a customer key of the node that --home names.

    The answer is about one customer: it is meant for this node's own people.
    """
    console = Console(soft_wrap=True, highlight=False)

    def say(one: NodeHome) -> None:
        for reason in reasons(one, run, customer):
            console.print(f"because {reason}" if reason.feature else str(reason), markup=False)

    _first(home, say, run)


@app.command("scores")
def scores(
    run: RunArgument,
    home: HomeOption = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many customers.")] = 10,
) -> None:
    """Show the highest scores of a scoring run, at the label owner.

    RUN is a scoring's run.
    """
    console = Console()

    def say(one: NodeHome) -> None:
        frame = read_table(one, "scores", run).head(top)
        table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
        for name in frame.columns:
            table.add_column(name, justify="left" if name == "customer" else "right")
        for row in frame.iter_rows():
            table.add_row(*(one if isinstance(one, str) else f"{one:.3f}" for one in row))
        console.print(table)

    _first(home, say, run)


def _first(home: Path | None, say: Callable[[NodeHome], None], run: str) -> None:
    """Do it for the first node that knows the run. Raises: ResultUnknown, CustomerUnknown."""
    last: FedmktError = ResultUnknown(run=run, what="result", known="")
    with opened(home) as homes:
        for one in homes:
            try:
                say(one)
            except (ModelUnknown, AlignmentUnknown):
                continue
            except (ResultUnknown, CustomerUnknown) as error:
                last = error
            else:
                return
        if isinstance(last, ResultUnknown):
            last = ResultUnknown(**{**last.fields, "known": _known(homes)})
    raise last


def _known(homes: list[NodeHome]) -> str:
    known = ", ".join(runs_known(homes))
    return f" Runs known here: {known}." if known else ""
