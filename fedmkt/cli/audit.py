"""`fedmkt audit`: verify a node's log offline, without the node."""

from pathlib import Path
from typing import Annotated

import typer

from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.identity.hash_chain import Head, verify_chain
from fedmkt.identity.keys import PublicIdentity

app = typer.Typer(help="The signed audit log.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The signed audit log."""


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="The log, as in nodes/bank/audit.log.")],
    key: Annotated[str, typer.Option(help="The member's public key: audit.pub, or its digits.")],
    head: Annotated[
        str | None,
        typer.Option(help="A head seen elsewhere, SEQUENCE:HASH, or a file that holds it."),
    ] = None,
) -> None:
    """Check every record, the chain and the signatures; with --head, that no tail was cut.

    Ends with 1 when the log was altered, reordered, cut or forked.
    """
    if not file.is_file():
        raise FileMissing(what="audit log", path=file, advice="Give the path of an audit.log.")
    wanted = None if head is None else Head.parse(_text(head))
    with file.open("rb") as lines:
        verified = verify_chain(lines, PublicIdentity(_text(key)), wanted, file.name)
    typer.echo(f"{file}: {verified.records} records, unaltered and in order")
    typer.echo(f"head {verified.head}")
    if wanted is None:
        typer.echo("Not checked: whether records are missing at the end (give --head for that).")


def _text(value: str) -> str:
    path = Path(value)
    try:
        return path.read_text(encoding="ascii").strip() if path.is_file() else value
    except (OSError, UnicodeDecodeError):
        raise SettingInvalid(setting=value, problem="the file cannot be read as text") from None
