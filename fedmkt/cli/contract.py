"""`fedmkt contract`: draft it, sign it, see who signed, revoke a key, heed a revocation."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.cli.contract_words import in_words
from fedmkt.core.errors import OutputUnwritable, SettingInvalid
from fedmkt.deployment import joining, key_changes
from fedmkt.deployment.drafting import draft_contract
from fedmkt.deployment.key_rotation import check_rotations
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.whole_file import write_whole

app = typer.Typer(
    help="The contract: draft, sign, verify, revoke, heed.",
    no_args_is_help=True,
    add_completion=False,
)
FileArgument = Annotated[Path, typer.Argument(metavar="CONTRACT", help="collaboration.toml")]
_INCOMPLETE = 1


@app.command()
def draft(
    coordinator: Annotated[Path, typer.Option(help="The coordinator's card.")],
    member: Annotated[list[Path], typer.Option(help="A member's card; once for each.")],
    purpose: Annotated[
        list[str] | None,
        typer.Option(
            help="What datasets may be used for, asked for by a holder; once for each. "
            "Default: what the cards say.",
            show_default=False,
        ),
    ] = None,
    rotation: Annotated[
        list[Path] | None,
        typer.Option(help="Whose key changed: what its keys rotate wrote; once for each."),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(help="A home with the contract before: its keys are looked for in the cards."),
    ] = None,
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
    hub, cards = joining.read_card(coordinator), [joining.read_card(path) for path in member]
    if home is not None:
        check_rotations(home, [hub, *cards], rotation or ())
    elif rotation:
        raise SettingInvalid(setting="--rotation", problem="give --home too, for the keys before")
    text = draft_contract(name, hub, cards, expires, purpose or ())
    write_whole(out, text.encode())
    console = _console()
    console.print(f"wrote {out}: read it, above all purposes, caps and columns, and correct it")
    for card in cards:
        datasets = "" if card.datasets else "; its card has no dataset"
        console.print(f"  {card.name}: compare its fingerprint, {card.fingerprint}{datasets}")
    if home is not None:
        # What was corrected by hand in the contract before is not in the cards.
        _say_changes(console, in_words(read_contract(home)), in_words(joining.read_draft(out)))
    console.print(
        "next, everybody, on the very same file: fedmkt contract sign CONTRACT --home HOME"
    )


def _say_changes(console: Console, before: Sequence[str], now: Sequence[str]) -> None:
    console.print("what this draft says otherwise than the contract before:")
    for line in before:
        if line not in now:
            console.print(f"  before: {line.strip()}")
    for line in now:
        if line not in before:
            console.print(f"  now:    {line.strip()}")


@app.command()
def sign(
    file: FileArgument,
    home: Annotated[Path, typer.Option(help="The home whose identity signs.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Sign a contract, after showing what it says.

    Example: fedmkt contract sign collaboration.toml --home /srv/fedmkt/bank
    """
    console = _console()
    console.print("\n".join(in_words(joining.read_draft(file))))
    if not yes:
        typer.confirm("Sign this?", abort=True)
    name = joining.add_signature(home, file)
    console.print(f"signed as {name}; hand {file.name} and its signatures file to the next")


@app.command()
def verify(file: FileArgument) -> None:
    """Say who signed a contract and who has not. Ends with 1 until everybody has.

    Example: fedmkt contract verify collaboration.toml
    """
    console, found = _console(), joining.signed_by(file)
    for name, signed in found.items():
        console.print(f"{name}: {'signed' if signed else 'not signed, or another version'}")
    if not all(found.values()):
        raise typer.Exit(_INCOMPLETE)
    console.print("everybody signed this very text; it is in force")


@app.command()
def revoke(
    member: Annotated[
        str, typer.Argument(metavar="MEMBER", help="Whose key is not to be trusted.")
    ],
    home: Annotated[
        Path, typer.Option(help="The home whose identity signs: not the member's own.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Sign that a member's key is to be trusted no longer, for instance because it was stolen.

    Runs with that member end before their next exchange where the statement lies: here at once,
    elsewhere with fedmkt contract heed. A running coordinator shuts its node out.

    Example: fedmkt contract revoke bank --home /srv/fedmkt/hub
    """
    console = _console()
    if not yes:
        typer.confirm(f"Revoke the key of {member}?", abort=True)
    file, statement = key_changes.revoke(home, member, now=datetime.now(UTC))
    console.print(f"{statement.by} revoked the key of {member}: {file}")
    console.print(
        f"runs with {member} end at this home before their next exchange; hand the statement to "
        "the coordinator and the other members, for theirs"
    )
    console.print(f"next, at each of them: fedmkt contract heed {file.name} --home HOME")
    console.print(f"then sign a contract without {member}, or with its new key")


@app.command()
def heed(
    statement: Annotated[
        Path, typer.Argument(metavar="STATEMENT", help="What contract revoke wrote.")
    ],
    home: Annotated[Path, typer.Option(help="The home that is to heed it.")],
) -> None:
    """Take a revocation that another party signed: runs with that member end at this home.

    Example: fedmkt contract heed bank.json --home /srv/fedmkt/shop
    """
    found = key_changes.heed(home, statement)
    _console().print(f"{home} trusts the key of {found.member} no longer; {found.by} revoked it")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
