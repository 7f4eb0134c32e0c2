"""What changes about the keys of a home that is there: passphrase, identity, certificate, trust.

Guarantee: what is refused has changed nothing; keys under one passphrase change together or not at
all (`fedmkt.storage.pending_change`). A new identity: `fedmkt.deployment.key_rotation`.
"""

from datetime import datetime
from pathlib import Path

from fedmkt.contract.revocation import (
    Revocation,
    parse_revocation,
    verify_news,
    verify_revocation,
)
from fedmkt.core.errors import ContractInvalid
from fedmkt.deployment.certificates import (
    AUTHORITY_KEY,
    reencrypted_authority,
    renew_certificate,
)
from fedmkt.deployment.joining import KEY_FILE, name_of
from fedmkt.deployment.settings import read_coordinator_settings
from fedmkt.storage.contract_files import keep_revocation, read_contract, read_revocations
from fedmkt.storage.key_file import encrypted_key, read_key
from fedmkt.storage.pending_change import NewFile, changing, settle, stage
from fedmkt.storage.whole_file import read_text


def encrypt_key(home: Path, old: bytes | None, new: bytes) -> None:
    """Encrypt a home's keys under another passphrase; they stay the same keys.

    Args: old: the passphrase so far, None for a key in clear.
    Raises: FileMissing, KeyLocked, SettingInvalid, OutputUnwritable.
    """
    with changing(home):
        files = {Path(KEY_FILE): NewFile(encrypted_key(read_key(home / KEY_FILE, old), new))}
        if old is not None and (home / "tls" / AUTHORITY_KEY).exists():
            authority = reencrypted_authority(home / "tls", old, new)
            files[Path("tls", AUTHORITY_KEY)] = NewFile(authority)
        stage(home, files, None)
        settle(home)


def renew(home: Path, passphrase: bytes) -> None:
    """Give a coordinator a new certificate of the authority that its partners know.

    Raises: FileMissing (it has no authority of its own), KeyLocked, SettingInvalid,
    OutputUnwritable.
    """
    settle(home)
    renew_certificate(home / "tls", read_coordinator_settings(home).host, passphrase)


def heed(home: Path, statement: Path) -> Revocation:
    """Put another party's revocation into a home, whose runs with that member end; return it.

    Raises: FileMissing, RevocationInvalid (of another contract or key, not signed by a party, or by
        one that was revoked here before), ContractUnsigned, OutputUnwritable.
    """
    text = read_text(
        statement, what="revocation", advice="Give the file that contract revoke made."
    )
    found = parse_revocation(text, source=statement.name)
    verify_news(read_contract(home), found, read_revocations(home))
    keep_revocation(home, found)
    return found


def revoke(home: Path, member: str, *, now: datetime) -> tuple[Path, Revocation]:
    """Sign that a member's key is trusted no longer; return the statement and its file.

    Raises: ContractInvalid (no such member, or the home's key is no party's), RevocationInvalid
    (of itself), ContractUnsigned, KeyLocked, FileMissing.
    """
    contract, identity = read_contract(home), read_key(home / KEY_FILE)
    key, by = contract.key_of(member), name_of(contract, identity)
    if key is None:
        raise ContractInvalid(contract=contract.name, problem=f"it names no member {member}")
    statement = Revocation(contract=contract.name, member=member, key=key, by=by, at=now).signed(
        identity
    )
    verify_revocation(contract, statement)
    return keep_revocation(home, statement), statement
