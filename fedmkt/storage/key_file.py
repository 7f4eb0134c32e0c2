"""The identity's key file: encrypted with a passphrase, and readable by its owner alone.

An encrypted file is PKCS#8 (PEM), encrypted by the `cryptography` package's best available scheme.
Simulated members on somebody's own machine keep 64 hexadecimal digits instead (`write_key`, for
`fedmkt.simulation` alone): nothing would be gained by a passphrase that lies beside them. Both
forms are read; no command makes a key in clear.

Guarantee: a file has mode 0600, and none is overwritten here; another takes its place by
`fedmkt.storage.pending_change` alone, whole. One that others may read is not used; a passphrase is
in no error and no log. A passphrase's file may also be one that root handed to the reader's group.
"""

import getpass
import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from fedmkt.core.errors import FileMissing, KeyLocked, SettingInvalid
from fedmkt.identity.keys import Identity
from fedmkt.storage.pending_change import settle

PASSPHRASE, PASSPHRASE_FILE = "FEDMKT_PASSPHRASE", "FEDMKT_PASSPHRASE_FILE"
LEAST_PASSPHRASE, MOST_PASSPHRASE = 12, 1023
_OWNER_ONLY = 0o600
_PEM = b"-----BEGIN"


def write_key(path: Path, identity: Identity) -> None:
    """Write the key file of a simulated member, in clear. Raises: SettingInvalid (one is there)."""
    _write(path, (identity.export_secret().hex() + "\n").encode())


def write_encrypted_key(path: Path, identity: Identity, passphrase: bytes) -> None:
    """Write the key file, encrypted. Raises: SettingInvalid (one is there, a short passphrase)."""
    _write(path, encrypted_key(identity, passphrase))


def read_key(path: Path, passphrase: bytes | None = None) -> Identity:
    """Read the key file. passphrase: None looks for it, see `find_passphrase`.

    A change of keys that was cut short is brought to its end first. Raises: FileMissing; KeyLocked;
    SettingInvalid (form, or others may read it); OutputUnwritable.
    """
    settle(path.parent)
    if not path.is_file():
        advice = "Restore it from your backup, or make a first one with fedmkt node init."
        raise FileMissing(what="identity key", path=path, advice=advice)
    # Security: a key that others can read is no identity.
    _require_private(path)
    data = path.read_bytes()
    if data.startswith(_PEM):
        return _decrypted(path, data, passphrase or find_passphrase(path))
    try:
        return Identity(bytes.fromhex(data.decode("ascii").strip()))
    except ValueError:
        problem = "it holds neither an encrypted key nor 64 hexadecimal digits"
        raise SettingInvalid(setting=str(path), problem=problem) from None


def encrypted_key(identity: Identity, passphrase: bytes) -> bytes:
    """Return the contents of an encrypted key file. Raises: SettingInvalid (a short passphrase)."""
    require_passphrase(passphrase)
    key = Ed25519PrivateKey.from_private_bytes(identity.export_secret())
    scheme = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, scheme)


def find_passphrase(
    path: Path, *, new: bool = False, file: Path | None = None, from_environment: bool = True
) -> bytes:
    """Return the passphrase of a key file: from a file, the environment, or the terminal.

    Args: new: it is chosen now, so a terminal asks twice. file: holds it, before all others.
    from_environment: False where that holds the old one, so only `file` and the terminal count.
    Raises: KeyLocked (none is to be had), SettingInvalid (its file, or the two differ).
    """
    named = os.environ.get(PASSPHRASE_FILE) if from_environment else None
    if file is not None or named:
        file = file or Path(str(named))
        if not file.is_file():
            raise KeyLocked(path=path, problem="the passphrase's file is not there")
        _require_private(file, handed=True)
        return file.read_bytes().strip()
    given = os.environ.get(PASSPHRASE) if from_environment else None
    if given:
        return os.fsencode(given)
    if not sys.stdin.isatty():
        raise KeyLocked(path=path, problem="no passphrase was given")
    typed = getpass.getpass(f"{'New passphrase' if new else 'Passphrase'} of {path}: ")
    if new and typed != getpass.getpass("The same again: "):
        raise SettingInvalid(setting="the passphrase", problem="the two differ")
    return typed.encode()


def require_passphrase(passphrase: bytes) -> None:
    """Raise SettingInvalid for a passphrase that is too short, or longer than the scheme takes."""
    if not LEAST_PASSPHRASE <= len(passphrase) <= MOST_PASSPHRASE:
        few = len(passphrase) < LEAST_PASSPHRASE
        problem = f"it has {'fewer' if few else 'more'} than " + (
            f"{LEAST_PASSPHRASE if few else MOST_PASSPHRASE} characters"
        )
        raise SettingInvalid(setting="the passphrase", problem=problem)


def is_encrypted(path: Path) -> bool:
    """Tell whether a key file is encrypted."""
    return path.read_bytes().startswith(_PEM)


def _decrypted(path: Path, data: bytes, passphrase: bytes) -> Identity:
    try:
        key = load_pem_private_key(data, passphrase)
    except (ValueError, TypeError):
        raise KeyLocked(path=path, problem="the passphrase is wrong, or the file damaged") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingInvalid(setting=str(path), problem="it is no Ed25519 key")
    return Identity(key.private_bytes_raw())


def is_private(mode: int, *, owner: int, reader: int, handed: bool = False) -> bool:
    """Tell whether a file is for its reader alone. handed: root may hand it to the reader's group.

    owner, reader: numbers of users.
    """
    # Security: systemd and Kubernetes hand out a secret as root's file with mode 0440, which one
    # service's group or access list may read. That is no wider than the service itself.
    closed = 0o037 if handed and owner == 0 != reader else 0o077
    return not mode & closed


def _require_private(path: Path, *, handed: bool = False) -> None:
    found = path.stat()
    if not is_private(found.st_mode, owner=found.st_uid, reader=os.geteuid(), handed=handed):
        problem = "others may read it; run chmod 600 on it"
        raise SettingInvalid(setting=str(path), problem=problem)


def _write(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError:
        problem = "a key is already there, and a lost key cannot be made again"
        raise SettingInvalid(setting=str(path), problem=problem) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
