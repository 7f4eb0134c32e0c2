"""The coordinator's home folder, opened.

identity.key                    its Ed25519 identity (0600)
collaboration.toml, collaboration.signatures.json
runs/RUN/                       journal.db, job.json, model.json, receipts/MEMBER.json
"""

from dataclasses import dataclass, field
from pathlib import Path

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.job import Job
from fedmkt.contract.signatures import directory_of
from fedmkt.coordinator.training import Outcome, model_bytes
from fedmkt.core.errors import ContractInvalid, RequestConflict
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import Directory
from fedmkt.storage.contract_files import read_contract
from fedmkt.storage.key_file import read_key
from fedmkt.storage.whole_file import write_whole


@dataclass(frozen=True)
class CoordinatorHome:
    """The coordinator's own things: its key, the contract and its runs."""

    folder: Path
    identity: Identity = field(repr=False)
    contract: Collaboration = field(repr=False)
    directory: Directory = field(repr=False)

    def run_folder(self, run: str, job: Job) -> Path:
        """Return the folder of a run, made when new; a run is of one job for ever.

        Raises: RequestConflict when the run was begun for another job; OutputUnwritable.
        """
        folder = self.folder / "runs" / run
        stated = folder / "job.json"
        if stated.exists() and stated.read_bytes() != job.signed_bytes():
            raise RequestConflict(step="open", run=run)
        write_whole(stated, job.signed_bytes())
        return folder

    def keep(self, outcome: Outcome) -> None:
        """Write a finished run's model and receipts, each file whole. Raises: OutputUnwritable."""
        folder = self.folder / "runs" / outcome.run
        write_whole(folder / "model.json", model_bytes(outcome.model))
        for member, receipt in outcome.receipts.items():
            write_whole(folder / "receipts" / f"{member}.json", receipt)


def open_coordinator(folder: Path) -> CoordinatorHome:
    """Open the coordinator's home folder.

    Raises: FileMissing, SettingInvalid, ContractInvalid, ContractUnsigned.
    """
    identity = read_key(folder / "identity.key")
    contract = read_contract(folder)
    if contract.coordinator.key != identity.public.hex:
        problem = "its key for the coordinator is not the one in identity.key"
        raise ContractInvalid(contract=contract.name, problem=problem)
    return CoordinatorHome(folder, identity, contract, directory_of(contract))
