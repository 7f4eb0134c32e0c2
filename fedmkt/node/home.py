"""A node's home folder, opened: everything it works with, in one value.

node.toml                       settings
identity.key                    its Ed25519 identity (0600)
collaboration.toml              the contract
collaboration.signatures.json   everybody's signatures on it
revocations/                    signed words that a member's key is trusted no longer
node.db                         ledger, runs and stored replies (or the SQL URL in node.toml)
audit.log, audit.pub            the signed hash chain, and the key it verifies with
alignments/                     sealed: which own customers are shared with whom
parts/, scores/, value/, segments/   parts of models over several members' columns, and what came
                                of them (fedmkt.node.model_parts)
models/, quality/               finished models and scorecards (fedmkt.node.kept_files)
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fedmkt.contract.collaboration import Collaboration
from fedmkt.contract.revocation import check_not_revoked
from fedmkt.contract.signatures import directory_of
from fedmkt.core.clock import Clock, SystemClock
from fedmkt.core.errors import (
    AuditBroken,
    AuditCut,
    ContractInvalid,
    FedmktError,
    SettingInvalid,
    StoreRolledBack,
)
from fedmkt.data.consent import ConsentTable, read_consent
from fedmkt.data.sources import Source, SourceSettings, open_source
from fedmkt.identity.keys import Identity
from fedmkt.identity.signed_message import Directory
from fedmkt.node.records import STEP_RECORDS
from fedmkt.node.settings import NodeSettings, read_settings
from fedmkt.privacy.mechanisms import NoiseSource
from fedmkt.storage.audit_log import AuditLog
from fedmkt.storage.begun_runs import BegunRuns
from fedmkt.storage.contract_files import read_contract, read_revocations
from fedmkt.storage.key_file import read_key
from fedmkt.storage.ledger_store import LedgerStore
from fedmkt.storage.node_store import NodeStore
from fedmkt.storage.run_store import RunStore

AUDIT_FILE = "audit.log"
CLOSED = b""
"""The state of a run that goes no further at this node: its secrets are gone."""


@dataclass(frozen=True)
class NodeHome:
    """One partner's node, ready to answer. Close it when done."""

    folder: Path
    settings: NodeSettings
    identity: Identity = field(repr=False)
    contract: Collaboration = field(repr=False)
    directory: Directory = field(repr=False)
    store: NodeStore
    audit: AuditLog
    noise: NoiseSource
    clock: Clock

    @property
    def member(self) -> str:
        """Return this node's name in the contract."""
        return self.settings.member

    @cached_property
    def contract_hash(self) -> str:
        """Return the hash of the contract; made once, for every message carries it."""
        return self.contract.hash

    @property
    def ledger(self) -> LedgerStore:
        """Return the ledger in this node's store."""
        return LedgerStore(self.store)

    @property
    def begun(self) -> BegunRuns:
        """Return what requesters began at this node lately."""
        return BegunRuns(self.store.clock)

    @property
    def runs(self) -> RunStore:
        """Return the runs in this node's store."""
        return RunStore()

    def refuse_revoked(self, members: Iterable[str]) -> None:
        """Refuse where the key of one of `members` was revoked, by a statement in this home.

        Raises: MemberRevoked, RevocationInvalid.
        """
        check_not_revoked(self.contract, read_revocations(self.folder), members)

    def source(self, dataset: str) -> Source:
        """Return this node's table for a dataset; paths in node.toml start at the home folder.

        Raises: SettingInvalid when node.toml names none.
        """
        return self._opened(self.settings.datasets.get(dataset), f"datasets.{dataset}")

    def consent(self, dataset: str) -> ConsentTable:
        """Read this node's table of who agreed to what, for the customers of a dataset.

        Raises: SettingInvalid when node.toml names none; ConsentUnusable, errors of sources.
        """
        source = self._opened(self.settings.consents.get(dataset), f"consents.{dataset}")
        return read_consent(source, dataset=dataset)

    def _opened(self, settings: SourceSettings | None, place: str) -> Source:
        if settings is None:
            raise SettingInvalid(setting="node.toml", problem=f"no table is given; add [{place}]")
        if settings.path is not None:
            settings = settings.model_copy(update={"path": self.folder / settings.path})
        return open_source(settings)

    def close(self) -> None:
        """Close the store and the audit log."""
        self.audit.close()
        self.store.close()


