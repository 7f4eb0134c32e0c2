"""`fedmkt audit`: verify a node's log offline, without the node, and a training's privacy."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from fedmkt.cli.audit_privacy import privacy
from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.identity.hash_chain import Head, Verified, verify_chain
from fedmkt.identity.keys import PublicIdentity
from fedmkt.storage.whole_file import read_text

app = typer.Typer(
    help="The signed audit log, and audits of privacy.", no_args_is_help=True, add_completion=False
)
_KEY = re.compile(r"[0-9a-f]{64}")
_HEAD = re.compile(r"[0-9]+:[0-9a-f]+")


@app.callback()
def _group() -> None:
    """The signed audit log, and audits of privacy."""


app.command("privacy")(privacy)


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument()],
    key: Annotated[
        str, typer.Option(metavar="KEY", help="The owner's public key: audit.pub, or its digits.")
    ],
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help="A head seen elsewhere: NUMBER:HASH, a file with it, or another member's receipt.",
        ),
    ] = None,
    member: Annotated[
        str | None, typer.Option(metavar="NAME", help="The log's owner, where HEAD is a receipt.")
    ] = None,
) -> None:
    """Check every record, the chain and the signatures; with --head, that no tail was cut.

    FILE is a log, as nodes/bank/audit.log of a demonstration.

    Ends with 1 when the log was altered, reordered, cut or forked.
    """
    if not file.is_file():
        raise FileMissing(what="audit log", path=file, advice="Give the path of an audit.log.")
    owner = PublicIdentity(_key(key))
    wanted = None if head is None else _head(head, member)
    torn = _ends_torn(file)
    with file.open("rb") as lines:
        # Only the last line can lack its newline; it was never reported as written.
        whole = (line for line in lines if line.endswith(b"\n"))
        verified = verify_chain(whole, owner, wanted, file.name)
    _tell(file, verified)
    if torn:
        typer.echo("The last line is incomplete, as after a crash; the records before it hold.")
    if wanted is None:
        typer.echo("Not checked: whether records are missing at the end (give --head for that).")


def _tell(file: Path, verified: Verified) -> None:
    typer.echo(f"{file}: {verified.records} records, unaltered and in order")
    typer.echo(f"head {verified.head}")
    for number in verified.rotations:
        typer.echo(f"key changed at record {number}, by a record that both keys signed")


def _key(value: str) -> str:
    if _KEY.fullmatch(value):
        return value
    advice = "Give the audit.pub of the log's owner, or its 64 digits."
    return read_text(Path(value), what="key", advice=advice).strip()


def _head(value: str, member: str | None) -> Head:
    if _HEAD.fullmatch(value):
        return Head.parse(value)
    advice = "Give NUMBER:HASH, a file that holds it, or another member's receipt."
    text = read_text(Path(value), what="head", advice=advice)
    try:
        receipt = json.loads(text)["receipt"]
    except (ValueError, TypeError, KeyError):
        return Head.parse(text)
    return Head.parse(_head_in(receipt, member))


def _head_in(receipt: Any, member: str | None) -> str:
    """Return the owner's head in a receipt. Raises: SettingInvalid."""
    heads = receipt.get("heads") if isinstance(receipt, dict) else None
    if not isinstance(heads, dict) or not heads:
        raise SettingInvalid(setting="--head", problem="it is a receipt that holds no heads")
    if member not in heads:
        names = ", ".join(sorted(str(name) for name in heads))
        problem = f"a receipt holds the heads of {names}; --member must name the log's owner"
        raise SettingInvalid(setting="--head", problem=problem)
    return str(heads[member])


def _ends_torn(file: Path) -> bool:
    with file.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(size - 1, 0))
        return log.read(1) not in (b"", b"\n")
