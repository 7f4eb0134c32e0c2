"""How a collaboration comes together from nothing: homes, cards, a contract, invitations.

Guarantee: private keys are made where they are used and never leave; what is written is written
whole, and no private key that is there already is overwritten. A step that is refused has written
nothing.
"""

import tomllib
from datetime import datetime, timedelta
from pathlib import Path

import tomli_w
from pydantic import TypeAdapter, ValidationError

from fedmkt.contract.collaboration import Collaboration, Dataset, parse_collaboration
from fedmkt.contract.membership import (
    Invitation,
    MemberCard,
    merged_signatures,
    open_invitation,
    parse_card,
)
from fedmkt.contract.schema import Identifier
from fedmkt.contract.signatures import sign_contract, signatures_document, signed, verify_contract
from fedmkt.core.errors import CardInvalid, ContractInvalid, InvitationInvalid, SettingInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.deployment.certificates import (
    ServerCertificate,
    is_certificate,
    write_certificates,
)
from fedmkt.deployment.link_keys import public_link_key, write_node_key
from fedmkt.deployment.settings import (
    COORDINATOR_FILE,
    CoordinatorSettings,
    read_coordinator_settings,
)
from fedmkt.identity.keys import Identity
from fedmkt.node.settings import read_settings
from fedmkt.storage.contract_files import (
    CONTRACT_FILE,
    SIGNATURES_FILE,
    read_contract,
)
from fedmkt.storage.key_file import read_key, require_passphrase, write_encrypted_key
from fedmkt.storage.whole_file import (
    read_text,
    unwritable,
    write_together,
    write_whole,
)

KEY_FILE, LINK_KEY_FILE, CARD_FILE = "identity.key", "link.key", "member.json"
DATASETS, MEMBERS = "datasets", "members"
_NODE_TOML = """\
# Settings of this node. Every key: docs/guides/node_engineer.md
member = "{member}"

# A table for each dataset of the contract that you hold; fedmkt node import writes one.
# [datasets.prospects]
# kind = "csv"
# path = "customers.csv"
"""


def init_node(home: Path, member: str, passphrase: bytes) -> MemberCard:
    """Make a node's home: its keys, its settings and its card. Raises: SettingInvalid, CardInvalid,
    OutputUnwritable."""
    require_passphrase(passphrase)
    _require_empty(home)
    _require_name(member)
    identity = Identity.generate()
    with unwritable(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / DATASETS).mkdir(exist_ok=True)
        write_encrypted_key(home / KEY_FILE, identity, passphrase)
    write_node_key(home / LINK_KEY_FILE)
    write_whole(home / "node.toml", _NODE_TOML.format(member=member).encode())
    return write_card(home, member, identity)


def init_coordinator(
    home: Path,
    settings: CoordinatorSettings,
    passphrase: bytes,
    *,
    certificate: ServerCertificate | None = None,
) -> MemberCard:
    """Make a coordinator's home: its key, its certificate, its settings and its card.

    Args: certificate: one that was brought along; else an authority of its own signs one for the
    host. Raises: as `init_node`.
    """
    require_passphrase(passphrase)
    _require_empty(home)
    identity = Identity.generate()
    with unwritable(home):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_encrypted_key(home / KEY_FILE, identity, passphrase)
        if certificate is None:
            write_certificates(home / "tls", settings.host, passphrase=passphrase)
        else:
            certificate.write(home / "tls")
    write_whole(home / COORDINATOR_FILE, tomli_w.dumps(settings.model_dump()).encode())
    card = MemberCard(name=settings.name, key=identity.public.hex).signed(identity)
    write_whole(home / CARD_FILE, card.model_dump_json(indent=2).encode())
    return card


def write_card(home: Path, member: str, identity: Identity | None = None) -> MemberCard:
    """Write a node's card, with what stands in its datasets/*.toml. Raises: SettingInvalid."""
    found = identity or read_key(home / KEY_FILE)
    card = MemberCard(
        name=member,
        key=found.public.hex,
        link_key=public_link_key(home / LINK_KEY_FILE),
        datasets=tuple(_dataset(path) for path in sorted((home / DATASETS).glob("*.toml"))),
    ).signed(found)
    write_whole(home / CARD_FILE, card.model_dump_json(indent=2).encode())
    return card


def read_card(path: Path) -> MemberCard:
    """Read a member's card. Raises: FileMissing, CardInvalid."""
    advice = "Ask the member for the member.json that fedmkt node init made."
    return parse_card(read_text(path, what="card", advice=advice), source=path.name)


def read_draft(file: Path) -> Collaboration:
    """Read a contract that not everybody has signed. Raises: FileMissing, ContractInvalid."""
    advice = "Give the path of a collaboration.toml."
    return parse_collaboration(read_text(file, what="contract", advice=advice), source=file.name)


def signed_by(file: Path) -> dict[str, bool]:
    """Return for every member and the coordinator whether it signed. Raises: as `read_draft`."""
    contract = read_draft(file)
    found = merged_signatures(contract, _signatures(file))
    everybody = [one.name for one in (*contract.members, contract.coordinator)]
    return {name: signed(contract, found.get(name), name) for name in everybody}


