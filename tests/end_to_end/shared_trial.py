"""Runs over shared customers with whatever is to go wrong, what they leave, and their twins."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from end_to_end.shared_world import Quiet, home_of
from flwr.app import Message

from fedmkt.contract.vertical_jobs import VerticalJob
from fedmkt.coordinator.app import run_job
from fedmkt.coordinator.conversation import Patience
from fedmkt.coordinator.home import open_coordinator
from fedmkt.coordinator.shared_run import SharedOutcome
from fedmkt.core.stages import IntArray
from fedmkt.data.binning import binning_from_schema
from fedmkt.identity.hash_chain import verify_chain
from fedmkt.node.alignments import aligned_rows, read_alignment
from fedmkt.node.app import forget_nodes, open_handler
from fedmkt.node.home import AUDIT_FILE
from fedmkt.privacy.mechanisms import NoiseSource
from fedmkt.privacy.randomised_response import randomise_labels, unbiased
from fedmkt.simulation.world import World
from fedmkt.storage.ledger_store import Entry
from fedmkt.transport.channel import Channel, Failure, Handler, Traffic
from fedmkt.transport.flower import Config, make_client_app, make_server_app
from fedmkt.transport.in_process import Lose, run_in_process
from fedmkt.transport.payload import read_request
from fedmkt.vertical.plan import noise_sigma
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.twin import Columns, Noise, Twin, train_twin
from fedmkt.wire.envelope import parse_envelope

SHORT = Patience(connect_s=10, exchange_s=60.0, absent_s=0.05)
"""For runs in which somebody is missing: no second wait, but time enough for everybody else."""


@dataclass
class Trial:
    """Runs a job over the in-process grid, with whatever is to go wrong."""

    world: World
    lose: Lose | None = None
    restart: Callable[[int], None] | None = None
    open_handler: Callable[[Config], Handler] = open_handler
    patience: Patience = field(default_factory=lambda: SHORT)
    wrap: Callable[[Channel], Channel] = lambda channel: channel

    def run(self, job: object, name: str) -> SharedOutcome:
        """Run a job. Raises: what `run_job` raises."""
        order = self.world.order(job, name)  # type: ignore[arg-type]
        home, outcomes = open_coordinator(self.world.coordinator), []

        def main(channel: Channel, _config: object) -> None:
            talk, watcher = self.wrap(channel), Quiet()
            done = run_job(home, talk, order=order, watcher=watcher, patience=self.patience)
            outcomes.append(done)

        run_in_process(
            make_server_app(main),
            make_client_app(self.open_handler),
            node_configs={
                number: {"home": str(self.world.node(member))}
                for number, member in enumerate(self.world.members, start=1)
            },
            run_config={},
            lose=self.lose,
            restart=self.restart,
        )
        (outcome,) = outcomes
        assert isinstance(outcome, SharedOutcome)
        return outcome


def restarted(world: World) -> Callable[[int], None]:
    """Return what makes a node forget all but its disk before each message."""
    return lambda number: forget_nodes([world.node(world.members[number - 1])])


def losing(world: World, member: str, step: str) -> Lose:
    """Return what drops the requests of `step` to a member."""
    number = world.members.index(member) + 1

    def lose(node: int, message: Message) -> bool:
        if node != number or message.metadata.reply_to_message_id:
            return False
        return parse_envelope(read_request(message)).step == step

    return lose


class _Without:
    """A channel whose coordinator does not hear of a node, from a step on or in that step alone."""

    def __init__(self, channel: Channel, node: int, step: str, *, once: bool) -> None:
        self._channel, self._node, self._step, self._once = channel, node, step, once
        self._gone = False

    @property
    def traffic(self) -> Traffic:
        return self._channel.traffic

    def node_ids(self, *, at_least: int, deadline_s: float) -> tuple[int, ...]:
        return self._channel.node_ids(at_least=at_least, deadline_s=deadline_s)

    def exchange(
        self, requests: Mapping[int, bytes], *, deadline_s: float, quorum: int | None = None
    ) -> Mapping[int, bytes | Failure]:
        steps = {parse_envelope(data).step for data in requests.values()}
        self._gone = self._step in steps or (self._gone and not self._once)
        heard = {n: data for n, data in requests.items() if not self._gone or n != self._node}
        return self._channel.exchange(heard, deadline_s=deadline_s, quorum=quorum)


def missing(
    world: World, member: str, step: str, *, once: bool = True
) -> Callable[[Channel], Channel]:
    """Return what makes a member absent in `step`, or with `once` false from it on.

    As a message that is lost, but without the wait for it.
    """
    node = world.members.index(member) + 1
    return lambda channel: _Without(channel, node, step, once=once)


def failing(world: World, member: str, step: str) -> Callable[[Config], Handler]:
    """Return nodes of which one raises when it is asked for `step`."""

    def opened(config: Config) -> Handler:
        handle = open_handler(config)
        if config["home"] != str(world.node(member)):
            return handle

        def answer(data: bytes) -> bytes:
            if parse_envelope(data).step == step:
                raise RuntimeError("its disk is full")
            return handle(data)

        return answer

    return opened


# --- what is left afterwards ------------------------------------------------------------------


def entries_of(world: World, member: str, run: str) -> tuple[Entry, ...]:
    """Return a member's ledger entries of a run."""
    home = home_of(world, member)
    with home.store.transaction() as tx:
        return home.ledger.entries(tx, run)


