"""All commands of `fedmkt`, put together; each is imported when it is asked for."""

import importlib
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from fedmkt import __version__

_WHERE = {
    "demo": "demo:demo",
    "simulate": "simulate:simulate",
    "up": "up:up",
    "down": "up:down",
    "health": "health:health",
    "job": "job:app",
    "model": "model:app",
    "node": "node_commands:app",
    "coordinator": "coordinator:app",
    "contract": "contract:app",
    "keys": "keys:app",
    "data": "data:app",
    "ledger": "ledger:app",
    "result": "result:app",
    "audit": "audit:app",
}
"""Where each command is: a module of this package, and a function or a group in it."""


class _Lazy(TyperGroup):
    """The commands of `_WHERE`. Importing all of them takes longer than most take to run."""

    def __init__(self, **given: Any) -> None:
        # Names alone, for suggestions; `get_command` has what stands behind them.
        given["commands"] = {name: click.Command(name) for name in _WHERE}
        super().__init__(**given)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return all commands, in the order of the help."""
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, imported now."""
        where = _WHERE.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        found = getattr(importlib.import_module(f"fedmkt.cli.{module}"), name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False, rich_markup_mode="rich")
            single.command(cmd_name, no_args_is_help=False)(found)
            found = single
        command: click.Command = typer.main.get_command(found)
        command.name = cmd_name
        if isinstance(command, TyperGroup):
            command.suggest_commands = False
        return command


app = typer.Typer(
    name="fedmkt",
    cls=_Lazy,
    help="Audience models across companies, without moving customer data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    suggest_commands=False,  # click suggests by itself
)


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
