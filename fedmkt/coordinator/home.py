"""The coordinator's home folder, opened.

identity.key                    its Ed25519 identity (0600)
collaboration.toml, collaboration.signatures.json
revocations/                    signed words that a member's key is trusted no longer
runs/RUN/                       journal.db, job.json, model.json (horizontal) or outcome.json,
                                receipts/MEMBER.json, progress.jsonl, rounds/N.json; lost.json
                                where a training went on without; cancelled where it was
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.job import AnyJob
from fedmkt.contract.order import Order
from fedmkt.contract.revocation import check_not_revoked
from fedmkt.contract.signatures import directory_of
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.coordinator.summed_training import Outcome
from fedmkt.core.errors import ContractInvalid, RequestConflict, RunCancelled, RunFinished
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import Directory
from fedmkt.models.kept import AnyModel, model_bytes
from fedmkt.storage.contract_files import read_contract, read_revocations
from fedmkt.storage.key_file import read_key
from fedmkt.storage.whole_file import write_whole


@dataclass(frozen=True)
class CoordinatorHome:
    """The coordinator's own things: its key, the contract and its runs."""

    folder: Path
    identity: Identity = field(repr=False)
    contract: Collaboration = field(repr=False)
    directory: Directory = field(repr=False)

    def run_folder(self, run: str, job: AnyJob) -> Path:
        """Return the folder of a run, made when new; a run is of one job for ever.

        Raises: RequestConflict when the run was begun for another job; OutputUnwritable.
        """
        folder = self.folder / "runs" / run
        stated = folder / "job.json"
        if stated.exists() and stated.read_bytes() != job.signed_bytes():
            raise RequestConflict(step="open", run=run)
        write_whole(stated, job.signed_bytes())
        return folder

    def lost_of(self, order: Order) -> tuple[str, ...]:
        """Return the members that earlier starts of an order lost."""
        noted = self.folder / "runs" / order.run / "lost.json"
        return tuple(json.loads(noted.read_text("utf-8"))) if noted.exists() else ()

    def remember_lost(self, order: Order, lost: tuple[str, ...]) -> None:
        """Note the members that an order goes on without. Raises: OutputUnwritable."""
        write_whole(self.folder / "runs" / order.run / "lost.json", json.dumps(lost).encode())

    def cancel(self, run: str) -> None:
        """Note that a run is to end before its next exchange. Raises: OutputUnwritable."""
        write_whole(self.folder / "runs" / run / "cancelled", b"")

    def is_cancelled(self, run: str) -> bool:
        """Tell whether a run is to end."""
        return (self.folder / "runs" / run / "cancelled").exists()

    def check_goes_on(self, order: Order) -> None:
        """Refuse to go on with a run that was cancelled, or where a key of its parties was revoked.

        Raises: RunCancelled, MemberRevoked, RevocationInvalid.
        """
        if self.is_cancelled(order.run):
            raise RunCancelled(run=order.run)
        parties = {self.contract.coordinator.name, order.job.requester, *order.job.members}
        check_not_revoked(self.contract, read_revocations(self.folder), parties)

    def refuse_finished(self, run: str) -> None:
        """Raise RunFinished where a run over shared customers has left its outcome."""
        path = self.folder / "runs" / run / "outcome.json"
        if path.exists():
            raise RunFinished(run=run, path=path)

    def keep(self, outcome: Outcome[AnyModel] | SharedOutcome) -> None:
        """Write a finished run's result and receipts, each file whole. Raises: OutputUnwritable."""
        folder = self.folder / "runs" / outcome.run
        if isinstance(outcome, Outcome):
            write_whole(folder / "model.json", model_bytes(outcome.model))
        else:
            write_whole(folder / "outcome.json", json.dumps(outcome.facts, indent=2).encode())
        self.keep_receipts(outcome.run, outcome.receipts)

    def keep_receipts(self, run: str, receipts: Mapping[str, bytes]) -> None:
        """Write members' receipts of a run, each file whole. Raises: OutputUnwritable."""
        for member, receipt in receipts.items():
            write_whole(self.folder / "runs" / run / "receipts" / f"{member}.json", receipt)


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
