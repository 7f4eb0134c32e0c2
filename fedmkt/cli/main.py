"""The command `fedmkt`: one entry, its groups, and how it ends.

Exit codes: 0 done; 1 something failed; 2 the user's mistake; 3 a node refused; 130 interrupted.
"""

import sys
from typing import Annotated

import typer
from rich.console import Console

from fedmkt import __version__
from fedmkt.cli import audit, data, demo, ledger, node
from fedmkt.core.errors import FedmktError

_INTERRUPTED = 130

app = typer.Typer(
    name="fedmkt",
    help="Audience models across companies, without moving customer data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("demo", no_args_is_help=False)(demo.demo)
app.add_typer(data.app, name="data")
app.add_typer(ledger.app, name="ledger")
app.add_typer(node.app, name="node")
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


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except FedmktError as error:
        Console(stderr=True).print(f"[bold red]{error.code}[/]", end=": ", highlight=False)
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept\n")
        sys.exit(_INTERRUPTED)
