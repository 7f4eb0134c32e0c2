"""`fedmkt audit privacy`: a training with canaries by a job's own terms, and what it shows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from fedmkt.storage.whole_file import write_whole


def privacy(
    job: Annotated[
        Path,
        typer.Argument(metavar="JOB", help="A job (.toml), or a finished run's folder."),
    ],
    schema: Annotated[
        str, typer.Option(metavar="FILE", help="A schema (.toml), or adult or bank_marketing.")
    ],
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Customers: .csv or .parquet. Default: those of a bundled schema."
        ),
    ] = None,
    canaries: Annotated[int, typer.Option(min=20, max=5000, help="How many.")] = 300,
    kind: Annotated[
        Literal["gradients", "customers"], typer.Option(help="The canaries of a network.")
    ] = "gradients",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the picture (.html).")
    ] = None,
) -> None:
    """Train once with canaries and tell by how much epsilon is at least lost.

    The training is a new one by the job's own terms; no ledger is charged and nothing is kept. A
    network's terms stand in a file with family = "network".

    Ends with 1 when the bound is above the stated epsilon.

    Example: fedmkt audit privacy fedmkt-up/jobs/demo.toml --schema adult
    """
    # Imported here: looking at a log must not wait for what draws and trains.
    from fedmkt.privacy.mechanisms import OsNoise
    from fedmkt.simulation.attacks.audit_page import Subject, audit_lines, audit_page
    from fedmkt.simulation.attacks.canaries import audit
    from fedmkt.simulation.attacks.stated import declared_schema, stated_training, table_source

    audited = stated_training(
        job, declared_schema(schema), table_source(table, schema), canaries=canaries, kind=kind
    )
    coins = (OsNoise().words(audited.canaries) & np.uint64(1)).astype(np.bool_)
    found = audit(audited, coins, defence="as stated")
    typer.echo(audited.what)
    for line in audit_lines(found):
        typer.echo(line)
    if out is not None:
        held = f"{schema} (bundled)" if table is None else table.name
        on = datetime.now(UTC).date()
        subject = Subject(job.absolute().name, Path(schema).name, held, on)
        write_whole(out, audit_page(found, audited.what, subject).encode())
        typer.echo(f"page: {out}")
    if found.exceeds:
        raise typer.Exit(1)
