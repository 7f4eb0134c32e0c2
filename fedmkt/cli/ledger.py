"""`fedmkt ledger`: what was spent, and why, from a node's own ledger, offline."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.homes import HomeOption, opened, runs_known
from fedmkt.core.errors import ReservationUnknown, RunUnknown
from fedmkt.node.explain import explain
from fedmkt.node.home import NodeHome, hold_to_log
from fedmkt.storage.losses import epsilon_lost

app = typer.Typer(help="What was spent, and why.", no_args_is_help=True, add_completion=False)
_COLUMNS = (
    "cap, spent and left are epsilon as the cap's rule counts it; lost is the tighter epsilon that "
    "privacy-loss accounting gives for the same releases (without noise: no bound). Rows of runs "
    "count runs; exact scores and alignments are counted too, since no epsilon bounds them."
)
USES_IN_WORDS = {
    "uses_day": "runs a day",
    "uses_week": "runs a week",
    "uses_month": "runs a month",
    "uses_lifetime": "runs for life",
    "exact_scores": "exact scores for life",
    "alignments": "alignments for life",
}


@app.command("show")
def show(home: HomeOption = None) -> None:
    """Show every account: cap, spent, left and really lost, for the period and for life."""
    console = Console()
    with opened(home) as homes:
        for one in homes:
            console.print(_balances(one))
    console.print(_COLUMNS, highlight=False)


@app.command("explain")
def explain_run(
    run: Annotated[str, typer.Argument()],
    home: HomeOption = None,
) -> None:
    """Say in plain sentences what a run spent and why, or why it was refused.

    RUN is a run's name, as the report shows it.
    """
    console = Console(soft_wrap=True, highlight=False)
    with opened(home) as homes:
        told = False
        for one in homes:
            try:
                sentences = explain(one, run)
            except ReservationUnknown:
                continue
            told = True
            console.print("\n".join(sentences), end="\n\n", markup=False)
        if not told:
            raise _unknown(run, homes)


@app.command("give-back")
def give_back(
    run: Annotated[str, typer.Argument()],
    home: HomeOption = None,
) -> None:
    """Give back what a run reserved but never sent; nothing more can be sent for it.

    RUN is a run that was never closed and whose coordinator is gone. What was sent, or may have
    been, stays spent.
    """
    with opened(home) as homes:
        known = False
        for one in homes:
            # What may have left counts as spent before anything is given back.
            hold_to_log(one)
            with one.store.transaction() as tx:
                if not one.ledger.entries(tx, run):
                    continue
                returned = one.ledger.give_back(tx, run)
            known = True
            one.audit.append("given_back", {"run": run, "releases": returned})
            typer.echo(f"{one.member}: {returned} releases of run {run} were given back")
        if not known:
            raise _unknown(run, homes)


def _unknown(run: str, homes: list[NodeHome]) -> RunUnknown:
    return RunUnknown(run=run, known=", ".join(runs_known(homes)) or "none yet")


def _balances(home: NodeHome) -> Table:
    table = Table(
        title=home.member,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    # In a narrow window names go over two lines; figures are never cut.
    for heading in ("dataset", "purpose", "window"):
        table.add_column(heading, overflow="fold")
    for heading in ("cap", "spent", "left", "lost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in _rows(home):
        table.add_row(*row)
    return table


def _rows(home: NodeHome) -> Iterator[tuple[str, ...]]:
    with home.store.transaction() as tx:
        balances = home.ledger.balances(tx)
        entries = home.ledger.entries(tx)
    for one in balances:
        scope = one.purpose or "all"
        scope += f" ({one.requester})" if one.requester else ""
        windows = (
            (one.period_days, one.period_cap, one.period_spent, one.period_left),
            (None, one.lifetime_cap, one.lifetime_spent, one.lifetime_left),
        )
        for days, cap, spent, left in windows:
            if cap is not None and spent is not None and left is not None:
                since = None if days is None else home.clock.now() - timedelta(days=days)
                lost = epsilon_lost(one, balances, entries, since=since)
                window = "life" if days is None else f"{days} days"
                yield one.dataset, scope, window, *(f"{x:.3f}" for x in (cap, spent, left, lost))
        bound = "" if math.isfinite(epsilon_lost(one, balances, entries)) else "no bound"
        for uses in one.uses:
            counts = (str(uses.allowed), str(uses.used), str(uses.left))
            yield one.dataset, scope, USES_IN_WORDS[uses.window], *counts, bound
