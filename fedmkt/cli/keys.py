"""`fedmkt keys`: the identity of a home, encrypted, under another passphrase, or made anew."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedmkt.deployment.joining import KEY_FILE
from fedmkt.deployment.key_changes import encrypt_key
from fedmkt.deployment.key_rotation import rotate_key
from fedmkt.storage.key_file import find_passphrase, is_encrypted

app = typer.Typer(
    help="Identity keys: encrypt, rotate.", no_args_is_help=True, add_completion=False
)
HomeArgument = Annotated[Path, typer.Argument(metavar="HOME", help="A node's or coordinator's.")]
NewOption = Annotated[
    Path | None,
    typer.Option(help="A file with the new passphrase (0600). Default: asks.", show_default=False),
]
RotatedOption = Annotated[
    Path | None,
    typer.Option(
        help="A file with the new key's passphrase (0600). Default: the environment's, which is "
        "the old key's; without one, asks.",
        show_default=False,
    ),
]


@app.command()
def encrypt(home: HomeArgument, new_passphrase: NewOption = None) -> None:
    """Encrypt a home's key, or give an encrypted one another passphrase. The key stays the same.

    FEDMKT_PASSPHRASE or its file opens an encrypted key; the new passphrase is asked for, or read
    with --new-passphrase. Example: fedmkt keys encrypt /srv/fedmkt/bank --new-passphrase new.txt
    """
    path, old = home / KEY_FILE, _present(home)
    new = find_passphrase(path, new=True, file=new_passphrase, from_environment=old is None)
    encrypt_key(home, old, new)
    _console().print(f"{home / KEY_FILE} is encrypted with the new passphrase")


@app.command()
def rotate(home: HomeArgument, new_passphrase: RotatedOption = None) -> None:
    """Make a new identity, and a statement signed with the old one that says so.

    Nobody takes the new key until the contract names it and everybody has signed that contract. The
    old key is kept beside it, encrypted. At a node stop the node first: its audit log goes on under
    the new key, what it keeps sealed is sealed anew, and its open runs end. Example: fedmkt keys
    rotate /srv/fedmkt/bank
    """
    old = _present(home)
    passphrase = find_passphrase(home / KEY_FILE, new=True, file=new_passphrase)
    statement, kept = rotate_key(home, old, passphrase)
    console = _console()
    same = " under the passphrase of the old one" if passphrase == old else ""
    console.print(f"new key in {home / KEY_FILE}{same}; the old one is {kept}")
    console.print(f"hand out {statement} and the new member.json; then draft, sign and join again")


def _present(home: Path) -> bytes | None:
    """Return the passphrase of a home's key as it is; None if the key is in clear, or missing."""
    path = home / KEY_FILE
    return find_passphrase(path) if path.is_file() and is_encrypted(path) else None


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
