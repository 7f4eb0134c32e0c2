"""`fedmkt up` and `fedmkt down`: a whole collaboration on one machine, as real processes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedmkt.cli.deployments import DEFAULT_FOLDER, DeploymentOption, deployment, remember
from fedmkt.deployment.plan import Layout, ProcessStatus, Status

_DOWN = 1


def up(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Where homes, keys, ledgers and logs go. Default: ./fedmkt-up.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Say how it stands, and start nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: as JSON.")] = False,
) -> None:
    """Start a whole collaboration on this machine, for trying out.

    A SuperLink, an executor and three partners' nodes, each a process with a home folder, keys, a
    ledger and a log of its own, over TLS on loopback alone. Returns once all are healthy; what ran
    in DIR before (ledgers, logs, models) is kept and goes on.

    Then: fedmkt job submit DIR/jobs/demo.toml --follow. To end it: fedmkt down.
    """
    console = Console(highlight=False, soft_wrap=True)
    if status:
        _say_status(console, deployment(folder), as_json=as_json)
        return
    # Imported here so that --help answers at once.
    from fedmkt.deployment.up import bring_up
    from fedmkt.simulation.deployed import build_collaboration

    layout = Layout(folder or DEFAULT_FOLDER)
    with console.status("making homes, keys and contract"):
        members = build_collaboration(layout.folder)
    with console.status("starting") as spinner:
        standing = bring_up(layout, members, tell=lambda now: spinner.update(_starting(now)))
    remember(layout)
    console.print(_table(standing))
    job = layout.folder / "jobs" / "demo.toml"
    console.print(f"next: fedmkt job submit {job} --follow")


def down(home: DeploymentOption = None) -> None:
    """End all processes of the deployment that was last brought up. Nothing is deleted."""
    from fedmkt.deployment.up import take_down

    layout = deployment(home)
    ran = take_down(layout)
    said = "all processes ended" if ran else "nothing was running"
    Console(highlight=False, soft_wrap=True).print(f"{layout.folder}: {said}")


def _say_status(console: Console, layout: Layout, *, as_json: bool) -> None:
    found = layout.read_status()
    healthy = found is not None and found.healthy
    if as_json:
        typer.echo(json.dumps(_as_json(layout, found), indent=2))
    elif found is None:
        console.print(f"{layout.folder}: nothing was ever brought up there")
    else:
        console.print(_table(found))
        console.print(f"{layout.folder}: {'healthy' if healthy else 'not healthy'}")
    if not healthy:
        raise typer.Exit(_DOWN)


def _as_json(layout: Layout, found: Status | None) -> dict[str, object]:
    processes = [] if found is None else [found.supervisor, *found.processes]
    return {
        "folder": str(layout.folder.resolve()),
        "healthy": found is not None and found.healthy,
        "processes": [
            {
                "name": one.name,
                "state": _state(one),
                "pid": one.pid if one.alive else None,
                "address": one.address,
                "restarts": one.restarts,
            }
            for one in processes
        ],
        "nodes": {} if found is None else dict(found.nodes),
    }


def _state(process: ProcessStatus) -> str:
    return process.state if process.alive or process.state == "stopped" else "gone"


def _starting(now: Status) -> str:
    waiting = [one.name for one in now.processes if one.state != "up"]
    waiting += [f"{name} to connect" for name, online in now.nodes.items() if not online]
    return f"waiting for {', '.join(waiting) or 'nodes to connect'}"


def _table(found: Status) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("process", "state", "pid", "address", "up since", "restarts", "node"):
        table.add_column(heading, no_wrap=True)
    for one in (found.supervisor, *found.processes):
        online = found.nodes.get(one.name)
        since = (
            "" if one.started is None else f"{datetime.fromtimestamp(one.started, UTC):%H:%M:%S}"
        )
        table.add_row(
            one.name,
            _state(one),
            "" if one.pid is None else str(one.pid),
            one.address or "",
            since,
            str(one.restarts),
            "" if online is None else "online" if online else "offline",
        )
    return table
