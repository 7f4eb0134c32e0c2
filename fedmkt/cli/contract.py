"""`fedmkt contract`: draft it, sign it, see who signed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.contract.collaboration import Collaboration
from fedmkt.core.errors import OutputUnwritable
from fedmkt.deployment import joining
from fedmkt.storage.whole_file import write_whole

app = typer.Typer(
    help="The contract: draft, sign, verify.", no_args_is_help=True, add_completion=False
)
FileArgument = Annotated[Path, typer.Argument(metavar="CONTRACT", help="collaboration.toml")]
_INCOMPLETE = 1


@app.command()
def draft(
    coordinator: Annotated[Path, typer.Option(help="The coordinator's card.")],
    member: Annotated[list[Path], typer.Option(help="A member's card; once for each.")],
    name: Annotated[str, typer.Option(help="The collaboration's name.")] = "collaboration",
    days: Annotated[int, typer.Option(min=1, max=3660, help="How long it is to hold.")] = 365,
    out: Annotated[Path, typer.Option("-o", "--out")] = Path("collaboration.toml"),
) -> None:
    """Draft a contract from everybody's cards, for people to read and correct.

    Example: fedmkt contract draft --coordinator coordinator.json --member bank.json --member
    retailer.json
    """
    if out.exists():
        raise OutputUnwritable(path=out, problem="a file is there")
    expires = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    cards = [joining.read_card(path) for path in member]
    text = joining.draft_contract(name, joining.read_card(coordinator), cards, expires)
    write_whole(out, text.encode())
    console = _console()
    console.print(f"wrote {out}: read it, above all purposes, caps and columns, and correct it")
    for card in cards:
        console.print(f"  {card.name}: compare its fingerprint, {card.fingerprint}")
    console.print(
        "next, everybody, on the very same file: fedmkt contract sign CONTRACT --home HOME"
    )


@app.command()
def sign(
    file: FileArgument,
    home: Annotated[Path, typer.Option(help="The home whose identity signs.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Sign a contract, after showing what it says."""
    console = _console()
    console.print("\n".join(in_words(joining.read_draft(file))))
    if not yes:
        typer.confirm("Sign this?", abort=True)
    name = joining.add_signature(home, file)
    console.print(f"signed as {name}; hand {file.name} and its signatures file to the next")


@app.command()
def verify(file: FileArgument) -> None:
    """Say who signed a contract and who has not. Ends with 1 until everybody has."""
    console, found = _console(), joining.signed_by(file)
    for name, signed in found.items():
        console.print(f"{name}: {'signed' if signed else 'not signed, or another version'}")
    if not all(found.values()):
        raise typer.Exit(_INCOMPLETE)
    console.print("everybody signed this very text; it is in force")


def in_words(contract: Collaboration) -> list[str]:
    """Return what a contract says, as sentences."""
    members = ", ".join(one.name for one in contract.members)
    lines = [
        f"contract {contract.name}, until {contract.expires:%d %B %Y}",
        f"members: {members}; coordinator: {contract.coordinator.name}",
    ]
    for dataset in contract.datasets:
        lines.append(f"dataset {dataset.name}, held by {', '.join(dataset.holders)}:")
        for purpose, requesters in dataset.uses.items():
            lines.append(f"  may be used for {purpose}, when asked for by {', '.join(requesters)}")
        lines.append(
            f"  noise: {', '.join(dataset.modes)}; at least {dataset.minimum_audience} rows"
        )
    for cap in contract.caps:
        scope = " ".join(part for part in (cap.purpose, cap.requester) if part) or "all uses"
        parts = [
            f"epsilon {cap.lifetime_epsilon:g} for life" if cap.lifetime_epsilon else "",
            f"{cap.period_epsilon:g} in {cap.period_days} days" if cap.period_epsilon else "",
            f"{cap.exact_scores_lifetime} exact scores" if cap.exact_scores_lifetime else "",
            f"{cap.alignments_lifetime} alignments" if cap.alignments_lifetime else "",
        ]
        said = ", ".join(part for part in parts if part) or "counts of uses"
        lines.append(f"cap on {cap.dataset} ({scope}): {said}")
    return lines


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
