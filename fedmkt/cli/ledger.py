"""`fedmkt ledger`: what was spent, and why, from a node's own ledger, offline."""

from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.homes import HomeOption, opened
from fedmkt.core.errors import ReservationUnknown
from fedmkt.node.explain import explain
from fedmkt.node.home import NodeHome, hold_to_log

app = typer.Typer(help="What was spent, and why.", no_args_is_help=True)


@app.command("show")
def show(home: HomeOption = None) -> None:
    """Show every account: cap, spent and left, for the period and for life."""
    console = Console()
    with opened(home) as homes:
        for one in homes:
            console.print(_balances(one))


@app.command("explain")
def explain_run(
    run: Annotated[str, typer.Argument(help="A run's name, as the report and the ledger show it.")],
    home: HomeOption = None,
) -> None:
    """Say in plain sentences what a run spent and why. Reads the ledger alone."""
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
            raise ReservationUnknown(run=run, release="any")


@app.command("give-back")
def give_back(
    run: Annotated[str, typer.Argument(help="A run that was never closed.")],
    home: HomeOption = None,
) -> None:
    """Give back what a run reserved but never sent; nothing more can be sent for it.

    For runs whose coordinator is gone. What was sent, or may have been, stays spent.
    """
    with opened(home) as homes:
        for one in homes:
            # What may have left counts as spent before anything is given back.
            hold_to_log(one)
            with one.store.transaction() as tx:
                if not one.ledger.entries(tx, run):
                    raise ReservationUnknown(run=run, release="any")
                returned = one.ledger.give_back(tx, run)
            one.audit.append("given_back", {"run": run, "releases": returned})
            typer.echo(f"{one.member}: {returned} releases of run {run} were given back")


def _balances(home: NodeHome) -> Table:
    with home.store.transaction() as tx:
        balances = home.ledger.balances(tx)
    table = Table(title=f"{home.member}: epsilon", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("dataset", "purpose", "window"):
        table.add_column(heading, no_wrap=True)
    for heading in ("cap", "spent", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in balances:
        scope = one.purpose or "all"
        scope += f" ({one.requester})" if one.requester else ""
        windows = (
            (f"{one.period_days} days", one.period_cap, one.period_spent, one.period_left),
            ("life", one.lifetime_cap, one.lifetime_spent, one.lifetime_left),
        )
        for window, cap, spent, left in windows:
            if cap is not None and spent is not None and left is not None:
                figures = (f"{figure:.3f}" for figure in (cap, spent, left))
                table.add_row(one.dataset, scope, window, *figures)
        for uses in one.uses:
            window = f"uses a {uses.window}"
            counts = (str(uses.allowed), str(uses.used), str(uses.allowed - uses.used))
            table.add_row(one.dataset, scope, window, *counts)
    return table
