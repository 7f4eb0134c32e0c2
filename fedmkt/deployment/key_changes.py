"""What changes about the keys of a home that is there: passphrase, identity, certificate, trust.

Guarantee: a key that is replaced is kept beside the new one, encrypted; what is refused has changed
nothing.
"""

from datetime import UTC, datetime
from pathlib import Path

from fedmkt.contract.membership import Rotation
from fedmkt.contract.revocation import Revocation, parse_revocation, verify_revocation
from fedmkt.core.errors import CardInvalid, ContractInvalid, SettingInvalid
from fedmkt.deployment.certificates import AUTHORITY_KEY, encrypt_authority, renew_certificate
from fedmkt.deployment.joining import CARD_FILE, KEY_FILE, name_of, read_card
from fedmkt.deployment.settings import read_coordinator_settings
from fedmkt.identity.keys import Identity
from fedmkt.node.home import AUDIT_FILE
from fedmkt.storage.contract_files import REVOCATIONS, read_contract
from fedmkt.storage.key_file import read_key, replace_key, require_passphrase
from fedmkt.storage.whole_file import read_text, write_private, write_whole


def encrypt_key(home: Path, old: bytes | None, new: bytes) -> None:
    """Encrypt a home's keys under another passphrase; they stay the same keys.

    Args: old: the passphrase so far, None for a key in clear.
    Raises: FileMissing, KeyLocked, SettingInvalid, OutputUnwritable.
    """
    identity = read_key(home / KEY_FILE, old)
    _encrypt_authority(home, old, new)
    replace_key(home / KEY_FILE, identity, new)


def _encrypt_authority(home: Path, old: bytes | None, new: bytes) -> None:
    if old is not None and (home / "tls" / AUTHORITY_KEY).exists():
        encrypt_authority(home / "tls", old, new)


def rotate_key(home: Path, old_passphrase: bytes | None, passphrase: bytes) -> tuple[Path, Path]:
    """Give a home a new identity; return the signed statement's file and where the old key is kept.

    A home whose audit log has begun keeps its key: the log, and what is sealed beside it, would not
    open under another. Raises: as `encrypt_key`, and SettingInvalid for such a home; CardInvalid.
    """
    _require_no_log(home)
    require_passphrase(passphrase)
    old, card = read_key(home / KEY_FILE, old_passphrase), read_card(home / CARD_FILE)
    if card.key != old.public.hex:
        raise CardInvalid(card=card.name, problem="it is not this key's; write it anew first")
    new, number = Identity.generate(), _unused(home)
    kept = home / f"{KEY_FILE}.old-{number}"
    statement = Rotation(
        name=card.name, old=old.public.hex, new=new.public.hex, at=datetime.now(UTC)
    ).signed(old)
    if old_passphrase is not None:
        write_private(kept, (home / KEY_FILE).read_bytes())
    else:
        replace_key(kept, old, passphrase)
    _encrypt_authority(home, old_passphrase, passphrase)
    replace_key(home / KEY_FILE, new, passphrase)
    file = home / f"rotation-{number}.json"
    write_whole(file, statement.model_dump_json(indent=2).encode())
    renewed = card.model_copy(update={"key": new.public.hex}).signed(new)
    write_whole(home / CARD_FILE, renewed.model_dump_json(indent=2).encode())
    return file, kept


def _unused(home: Path) -> int:
    number = 1
    while (home / f"{KEY_FILE}.old-{number}").exists():
        number += 1
    return number


def _require_no_log(home: Path) -> None:
    if (home / AUDIT_FILE).exists():
        problem = (
            "its audit log hangs on the key that it has, and would not open under another. If that "
            "key was stolen, have the coordinator revoke it (fedmkt contract revoke)"
        )
        raise SettingInvalid(setting=str(home), problem=problem)


def renew(home: Path, passphrase: bytes) -> None:
    """Give a coordinator a new certificate of the authority that its partners know.

    Raises: FileMissing (it has no authority of its own), KeyLocked, SettingInvalid.
    """
    renew_certificate(home / "tls", read_coordinator_settings(home).host, passphrase)


def heed(home: Path, statement: Path) -> Revocation:
    """Put another party's revocation into a home, whose runs with that member end; return it.

    Raises: FileMissing, RevocationInvalid (of another contract, or not signed by a party of it),
        ContractUnsigned, OutputUnwritable.
    """
    text = read_text(
        statement, what="revocation", advice="Give the file that contract revoke made."
    )
    found = parse_revocation(text, source=statement.name)
    verify_revocation(read_contract(home), found)
    write_whole(home / REVOCATIONS / f"{found.member}.json", text.encode())
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
    file = home / REVOCATIONS / f"{member}.json"
    write_whole(file, statement.model_dump_json(indent=2).encode())
    return file, statement
