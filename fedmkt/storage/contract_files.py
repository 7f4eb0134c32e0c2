"""The contract, its signatures and jobs as files.

collaboration.toml              the contract
collaboration.signatures.json   everybody's signatures on it
"""

from pathlib import Path

import tomli_w

from fedmkt.contract.collaboration import Collaboration, parse_collaboration
from fedmkt.contract.job import Job, parse_job
from fedmkt.contract.signatures import signatures_document, verify_contract
from fedmkt.core.errors import FileMissing

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


def _text(path: Path, what: str, advice: str) -> str:
    if not path.is_file():
        raise FileMissing(what=what, path=path, advice=advice)
    return path.read_text(encoding="utf-8")
