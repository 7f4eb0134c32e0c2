"""The identity's key file: 64 hexadecimal digits, readable by its owner alone."""

import os
from pathlib import Path

from fedmkt.core.errors import FileMissing, SettingInvalid
from fedmkt.identity.keys import Identity

_OWNER_ONLY = 0o600


def write_key(path: Path, identity: Identity) -> None:
    """Write the key file once; an existing one is never overwritten. Raises: SettingInvalid."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError:
        problem = "a key is already there, and a lost key cannot be made again"
        raise SettingInvalid(setting=str(path), problem=problem) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(identity.export_secret().hex() + "\n")


def read_key(path: Path) -> Identity:
    """Read the key file. Raises: FileMissing; SettingInvalid (form, or others may read it)."""
    if not path.is_file():
        advice = (
            "Restore it from your backup; how to make a first one: docs/guides/node_engineer.md."
        )
        raise FileMissing(what="identity key", path=path, advice=advice)
    # Security: a key that others can read is no identity.
    if path.stat().st_mode & 0o077:
        problem = "others may read it; run chmod 600 on it"
        raise SettingInvalid(setting=str(path), problem=problem)
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
        return Identity(secret)
    except ValueError:
        problem = "it does not hold a key (64 hexadecimal digits)"
        raise SettingInvalid(setting=str(path), problem=problem) from None
