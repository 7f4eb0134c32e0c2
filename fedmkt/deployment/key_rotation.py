"""A new identity and link key for a home; a node in service takes along what it logged and sealed.

Guarantee: the old key signs a statement for the other parties and a last record of the audit log,
both of which name the new key; alignments and parts of models are sealed anew under it; key, card,
log and sealed files change together or not at all, also when the process is killed
(`fedmkt.storage.pending_change`). Open runs end, for they are of a contract that names the old key;
what they had reserved is given back (killed before that, `fedmkt ledger give-back` does it).
Not guaranteed: anything while the node runs; what it is writing then is refused or lost. Nor that
anybody takes the new key before a contract names it, or that others forget the old one: a key that
was stolen is to be revoked as well.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from fedmkt.contract.membership import MemberCard, Rotation, check_keys, parse_rotation
from fedmkt.core.clock import SystemClock
from fedmkt.core.errors import CardInvalid, SettingInvalid
from fedmkt.deployment.certificates import AUTHORITY_KEY, reencrypted_authority
from fedmkt.deployment.joining import CARD_FILE, KEY_FILE, LINK_KEY_FILE, read_card
from fedmkt.deployment.link_keys import new_link_key
from fedmkt.identity.keys import Identity
from fedmkt.node.home import AUDIT_FILE, CLOSED, NodeHome, hold_to_log, open_home
from fedmkt.node.resealing import resealed
from fedmkt.storage.audit_log import AuditLog
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.key_file import encrypted_key, read_key, require_passphrase
from fedmkt.storage.pending_change import Handover, NewFile, changing, settle, stage
from fedmkt.storage.whole_file import read_text


def rotate_key(home: Path, old_passphrase: bytes | None, passphrase: bytes) -> tuple[Path, Path]:
    """Give a home a new identity; return the signed statement's file and where the old key is kept.

    Args: old_passphrase: None for a key in clear. passphrase: the new key's.
    Raises: SettingInvalid (a short passphrase; the node ran meanwhile; another rotation is under
    way), CardInvalid, KeyLocked, FileMissing, OutputUnwritable, errors of `open_home`; then nothing
    has changed.
    """
    require_passphrase(passphrase)
    with changing(home):
        return _rotate(home, old_passphrase, passphrase)


def _rotate(home: Path, old_passphrase: bytes | None, passphrase: bytes) -> tuple[Path, Path]:
    old, card = read_key(home / KEY_FILE, old_passphrase), read_card(home / CARD_FILE)
    if card.key != old.public.hex:
        raise CardInvalid(card=card.name, problem="it is not this key's; write it anew first")
    new, number = Identity.generate(), _unused(home)
    kept, statement = Path(f"{KEY_FILE}.old-{number}"), Path(f"rotation-{number}.json")
    old_key = (home / KEY_FILE).read_bytes() if old_passphrase else encrypted_key(old, passphrase)
    # The new key comes last: what it opens is there before it.
    files = {kept: NewFile(old_key)}
    if (home / LINK_KEY_FILE).exists():
        # A SuperLink takes no link key again of a member that it once shut out.
        link_key, public = new_link_key()
        files[Path(LINK_KEY_FILE)] = NewFile(link_key)
        card = card.model_copy(update={"link_key": public.decode("ascii")})
    files |= _handed_out(card, old, new, statement)
    if old_passphrase and (home / "tls" / AUTHORITY_KEY).exists():
        authority = reencrypted_authority(home / "tls", old_passphrase, passphrase)
        files[Path("tls", AUTHORITY_KEY)] = NewFile(authority)
    key = {Path(KEY_FILE): NewFile(encrypted_key(new, passphrase))}
    if (home / AUDIT_FILE).exists():
        _in_service(home, old, new, files, key)
    else:
        _carry_out(home, files | key, None)
    return home / statement, home / kept


def check_rotations(home: Path, cards: Iterable[MemberCard], statements: Iterable[Path]) -> None:
    """Check that each card has the key it has in a home's contract, or one that this vouches for.

    Args: statements: files that `rotate_key` wrote at others' homes.
    Raises: CardInvalid, FileMissing, ContractInvalid, ContractUnsigned.
    """
    advice = "Give the rotation-1.json that fedmkt keys rotate made."
    texts = [(one.name, read_text(one, what="rotation", advice=advice)) for one in statements]
    found = [parse_rotation(text, source=name) for name, text in texts]
    check_keys(read_contract(home), cards, found)


def _handed_out(
    card: MemberCard, old: Identity, new: Identity, statement: Path
) -> dict[Path, NewFile]:
    """Return what others are told: the old key's word, and the card of the new one."""
    word = Rotation(name=card.name, old=old.public.hex, new=new.public.hex, at=datetime.now(UTC))
    renewed = card.model_copy(update={"key": new.public.hex}).signed(new)
    return {
        statement: NewFile(word.signed(old).model_dump_json(indent=2).encode(), private=False),
        Path(CARD_FILE): NewFile(renewed.model_dump_json(indent=2).encode(), private=False),
    }


def _in_service(
    home: Path, old: Identity, new: Identity, files: dict[Path, NewFile], key: dict[Path, NewFile]
) -> None:
    """Carry out a rotation at a node whose log has begun, and end its open runs."""
    # A node that was rotated before is not in its contract until that is signed anew.
    opened = open_home(home, identity=old)
    try:
        # What may have left counts as spent before anything is given back.
        hold_to_log(opened)
        with opened.store.transaction() as tx:
            runs = opened.runs.names(tx)
        at, line = opened.audit.handover(new)
        files |= resealed(home, runs, old, new)
        files[Path("audit.pub")] = NewFile(f"{new.public.hex}\n".encode(), private=False)
        _carry_out(home, files | key, Handover(Path(AUDIT_FILE), at, line))
        _end_runs(opened, runs, new)
    finally:
        opened.close()


def _carry_out(home: Path, files: dict[Path, NewFile], handover: Handover | None) -> None:
    stage(home, files, handover)
    key = Path(KEY_FILE)
    # Whoever read a key meanwhile may have carried it out in our place.
    if not settle(home) and (home / key).read_bytes() != files[key].data:
        problem = "its audit log went on meanwhile; stop the node, then rotate again"
        raise SettingInvalid(setting=str(home), problem=problem)


def _end_runs(home: NodeHome, runs: tuple[str, ...], new: Identity) -> None:
    audit = AuditLog(home.folder / AUDIT_FILE, new, SystemClock())
    try:
        for run in runs:
            with home.store.transaction() as tx:
                # One that is closed may have been so by the log just now, with more reserved.
                returned = home.ledger.give_back(tx, run)
                if home.runs.load(tx, run) == CLOSED and not returned:
                    continue
                home.runs.save(tx, run, CLOSED)
            audit.append("given_back", {"run": run, "releases": returned})
    finally:
        audit.close()


def _unused(home: Path) -> int:
    number = 1
    while (home / f"{KEY_FILE}.old-{number}").exists():
        number += 1
    return number