def add_signature(home: Path, file: Path) -> str:
    """Sign a contract with the identity of a home; return whose signature it is.

    Signatures on another version of the contract are dropped: they are of other words.
    Raises: ContractInvalid (the contract does not name this key), FileMissing, KeyLocked.
    """
    contract, identity = read_draft(file), read_key(home / KEY_FILE)
    name = name_of(contract, identity)
    signatures = merged_signatures(contract, _signatures(file))
    signatures[name] = sign_contract(contract, identity)
    document = signatures_document(contract, signatures)
    write_whole(file.with_name(SIGNATURES_FILE), document.encode())
    return name


def adopt_contract(home: Path, file: Path) -> Collaboration:
    """Copy a contract that everybody signed into a home.

    Raises: ContractUnsigned, ContractInvalid, FileMissing.
    """
    contract = read_draft(file)
    document = _signatures(file) or "{}"
    verify_contract(contract, document)
    write_together(
        {home / CONTRACT_FILE: file.read_bytes(), home / SIGNATURES_FILE: document.encode()}
    )
    return contract


def admit(home: Path, card: MemberCard) -> None:
    """Let a member's node connect, by the key its card names.

    Raises: CardInvalid (the contract gives the member another identity, or the card has no node's
        key); ContractUnsigned, ContractInvalid, OutputUnwritable.
    """
    contract = read_contract(home)
    if contract.key_of(card.name) != card.key:
        problem = "the contract gives this member another key; have everybody sign a new contract"
        raise CardInvalid(card=card.name, problem=problem)
    if not card.link_key:
        raise CardInvalid(card=card.name, problem="it names no key of a node")
    write_whole(home / MEMBERS / f"{card.name}.pub", card.link_key.encode())


def invite(home: Path, member: str, *, now: datetime, days: int) -> Invitation:
    """Return an invitation for a member, signed by a coordinator.

    Raises: ContractUnsigned, ContractInvalid (it names no such member), KeyLocked.
    """
    contract, settings = read_contract(home), read_coordinator_settings(home)
    if member not in {one.name for one in contract.members}:
        raise ContractInvalid(contract=contract.name, problem=f"it names no member {member}")
    return Invitation(
        member=member,
        address=settings.address,
        certificate=read_text(home / "tls" / "ca.crt", what="certificate", advice="Restore it."),
        contract=(home / CONTRACT_FILE).read_text("utf-8"),
        signatures=(home / SIGNATURES_FILE).read_text("utf-8"),
        expires=now + timedelta(days=days),
    ).signed(read_key(home / KEY_FILE))


def join(home: Path, file: Path, *, now: datetime) -> Collaboration:
    """Take an invitation: contract, certificate and address go into the node's home.

    Raises: InvitationInvalid, ContractUnsigned, KeyLocked; then nothing was written.
    """
    advice = "Ask the coordinator for the file."
    text = read_text(file, what="invitation", advice=advice)
    identity, settings = read_key(home / KEY_FILE), read_settings(home / "node.toml")
    invitation, contract = open_invitation(
        text, member=settings.member, key=identity.public.hex, now=now
    )
    if not is_certificate(invitation.certificate):
        raise InvitationInvalid(problem="its certificate cannot be read")
    link = {"address": invitation.address, "certificate": "tls/ca.crt", "key": LINK_KEY_FILE}
    if settings.link is not None and settings.link.address != invitation.address:
        problem = "node.toml has a [link] to another address already; remove it first"
        raise SettingInvalid(setting="node.toml", problem=problem)
    certificate = settings.link.certificate if settings.link else Path("tls", "ca.crt")
    files = {
        home / certificate: invitation.certificate.encode(),
        home / CONTRACT_FILE: invitation.contract.encode(),
        home / SIGNATURES_FILE: invitation.signatures.encode(),
    }
    if settings.link is None:
        written = (home / "node.toml").read_text("utf-8-sig").rstrip()
        files[home / "node.toml"] = f"{written}\n\n{tomli_w.dumps({'link': link})}".encode()
    write_together(files)
    return contract


def name_of(contract: Collaboration, identity: Identity) -> str:
    """Return whose key a home's is in a contract. Raises: ContractInvalid (nobody's)."""
    everybody = (*contract.members, contract.coordinator)
    name = next((one.name for one in everybody if one.key == identity.public.hex), None)
    if name is None:
        problem = "it names nobody with the key of this home; correct it from the member's card"
        raise ContractInvalid(contract=contract.name, problem=problem)
    return name


def _signatures(file: Path) -> str | None:
    path = file.with_name(SIGNATURES_FILE)
    return path.read_text("utf-8") if path.is_file() else None


def _dataset(path: Path) -> Dataset:
    try:
        return Dataset.model_validate(tomllib.loads(path.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise SettingInvalid(setting=path.name, problem=f"not TOML: {error}") from None
    except ValidationError as error:
        raise SettingInvalid(setting=path.name, problem=first_problem(error)) from None


def _require_empty(home: Path) -> None:
    made = (KEY_FILE, LINK_KEY_FILE, "node.toml", COORDINATOR_FILE)
    if any((home / name).exists() for name in made):
        problem = "a home is there already, and its key is never overwritten"
        raise SettingInvalid(setting=str(home), problem=problem)


def _require_name(member: str) -> None:
    try:
        TypeAdapter(Identifier).validate_python(member)
    except ValidationError:
        problem = f"{member!r} needs letters, digits, blanks and . @ + - _ alone"
        raise SettingInvalid(setting="the member's name", problem=problem) from None
