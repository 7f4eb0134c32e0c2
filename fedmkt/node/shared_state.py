"""What every run over shared customers has at a node: its state, its keys, its prices' common part.

Guarantee: a state opens under this node's identity alone (it is kept sealed), and holds the secrets
of one run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fedmkt.contract.job import parse_job_json
from fedmkt.contract.shared_permissions import allow_shared
from fedmkt.contract.split_job import SplitJob
from fedmkt.contract.vertical_jobs import (
    AlignmentJob,
    ExpansionJob,
    OverlapJob,
    ScoringJob,
    SharedJob,
    VerticalJob,
)
from fedmkt.core.errors import ClaimedEpsilonWrong
from fedmkt.identity.hash_chain import JSON
from fedmkt.node.answer import Answer, DataT, Priced, PricedT, Program, Stated
from fedmkt.node.home import NodeHome
from fedmkt.node.wording import noise_words, unit_words
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import ExactEvent, Release
from fedmkt.security.run_keys import RunKeys, open_keys, read_bundles
from fedmkt.wire.canonical import decode_kept, encode
from fedmkt.wire.run import OpenReply

_EPSILON_ROUNDING = 1e-6
_GRADIENTS_SHOW = {
    "split_label_private": "joint scores",
    "split_shared_labels": "labels and joint scores",
}
"""What partners read out of the gradients an owner sends, and no epsilon bounds."""


@dataclass(frozen=True, slots=True)
class SharedState:
    """What a node remembers of a run over shared customers between messages.

    memory: the program's own plain values. stages: what each release passed through.
    """

    job: SharedJob
    keys: RunKeys = field(repr=False)
    memory: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stages: tuple[str, ...] = ()

    @property
    def run(self) -> str:
        """Return the run's name."""
        return self.keys.run

    def remembering(self, **memory: object) -> "SharedState":
        """Return the state with some of its memory replaced."""
        return replace(self, memory={**self.memory, **memory})

    def passed(self, *stages: str) -> "SharedState":
        """Return the state after releases that passed `stages`, one text each."""
        return replace(self, stages=(*self.stages, *stages))

    def knowing(self, home: NodeHome, bundles: Mapping[str, bytes]) -> "SharedState":
        """Return the state that knows everybody's keys. Raises: as `read_bundles`."""
        keys = read_bundles(
            self.keys,
            bundles,
            contract=home.contract_hash,
            roster=self.job.members,
            directory=home.directory,
        )
        return replace(self, keys=keys)

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        parts = [self.job.signed_bytes(), self.keys.to_plain(), dict(self.memory)]
        return encode([*parts, list(self.stages)])

    @classmethod
    def from_bytes(cls, data: bytes) -> "SharedState":
        """Read the bytes that were sealed."""
        job, keys, memory, stages = decode_kept(data, kind="run state")
        parsed = parse_job_json(job, source="stored job")
        assert isinstance(parsed, SharedJob)
        return cls(parsed, RunKeys.from_plain(keys), memory, tuple(stages))


def begin(
    home: NodeHome, run: str, job: SharedJob, facts: Mapping[str, int | str]
) -> tuple[SharedState, bytes]:
    """Make a run's keys; return its first state and the signed bundle that states `facts`."""
    keys, bundle = open_keys(
        home.identity, run=run, contract=home.contract_hash, member=home.member, facts=facts
    )
    return SharedState(job, keys), bundle


def price_shared(
    home: NodeHome,
    job: SharedJob,
    releases: tuple[Release, ...],
    *,
    claimed: float | None,
    delta: float,
) -> Priced:
    """Return the price of releases at this node. No data are touched.

    claimed: the epsilon the job states for them, None where it states none.
    Raises: a Refusal: the contract says no, or the job states less than they cost.
    """
    datasets = allow_shared(home.contract, job, member=home.member, now=home.clock.now())
    events = [one.event for one in releases if not isinstance(one.event, ExactEvent)]
    epsilon = epsilon_of(events, delta)
    if claimed is not None and epsilon > claimed + _EPSILON_ROUNDING:
        raise ClaimedEpsilonWrong(claimed=claimed, actual=epsilon)
    return Priced(
        job=job,
        dataset=datasets[home.member],
        releases=releases,
        epsilon=epsilon,
        delta=delta,
        leaves=tuple(
            f"{one.name}; {noise_words(one.event, unit_words(one.name, one.event))}"
            for one in releases
        ),
    )


SharedJobT = TypeVar("SharedJobT", bound=SharedJob)


class SharedProgram(Program[SharedJobT, PricedT, SharedState, DataT]):
    """What the programs of all runs over shared customers have in common."""

    def stated(self, home: NodeHome, job: SharedJobT) -> Stated:
        """Return what a receipt says of the job: dataset, protection, and where epsilon holds."""
        party = job.party(home.member)
        assert party is not None
        mode, delta = protection_of(job, home.member)
        return Stated(party.dataset, mode, delta)

    def state(self, data: bytes) -> SharedState:
        """Read a state's bytes."""
        return SharedState.from_bytes(data)

    def keep(
        self,
        home: NodeHome,  # noqa: ARG002
        run: str,  # noqa: ARG002
        state: SharedState,  # noqa: ARG002
        *,
        finished: bool,  # noqa: ARG002
        model: bytes,  # noqa: ARG002
    ) -> str:
        """Keep nothing; programs whose runs leave something keep that."""
        return ""


def protection_of(job: SharedJob, member: str) -> tuple[str, float | None]:
    """Return how a job says it is protected at a member, and the delta its epsilon holds at."""
    match job:
        case OverlapJob():
            return "noised_count", job.privacy.delta
        case AlignmentJob():
            if job.privacy is None:
                return "exact_sizes", None
            return "noised_sizes", job.privacy.delta
        case SplitJob() if member == job.owner:
            seen = _GRADIENTS_SHOW[job.labels.mode]
            return f"{job.labels.mode}, {seen} seen", job.labels.delta
        case VerticalJob() | SplitJob():
            return job.labels.mode, job.labels.delta if member == job.owner else None
        case ScoringJob():
            return ("parts" if job.parts else "totals"), None
        case ExpansionJob():
            return "encrypted", job.privacy.delta if member == job.owner else None
    raise AssertionError("every kind of job over shared customers stands above")


def opened(
    bundle: bytes, state: SharedState, dataset: str, facts: Mapping[str, JSON], *, commits: int = 0
) -> Answer:
    """Return the answer that opens a run. commits: how many releases leave with it, the first."""
    job = state.job
    told: dict[str, JSON] = {"job": job.name, "job_hash": job.hash, "purpose": job.purpose}
    return Answer(
        OpenReply(bundle=bundle),
        state,
        "opened",
        {**told, "dataset": dataset, **facts},
        commits=tuple(range(commits)),
    )
