"""The contract, its signatures, jobs and orders as files.

collaboration.toml              the contract
collaboration.signatures.json   everybody's signatures on it
revocations/                    signed words that a member's key is trusted no longer, a file for
                                each member, key and signer
"""

from pathlib import Path

import tomli_w
from pydantic import ValidationError

from fedmkt.contract.collaboration import Collaboration, parse_collaboration
from fedmkt.contract.job import AnyJob, parse_job
from fedmkt.contract.order import Order
from fedmkt.contract.revocation import Revocation, parse_revocation
from fedmkt.contract.signatures import signatures_document, verify_contract
from fedmkt.core.errors import JobInvalid
from fedmkt.core.frozen import first_problem
from fedmkt.storage.whole_file import read_text, write_whole
from fedmkt.wire.canonical import canonical_json, digest

CONTRACT_FILE = "collaboration.toml"
SIGNATURES_FILE = "collaboration.signatures.json"
REVOCATIONS = "revocations"
_SHORT = 16  # hexadecimal digits of a hash in a file's name


def read_contract(folder: Path) -> Collaboration:
    """Read the contract in `folder` and check everybody's signature on it.

    Raises: FileMissing, SettingInvalid, ContractInvalid, ContractUnsigned.
    """
    advice = "Copy the signed contract there."
    text = read_text(folder / CONTRACT_FILE, what="contract", advice=advice)
    contract = parse_collaboration(text, source=CONTRACT_FILE)
    advice = "Have every member sign the contract."
    signatures = read_text(folder / SIGNATURES_FILE, what="signatures file", advice=advice)
    verify_contract(contract, signatures)
    return contract


def write_contract(folder: Path, contract: Collaboration, signatures: dict[str, str]) -> None:
    """Write a contract and its signatures into `folder`. Raises: OutputUnwritable."""
    value = contract.model_dump(mode="json", exclude_none=True)
    write_whole(folder / CONTRACT_FILE, tomli_w.dumps(value).encode())
    document = signatures_document(contract, signatures)
    write_whole(folder / SIGNATURES_FILE, document.encode())


def read_job(path: Path) -> AnyJob:
    """Read a job file (.toml). Raises: FileMissing, SettingInvalid, JobInvalid."""
    text = read_text(path, what="job", advice="Give the path of a job file (.toml).")
    return parse_job(text, source=path.name)


def write_job(path: Path, job: AnyJob) -> None:
    """Write a job file. Raises: OutputUnwritable."""
    value = job.model_dump(mode="json", exclude_none=True)
    write_whole(path, tomli_w.dumps(value).encode())


def read_order(path: Path) -> Order:
    """Read a signed order (.json). Raises: FileMissing, SettingInvalid, JobInvalid."""
    text = read_text(path, what="order", advice="Have the requester sign the job for this run.")
    try:
        return Order.model_validate_json(text)
    except ValidationError as error:
        raise JobInvalid(job=path.name, problem=first_problem(error)) from None


def write_order(path: Path, order: Order) -> None:
    """Write a signed order. Raises: OutputUnwritable."""
    write_whole(path, canonical_json(order.model_dump(mode="json")))


def keep_revocation(folder: Path, revocation: Revocation) -> Path:
    """Put a revocation into `folder`; return its file. One that is there stays as it is.

    Raises: OutputUnwritable.
    """
    # Security: one file for each member, key and signer, so no statement puts another out.
    key = digest(revocation.key.encode())[:_SHORT]
    file = folder / REVOCATIONS / f"{revocation.member}.{key}.{revocation.by}.json"
    if not file.exists():
        write_whole(file, revocation.model_dump_json(indent=2).encode())
    return file


def read_revocations(folder: Path) -> tuple[Revocation, ...]:
    """Read the revocations that were put into `folder`; their signatures are not checked here.

    Raises: RevocationInvalid, SettingInvalid.
    """
    files = sorted((folder / REVOCATIONS).glob("*.json"))
    advice = "Put it back."
    texts = ((one.name, read_text(one, what="revocation", advice=advice)) for one in files)
    return tuple(parse_revocation(text, source=name) for name, text in texts)
