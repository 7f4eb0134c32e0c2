"""Signing and verifying the contract: in force only when every member has signed it.

The signatures stand beside the contract in `collaboration.signatures.json`:
{"contract": HASH, "signatures": {MEMBER: HEX}}.
"""

import json
from collections.abc import Mapping
from typing import Any

from fedmkt.contract.collaboration import Collaboration
from fedmkt.core.errors import ContractInvalid, ContractUnsigned, SettingInvalid, SignatureInvalid
from fedmkt.identity.keys import Identity, PublicIdentity

LABEL = "contract"


def sign_contract(contract: Collaboration, identity: Identity) -> str:
    """Return a member's signature of the contract, in hexadecimal."""
    return identity.sign(LABEL, contract.signed_bytes()).hex()


def signatures_document(contract: Collaboration, signatures: Mapping[str, str]) -> str:
    """Return the text of the signatures file."""
    document = {"contract": contract.hash, "signatures": dict(sorted(signatures.items()))}
    return json.dumps(document, indent=2) + "\n"


def verify_contract(contract: Collaboration, document: str) -> None:
    """Check that every member and the coordinator signed exactly this contract.

    Raises: ContractInvalid (not a signatures file), ContractUnsigned (naming the first missing).
    """
    signatures = _signatures(contract, document)
    for member in (*contract.members, contract.coordinator):
        if not signed(contract, signatures.get(member.name), member.name):
            raise ContractUnsigned(contract=contract.name, member=member.name)


def signed(contract: Collaboration, signature: object, name: str) -> bool:
    """Tell whether a signature (hexadecimal) is the named member's on exactly this contract."""
    try:
        key = PublicIdentity(str(contract.key_of(name)))
        key.verify(LABEL, contract.signed_bytes(), bytes.fromhex(str(signature)), member=name)
    except (ValueError, SignatureInvalid, SettingInvalid):
        return False
    return True


def _signatures(contract: Collaboration, document: str) -> dict[str, Any]:
    try:
        value = json.loads(document)["signatures"]
    except (json.JSONDecodeError, KeyError, TypeError):
        problem = "its signatures file cannot be read"
        raise ContractInvalid(contract=contract.name, problem=problem) from None
    if not isinstance(value, dict):
        raise ContractInvalid(contract=contract.name, problem="its signatures are not a table")
    return value


def directory_of(contract: Collaboration) -> dict[str, PublicIdentity]:
    """Return every name's key: members and coordinator."""
    everybody = (*contract.members, contract.coordinator)
    return {member.name: PublicIdentity(member.key) for member in everybody}
