"""`fedmkt job`: runs on a deployment, for whoever operates its coordinator."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedmkt.cli.deployments import DeploymentOption, deployment
from fedmkt.contract.job import AnyJob, Job, NetworkJob
from fedmkt.contract.order import sign_order
from fedmkt.core.errors import RunRefused, SettingInvalid
from fedmkt.deployment import jobs
from fedmkt.deployment.plan import Layout
from fedmkt.storage.contract_files import read_contract, read_job, read_order, write_order
from fedmkt.storage.key_file import read_key

app = typer.Typer(
    help="Runs on a deployment: submit, follow, list.", no_args_is_help=True, add_completion=False
)
_FAILED = 1
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's name.")]


@app.command()
def submit(
    job: Annotated[
        Path, typer.Argument(metavar="JOB", help="A job (.toml), or a signed order (.json).")
    ],
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for its end, show how far.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --follow, of a training over fedmkt up's dataset: where report.html and "
            "report.json go.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="The run's name. Default: JOB-1, JOB-2, …", show_default=False),
    ] = None,
    home: DeploymentOption = None,
) -> None:
    """Have the job's requester sign it, and start it on the deployment.

    A job is signed with its requester's key where that home is on this machine; else let the
    requester run fedmkt job sign, and submit the order.

    Example: fedmkt job submit fedmkt-up/jobs/demo.toml --follow --out report
    """
    layout = deployment(home)
    order = read_order(job) if job.suffix == ".json" else None
    asked = read_job(job) if order is None else order.job
    _require_report(layout, asked, out, follow=follow)
    name = jobs.submit(layout, asked, run) if order is None else jobs.submit_order(layout, order)
    console = _console()
    console.print(f"run [bold]{name}[/] started")
    if follow:
        _follow(console, layout, name, out)
    else:
        console.print(f"next: fedmkt job follow {name}")


@app.command()
def sign(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="A job file (.toml).")],
    home: Annotated[Path, typer.Option(help="The requester's node.")],
    run: Annotated[str, typer.Option(help="The run's name, used once for ever.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: RUN.order.json.")
    ] = None,
) -> None:
    """Sign a job for one run: the requester's part. The order goes to the coordinator."""
    file = out or Path(f"{run}.order.json")
    identity, contract = read_key(home / "identity.key"), read_contract(home)
    write_order(file, sign_order(contract, run, read_job(job), identity))
    _console().print(f"wrote {file}; next, at the coordinator: fedmkt job submit {file}")


@app.command("list")
def list_runs(home: DeploymentOption = None) -> None:
    """List all runs and how they stand."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "job", "kind", "state", "done", "exchanges", "kB", "ended with"):
        # A run's name is what the other commands take, a code what the guide explains.
        table.add_column(heading, no_wrap=heading in ("run", "ended with"), overflow="fold")
    for one in jobs.standings(deployment(home)):
        table.add_row(one.run, one.job.name, one.job.kind, one.state, *_done(one), one.code)
    _console().print(table)


@app.command()
def show(run: RunArgument, home: DeploymentOption = None) -> None:
    """Show what a run did, step by step."""
    found = jobs.standing(deployment(home), run)
    console = _console()
    console.print(f"run {found.run}, job {found.job.name}: [bold]{found.state}[/] {found.code}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("at", "what", "", "exchanges", "kB up", "kB down"):
        table.add_column(heading, no_wrap=True)
    for event in found.events:
        place = (
            f"{event.number} of {event.of} {event.name}" if event.of else event.name or event.code
        )
        table.add_row(
            f"{event.at:%H:%M:%S}",
            event.what,
            place,
            str(event.exchanges),
            f"{event.bytes_up / 1000:.0f}",
            f"{event.bytes_down / 1000:.0f}",
        )
    console.print(table)


@app.command()
def follow(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Of a training over fedmkt up's dataset: where report.html and report.json go.",
            show_default=False,
        ),
    ] = None,
    home: DeploymentOption = None,
) -> None:
    """Wait for a run's end and show how far it is: exchanges, bytes, time left."""
    layout = deployment(home)
    _require_report(layout, jobs.standing(layout, run).job, out)
    _follow(_console(), layout, run, out)


@app.command()
def cancel(run: RunArgument, home: DeploymentOption = None) -> None:
    """End a run before its next exchange; nodes give back what was not sent."""
    layout = deployment(home)
    over = jobs.standing(layout, run).over
    found = jobs.cancel(layout, run)
    said = f"{found.state} before, nothing to cancel" if over else f"{found.state} {found.code}"
    _console().print(f"run {found.run}: {said}")


