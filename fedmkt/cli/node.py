"""`fedmkt node`: a partner's node, for the engineer who runs it."""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.cli.homes import DEMO_FOLDER, STORIES, HomeOption, opened
from fedmkt.cli.ledger import USES_IN_WORDS
from fedmkt.node.dry_run import DryRun, dry_run
from fedmkt.storage.balances import Balance
from fedmkt.storage.contract_files import read_job

app = typer.Typer(help="A partner's node.", no_args_is_help=True, add_completion=False)
_REFUSED = 3


@app.command("dry-run")
def dry_run_job(
    job: Annotated[str, typer.Argument()],
    home: HomeOption = None,
) -> None:
    """List what a job would release, what it would cost and what would be refused.

    JOB is a job file, or the name of a job of the demonstration.

    Nothing runs and nothing is spent. Ends with 3 when a node would refuse.
    """
    console = Console(soft_wrap=True, highlight=False)
    path, asked = _found(job, home)
    stated = read_job(path)
    with opened(asked) as homes:
        parties = [one for one in homes if one.member in stated.members] or homes
        outcomes = [dry_run(one, stated) for one in parties]
    for outcome in outcomes:
        console.print("\n".join(_sentences(outcome)), end="\n\n", markup=False)
    if any(outcome.refusal for outcome in outcomes):
        raise typer.Exit(_REFUSED)


def _found(job: str, home: Path | None) -> tuple[Path, Path | None]:
    """Return a job's file, and the home whose nodes are asked: those of its demonstration."""
    demo = home or DEMO_FOLDER
    if not Path(job).exists():
        for place in (demo, *(demo / story for story in STORIES)):
            named = place / "jobs" / f"{job}.toml"
            if named.exists():
                return named, place
    return Path(job), home


def _sentences(outcome: DryRun) -> list[str]:
    lines = [f"{outcome.member}: job {outcome.job}"]
    if outcome.refusal is not None:
        lines.append(f"  would be refused under rule {outcome.refusal.code}: {outcome.refusal}")
    if not outcome.leaves:
        return lines
    if outcome.refusal is not None:
        lines.append("  nothing would leave this node; if it were allowed, it would be:")
    else:
        lines.append("  would leave this node:")
    lines += [f"    - {item}" for item in _in_short(outcome.leaves)]
    lines.append("    - a signed receipt, the audit log's latest hash, keys and signatures")
    lines.append("  never leaves: rows, identifiers, unmasked sums, the reason of a refusal")
    if not outcome.epsilon:
        lines.append("  costs: no epsilon; what leaves is counted against its cap for life")
    elif outcome.epsilon == float("inf"):
        lines.append("  costs: no epsilon bounds it, since it carries no noise")
    else:
        lines.append(f"  costs: epsilon {outcome.epsilon:.3f} at delta {outcome.delta:g}")
    pairs = zip(outcome.left_before, outcome.left_after, strict=True)
    return lines + [line for before, after in pairs for line in _left(before, after)]


def _in_short(leaves: Sequence[str]) -> list[str]:
    """Return what leaves with the rounds in which the same does as one."""
    rounds = [re.fullmatch(r"round (\d+): (.*)", item) for item in leaves]
    short: list[str] = []
    for what, group in groupby(zip(leaves, rounds, strict=True), lambda one: one[1] and one[1][2]):
        items, matches = zip(*group, strict=True)
        if what is None or len(items) == 1:
            short += items
        else:
            short.append(f"rounds {matches[0][1]} to {matches[-1][1]}, each: {what}")
    return short


def _left(before: Balance, after: Balance) -> list[str]:
    scope = before.purpose or "all purposes"
    windows = (
        (f"in {before.period_days} days", before.period_left, after.period_left),
        ("for life", before.lifetime_left, after.lifetime_left),
    )
    lines = [
        f"    {scope}, {window}: epsilon {was:.3f} left now, {will:.3f} afterwards"
        for window, was, will in windows
        if was is not None and will is not None and was != will
    ]
    lines += [
        f"    {scope}, {USES_IN_WORDS[was.window]}: {was.left} left now, {will.left} afterwards"
        for was, will in zip(before.uses, after.uses, strict=True)
        if was.used != will.used
    ]
    return lines
