"""The contract, its signatures, jobs and orders as files.

collaboration.toml              the contract
collaboration.signatures.json   everybody's signatures on it
"""

from pathlib import Path

import tomli_w
from pydantic import ValidationError

from fedmkt.contract.collaboration import Collaboration, parse_collaboration
from fedmkt.contract.job import Job, parse_job
from fedmkt.contract.order import Order
from fedmkt.contract.signatures import signatures_document, verify_contract
from fedmkt.core.errors import FileMissing, JobInvalid, StorageFailed
from fedmkt.wire.canonical import canonical_json

CONTRACT_FILE = "collaboration.toml"
SIGNATURES_FILE = "collaboration.signatures.json"


def read_contract(folder: Path) -> Collaboration:
    """Read the contract in `folder` and check everybody's signature on it.

    Raises: FileMissing, ContractInvalid, ContractUnsigned.
    """
    text = _text(folder / CONTRACT_FILE, "contract", "Copy the signed contract there.")
    contract = parse_collaboration(text, source=CONTRACT_FILE)
    signatures = folder / SIGNATURES_FILE
    verify_contract(
        contract, _text(signatures, "signatures file", "Have every member sign the contract.")
    )
    return contract


def write_contract(folder: Path, contract: Collaboration, signatures: dict[str, str]) -> None:
    """Write a contract and its signatures into `folder`."""
    value = contract.model_dump(mode="json", exclude_none=True)
    (folder / CONTRACT_FILE).write_text(tomli_w.dumps(value), encoding="utf-8")
    document = signatures_document(contract, signatures)
    (folder / SIGNATURES_FILE).write_text(document, encoding="utf-8")


def read_job(path: Path) -> Job:
    """Read a job file (.toml). Raises: FileMissing, JobInvalid."""
    return parse_job(_text(path, "job", "Give the path of a job file (.toml)."), source=path.name)


def write_job(path: Path, job: Job) -> None:
    """Write a job file."""
    value = job.model_dump(mode="json", exclude_none=True)
    path.write_text(tomli_w.dumps(value), encoding="utf-8")


def read_order(path: Path) -> Order:
    """Read a signed order (.json). Raises: FileMissing, JobInvalid."""
    text = _text(path, "order", "Have the requester sign the job for this run.")
    try:
        return Order.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "order"
        raise JobInvalid(job=path.name, problem=f"{where}: {first['msg']}") from None


def write_order(path: Path, order: Order) -> None:
    """Write a signed order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, canonical_json(order.model_dump(mode="json")))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises: StorageFailed."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageFailed(path=path, problem=error.strerror or "unknown") from None


def _text(path: Path, what: str, advice: str) -> str:
    if not path.is_file():
        raise FileMissing(what=what, path=path, advice=advice)
    return path.read_text(encoding="utf-8")