@app.command()
def resume(
    run: RunArgument,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for its end, show how far.")
    ] = False,
    home: DeploymentOption = None,
) -> None:
    """Start a stopped run's order again: it goes on where it stopped, to the same model."""
    layout = deployment(home)
    jobs.resume(layout, run)
    console = _console()
    console.print(f"run [bold]{run}[/] goes on")
    if follow:
        _follow(console, layout, run, None)


def _require_report(layout: Layout, job: AnyJob, out: Path | None, *, follow: bool = True) -> None:
    """Refuse a place for a report that there will not be. Raises: SettingInvalid."""
    if out is None:
        return
    if not follow:
        problem = "a report is written at the run's end; give --follow, or later fedmkt job follow"
        raise SettingInvalid(setting="--out", problem=problem)
    from fedmkt.simulation.deployed import has_report

    if not has_report(layout.folder, job):
        problem = (
            "only trainings over fedmkt up's dataset have a report; leave it out, and look at the "
            "models with fedmkt model list"
        )
        raise SettingInvalid(setting="--out", problem=problem)
    if isinstance(job, NetworkJob):
        # Told before the run, not at its end: whoever measures a network needs the extra.
        import fedmkt.models.network  # noqa: F401


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _done(found: jobs.Standing) -> tuple[str, str, str]:
    counted = [event for event in found.events if event.what in ("round", "step")]
    last = found.events[-1] if found.events else None
    done = f"{counted[-1].number} of {counted[-1].of}" if counted else ""
    if last is None:
        return done, "", ""
    return done, str(last.exchanges), f"{(last.bytes_up + last.bytes_down) / 1000:.0f}"


def _follow(console: Console, layout: Layout, run: str, out: Path | None) -> None:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
        console=console,
    )
    task = progress.add_task(run, total=None, said="")
    found = jobs.standing(layout, run)  # an unknown run is told without an empty bar
    with Live(progress, console=console, refresh_per_second=8):
        for found in jobs.follow(layout, run):
            counted = [event for event in found.events if event.what in ("round", "step")]
            _, exchanges, kilobytes = _done(found)
            progress.update(
                task,
                description=found.run,
                completed=counted[-1].number if counted else 0,
                total=counted[-1].of if counted else None,
                said=f"{exchanges or 0} exchanges, {kilobytes or 0} kB",
            )
    if not console.is_terminal:
        console.print()  # the bar ends its line on a terminal alone
    console.print(f"run {found.run}: [bold]{found.state}[/] {found.code}{_took(found)}")
    if found.state != "finished":
        _say_ending(console, layout, found)
        raise typer.Exit(RunRefused.exit_code if found.code == RunRefused.code else _FAILED)
    _say_result(console, layout, found, out)


def _say_ending(console: Console, layout: Layout, found: jobs.Standing) -> None:
    ending = found.events[-1] if found.events else None
    if ending is not None and ending.member:
        console.print(f"ended at {ending.member}: {ending.name}")
    if found.state == "stopped":
        console.print(f"next: fedmkt job resume {found.order}, when the cause is mended")
    elif ending is not None and found.code == RunRefused.code:
        own = layout.node(ending.member)
        home = own if own.is_dir() else "HOME"
        console.print(f"next, at {ending.member}: fedmkt ledger explain {found.run} --home {home}")


def _took(found: jobs.Standing) -> str:
    if not found.events:
        return ""
    first: datetime = found.events[0].at
    return f" after {(found.events[-1].at - first).total_seconds():.1f} s"


def _say_result(console: Console, layout: Layout, found: jobs.Standing, out: Path | None) -> None:
    from fedmkt.cli.demo import say_models
    from fedmkt.simulation.deployed import report_of
    from fedmkt.simulation.report_page import write

    folder = layout.coordinator / "runs" / found.run
    if not isinstance(found.job, Job | NetworkJob):
        console.print(f"what nodes stated openly, and their receipts: {folder}")
        return
    network = isinstance(found.job, NetworkJob)
    if network:
        console.print(f"model and receipts: {folder}; next: fedmkt model show {found.run}")
    if network and out is None:
        return  # its figures need the library for networks, which a coordinator may do without
    report = report_of(layout.folder, found.job, found.run, found.events)
    if report is None:
        console.print(f"model and receipts: {folder}")
        return
    say_models(console, report)
    if out is not None:
        _, page = write(report, out)
        console.print(f"report: [bold]{page}[/]")
