"""A simulated collaboration on disk: home folders of a coordinator and its members' nodes.

Everything is as in a deployment (keys, contract, signatures, ledgers, audit logs) except that one
process, or others that it starts, plays all parts, and the nodes are marked `simulated`.
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import polars as pl
import tomli_w

from fedmkt.contract.collaboration import Cap, Collaboration, Dataset, Member
from fedmkt.contract.job import AnyJob, Job, NetworkJob
from fedmkt.contract.order import Order, sign_order
from fedmkt.contract.signatures import sign_contract
from fedmkt.coordinator.app import AnyOutcome, make_main
from fedmkt.coordinator.conversation import Patience
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.coordinator.summed_training import Outcome, Watcher
from fedmkt.identity.keys import Identity
from fedmkt.models.additive import AdditiveModel
from fedmkt.models.network_shape import NetworkWeights
from fedmkt.node.app import forget_nodes
from fedmkt.storage.contract_files import (
    read_contract,
    write_contract,
    write_job,
    write_order,
)
from fedmkt.storage.key_file import read_key, write_key
from fedmkt.storage.whole_file import unwritable, write_whole
from fedmkt.transport.backends import IN_PROCESS, Backend
from fedmkt.transport.flower import make_server_app

_CLIENT = "fedmkt.node.app:app"
COORDINATOR = "coordinator"
_TABLE_FILE = "customers.parquet"
_CONSENT_FILE = "consent.parquet"
_PATIENCE = Patience(connect_s=5, exchange_s=300, absent_s=5)
_PATIENCE_ELSEWHERE = Patience(connect_s=60, exchange_s=300, absent_s=60)
"""Where nodes run in other processes, which take seconds to start, and to start again."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The contract's datasets and caps, and until when they hold."""

    name: str
    datasets: tuple[Dataset, ...]
    caps: tuple[Cap, ...]
    expires: datetime


@dataclass(frozen=True, slots=True)
class World:
    """The folders of a simulated collaboration, and where its nodes run."""

    folder: Path
    members: tuple[str, ...]
    backend: Backend = IN_PROCESS

    @property
    def coordinator(self) -> Path:
        """Return the coordinator's home folder."""
        return self.folder / COORDINATOR

    def node(self, member: str) -> Path:
        """Return a member's home folder."""
        return self.folder / "nodes" / member

    def order(self, job: AnyJob, run: str) -> Order:
        """Write the job and have its requester sign it for `run`."""
        write_job(self.folder / "jobs" / f"{job.name}.toml", job)
        identity = read_key(self.node(job.requester) / "identity.key")
        order = sign_order(read_contract(self.coordinator), run, job, identity)
        write_order(self.order_file(run), order)
        return order

    def order_file(self, run: str) -> Path:
        """Return where the signed order of a run is kept."""
        return self.coordinator / "orders" / f"{run}.json"

    def run(self, job: Job, run: str, watcher: Watcher) -> Outcome[AdditiveModel]:
        """Train with the nodes' own app and the coordinator's main, over this world's backend.

        Raises: what `coordinator.app` raises; ExtraMissing.
        """
        outcome = self._carried_out(job, run, watcher)
        assert isinstance(outcome, Outcome)
        assert isinstance(outcome.model, AdditiveModel)
        return cast("Outcome[AdditiveModel]", outcome)

    def run_network(self, job: NetworkJob, run: str, watcher: Watcher) -> Outcome[NetworkWeights]:
        """Train a network in the same way. Raises: as `run`."""
        outcome = self._carried_out(job, run, watcher)
        assert isinstance(outcome, Outcome)
        assert isinstance(outcome.model, NetworkWeights)
        return cast("Outcome[NetworkWeights]", outcome)

    def run_shared(self, job: AnyJob, run: str, watcher: Watcher) -> SharedOutcome:
        """Run a job over shared customers in the same way. Raises: as `run`."""
        outcome = self._carried_out(job, run, watcher)
        assert isinstance(outcome, SharedOutcome)
        return outcome

    def _carried_out(self, job: AnyJob, run: str, watcher: Watcher) -> AnyOutcome:
        self.order(job, run)
        outcomes: list[AnyOutcome] = []
        patience = _PATIENCE if self.backend == IN_PROCESS else _PATIENCE_ELSEWHERE
        self.backend.run_apps(
            make_server_app(make_main(watcher, patience=patience, keep=outcomes.append)),
            _CLIENT,
            node_configs={
                number: {"home": str(self.node(member))}
                for number, member in enumerate(self.members, start=1)
            },
            run_config={"home": str(self.coordinator), "order": str(self.order_file(run))},
        )
        return outcomes[0]

    def close(self) -> None:
        """Close the nodes this process keeps open."""
        forget_nodes([self.node(member) for member in self.members])


def member_seeds(members: Collection[str], seed: int) -> dict[str, int]:
    """Return the seed of each member's noise in a world of that seed."""
    return {member: seed * len(members) + number for number, member in enumerate(members)}


def build_world(
    folder: Path,
    terms: Terms,
    tables: Mapping[str, pl.DataFrame],
    *,
    noise_seed: int | None,
    consents: Mapping[str, pl.DataFrame] | None = None,
    backend: Backend = IN_PROCESS,
) -> World:
    """Make keys, contract, signatures, settings and tables below `folder`.

    Args: tables: each member's customers, for every dataset it holds. noise_seed: None draws noise
    as a deployment does. consents: who agreed to what, by member. backend: where nodes run.
    Raises: SettingInvalid when a world is already there; OutputUnwritable.
    """
    world = World(folder, tuple(tables), backend)
    identities = {name: Identity.generate() for name in (*world.members, COORDINATOR)}
    contract = Collaboration(
        name=terms.name,
        expires=terms.expires,
        coordinator=Member(name=COORDINATOR, key=identities[COORDINATOR].public.hex),
        members=tuple(Member(name=m, key=identities[m].public.hex) for m in world.members),
        datasets=terms.datasets,
        caps=terms.caps,
    )
    signatures = {name: sign_contract(contract, one) for name, one in identities.items()}
    for name, identity in identities.items():
        home = world.coordinator if name == COORDINATOR else world.node(name)
        with unwritable(home):
            home.mkdir(parents=True, exist_ok=True)
            write_key(home / "identity.key", identity)
        write_contract(home, contract, signatures)
    seeds = {} if noise_seed is None else member_seeds(tables, noise_seed)
    for member, table in tables.items():
        home = world.node(member)
        write_table(home / _TABLE_FILE, table)
        consent = (consents or {}).get(member)
        if consent is not None:
            write_table(home / _CONSENT_FILE, consent)
        _write_settings(home, member, terms, seeds.get(member), consented=consent is not None)
    return world


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a table as Parquet. Raises: OutputUnwritable."""
    data = io.BytesIO()
    table.write_parquet(data)
    write_whole(path, data.getvalue())


def _write_settings(
    home: Path, member: str, terms: Terms, noise_seed: int | None, *, consented: bool
) -> None:
    held = [dataset.name for dataset in terms.datasets if member in dataset.holders]
    settings: dict[str, object] = {
        "member": member,
        "situation": "simulated",
        "datasets": {name: {"kind": "parquet", "path": _TABLE_FILE} for name in held},
    }
    if consented:
        settings["consents"] = {name: {"kind": "parquet", "path": _CONSENT_FILE} for name in held}
    if noise_seed is not None:
        settings["noise_seed"] = noise_seed
    write_whole(home / "node.toml", tomli_w.dumps(settings).encode())