def states_of(world: World, member: str, run: str) -> list[str]:
    """Return the states of a member's ledger entries of a run."""
    return [entry.state for entry in entries_of(world, member, run)]


def kept_by(world: World, member: str) -> set[str]:
    """Return the folders in which a node keeps something of models."""
    folder = world.node(member)
    names = ("parts", "value", "scores", "segments")
    return {name for name in names if (folder / name).is_dir() and any((folder / name).iterdir())}


def check_logs(world: World) -> None:
    """Raise AuditBroken unless every member's audit log verifies from its first record on."""
    for member in world.members:
        home = home_of(world, member)
        with (home.folder / AUDIT_FILE).open("rb") as lines:
            verify_chain(lines, home.identity.public, home.audit.head, member)


# --- the twin ---------------------------------------------------------------------------------


def columns_of(world: World, job: VerticalJob) -> tuple[list[Columns], np.ndarray]:
    """Return what each party reads for a job, and the owner's labels."""
    columns, target = [], np.zeros(0, dtype=np.uint8)
    for party in job.parties:
        home = home_of(world, party.member)
        dataset = home.contract.dataset(party.dataset)
        assert dataset is not None
        assert dataset.vertical is not None
        binning = binning_from_schema(dataset.table, party.features, max_bins=job.model.max_bins)
        wanted = job.target if party.member == job.owner else None
        alignment = read_alignment(home, job.alignment)
        rows = aligned_rows(home, dataset, alignment, binning, wanted)
        columns.append(Columns(party.member, binning, rows.codes, dataset.vertical.least_bin))
        target = target if rows.target is None else rows.target
    return columns, target


class _Replayed:
    """The noise a run drew, in the order in which the twin adds it.

    The owner draws for its own sums, the total, then each partner's; the twin has the total last.
    """

    def __init__(self, source: NoiseSource, run: str, owner: str, own: int) -> None:
        self._source, self._run, self._owner, self._own = source, run, owner, own
        self._round = 0

    def add_to(self, values: IntArray, *, sigma: float) -> IntArray:
        stream = self._source.stream(f"{self._run}/{self._round}/{self._owner}")
        drawn = stream.add_to(np.zeros(len(values), dtype=np.int64), sigma=sigma)
        self._round += 1
        total = drawn[self._own]
        return values + np.append(np.delete(drawn, self._own), total)


def twin_of(world: World, job: VerticalJob, run: str) -> Twin:
    """Return the training in one place, with the labels and the noise that the run drew."""
    columns, target = columns_of(world, job)
    home, noise = home_of(world, job.owner), None
    if job.labels.mode == "encrypted":
        replayed = _Replayed(home.noise, run, job.owner, columns[0].binning.total)
        noise = Noise(noise_sigma(job), replayed)  # type: ignore[arg-type]
    if job.labels.mode == "label_private":
        assert job.labels.epsilon is not None
        source = home.noise.stream(f"{run}/labels/{job.owner}")
        rows = training_rows(len(target), job.model.holdout)
        drawn = randomise_labels(target[:rows], epsilon=job.labels.epsilon, source=source)
        # Held-out rows are scored only; what stands for their labels is never looked at.
        soft = unbiased(drawn, job.labels.epsilon)
        return train_twin(columns, np.append(soft, np.zeros(len(target) - rows)), job.model)
    return train_twin(columns, target, job.model, noise=noise)


def receipts_of(outcome: SharedOutcome) -> dict[str, dict[str, object]]:
    """Return what each member's receipt states."""
    return {member: json.loads(data)["receipt"] for member, data in outcome.receipts.items()}
