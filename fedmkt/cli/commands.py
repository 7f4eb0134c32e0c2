"""All commands of `fedmkt`, put together."""

from typing import Annotated

import typer

from fedmkt import __version__
from fedmkt.cli import (
    audit,
    contract,
    coordinator,
    data,
    demo,
    job,
    keys,
    ledger,
    node,
    node_data,
    node_setup,
    result,
    up,
)

app = typer.Typer(
    name="fedmkt",
    help="Audience models across companies, without moving customer data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    suggest_commands=False,  # click suggests by itself
)
app.command("demo", no_args_is_help=False)(demo.demo)
app.command("up", no_args_is_help=False)(up.up)
app.command("down", no_args_is_help=False)(up.down)
app.add_typer(job.app, name="job")
app.add_typer(coordinator.app, name="coordinator")
app.add_typer(contract.app, name="contract")
app.add_typer(keys.app, name="keys")
for _command in (node_setup.init, node_setup.card, node_setup.join, node_setup.run):
    node.app.command()(_command)
node.app.command("import")(node_data.import_table)
node.app.command("check")(node_data.check)
app.add_typer(data.app, name="data")
app.add_typer(ledger.app, name="ledger")
app.add_typer(node.app, name="node")
app.add_typer(result.app, name="result")
app.add_typer(audit.app, name="audit")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedmkt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Audience models across companies, without moving customer data."""