def open_home(
    folder: Path, *, clock: Clock | None = None, identity: Identity | None = None
) -> NodeHome:
    """Open a node's home folder.

    Args: identity: for a change of keys alone: the home's key, which the contract need not name.
    Raises: FileMissing, SettingInvalid, ContractInvalid, ContractUnsigned, StorageFailed,
        ReproducibleNoiseRefused, AuditBroken, AuditCut (the log is gone, its ledger is not).
    """
    clock = clock or SystemClock()
    settings = read_settings(folder / "node.toml")
    url = settings.store.get_secret_value() if settings.store else folder / "node.db"
    noise = settings.noise_source()
    named, identity = identity is None, identity or read_key(folder / "identity.key")
    contract = read_contract(folder)
    if named:
        _require_named(contract, settings.member, identity)
    store = NodeStore.open(url, clock)
    try:
        audit = _open_log(folder / AUDIT_FILE, store, identity, clock)
    except FedmktError:
        store.close()
        raise
    return NodeHome(
        folder=folder,
        settings=settings,
        identity=identity,
        contract=contract,
        directory=directory_of(contract),
        store=store,
        audit=audit,
        noise=noise,
        clock=clock,
    )


def _require_named(contract: Collaboration, member: str, identity: Identity) -> None:
    if contract.key_of(member) != identity.public.hex:
        problem = f"its key for {member} is not the one in identity.key"
        raise ContractInvalid(contract=contract.name, problem=problem)


def _open_log(log: Path, store: NodeStore, identity: Identity, clock: Clock) -> AuditLog:
    """Open the audit log; a new one is begun only where the ledger is as new."""
    with store.transaction() as tx:
        entries = LedgerStore(store).entries(tx)
    if entries and not log.exists():
        raise AuditCut(path=log, record=1)
    return AuditLog(log, identity, clock)


def hold_to_log(home: NodeHome) -> None:
    """Hold the store to what the audit log says this node did, before it does anything more.

    A record comes before its step is stored. Where the log has a step that the store lacks, this
    node stopped in between, or the store is an old copy; nobody can tell which. So a release counts
    as spent, and the run goes no further here: going on could use a mask or vote a second time.

    Raises: StoreRolledBack when the ledger lacks a recorded release altogether; AuditCut when the
        log lacks the latest record the store knows of; AuditBroken for a record that was altered.
    """
    # Security: whoever has the disk could change a word of a record, and so have it passed over.
    records = home.audit.records()
    with home.store.transaction() as tx:
        own = home.runs.heads(tx).get(home.member)
        if own is not None and [one["hash"] for one in records[own.sequence - 1 :]][:1] != [
            own.hash
        ]:
            raise AuditCut(path=home.folder / AUDIT_FILE, record=own.sequence)
        states = {(entry.run, entry.release): entry.state for entry in home.ledger.entries(tx)}
        for record in records:
            step, run = _step_of(record), record["facts"].get("run")
            if step is None or home.runs.reply(tx, run, step) is not None:
                continue
            for release in record["facts"].get("releases", ()):
                _count(home, tx, run, release, states)
            home.runs.save(tx, run, CLOSED)


def _count(
    home: NodeHome,
    tx: sa.Connection,
    run: str,
    release: int,
    states: Mapping[tuple[str, int], str],
) -> None:
    """Count a recorded release that has no stored reply as spent. Raises: StoreRolledBack."""
    if (run, release) not in states:
        raise StoreRolledBack(path=home.store.location, run=run, release=release)
    if states[run, release] == "planned":
        home.ledger.commit(tx, run, release)


def _step_of(record: Mapping[str, Any]) -> str | None:
    facts = record["facts"]
    known = record["kind"] in STEP_RECORDS and "run" in facts
    return facts.get("step") if known else None


def audit_records(log: Path) -> list[dict[str, Any]]:
    """Return kind, facts and hash of every record, unverified. Raises: AuditBroken."""
    records = []
    for number, line in enumerate(log.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line)
            known = {"kind": record["kind"], "facts": record["facts"], "hash": record["hash"]}
        except (ValueError, KeyError, TypeError):
            problem = "it is no record"
            raise AuditBroken(record=number, path=log, problem=problem) from None
        records.append(known)
    return records
