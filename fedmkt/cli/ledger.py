"""`fedmkt ledger`: what was spent, and why, from a node's own ledger, offline."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fedmkt.cli.homes import HomeOption, opened
from fedmkt.core.errors import ReservationUnknown
from fedmkt.node.explain import explain
from fedmkt.node.home import NodeHome

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
            with one.store.transaction() as tx:
                returned = one.ledger.give_back(tx, run)
            one.audit.append("given back", {"run": run, "releases": returned})
            typer.echo(f"{one.member}: {returned} releases of run {run} were given back")


def _balances(home: NodeHome) -> Table:
    with home.store.transaction() as tx:
        balances = home.ledger.balances(tx)
    table = Table(title=f"{home.member}: epsilon", title_justify="left")
    for heading in ("dataset", "purpose", "requester"):
        table.add_column(heading)
    for heading in ("period cap", "spent", "left", "life cap", "spent", "left"):
        table.add_column(heading, justify="right")
    for one in balances:
        figures = (
            one.period_cap,
            one.period_spent,
            one.period_left,
            one.lifetime_cap,
            one.lifetime_spent,
            one.lifetime_left,
        )
        words = ("–" if figure is None else f"{figure:.3f}" for figure in figures)
        table.add_row(one.dataset, one.purpose or "all", one.requester or "all", *words)
    return table
