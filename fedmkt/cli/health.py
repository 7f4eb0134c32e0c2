"""`fedmkt health`: what a service manager asks of a node or a coordinator."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fedmkt.deployment.health import ANSWERING_S, WAITING_S, health_of

_UNHEALTHY = 1


def health(
    home: Annotated[Path, typer.Argument(metavar="HOME", help="A node's home or a coordinator's.")],
    waiting_s: Annotated[
        float, typer.Option(min=1.0, help="How old a sign of life may be.")
    ] = WAITING_S,
    answering_s: Annotated[
        float, typer.Option(min=1.0, help="How long a node may answer one message.")
    ] = ANSWERING_S,
) -> None:
    """Say whether the node or coordinator of a home does its work; end with 1 if it does not.

    It reads one file and asks nobody. Example: fedmkt health /srv/fedmkt/bank
    """
    found = health_of(home, now=datetime.now(UTC), waiting_s=waiting_s, answering_s=answering_s)
    typer.echo(f"{'healthy' if found.healthy else 'not healthy'}: {found.sentence}")
    if not found.healthy:
        raise typer.Exit(_UNHEALTHY)
