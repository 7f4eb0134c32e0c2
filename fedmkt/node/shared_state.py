"""What every run over shared customers has at a node: its state, its keys, its prices' common part.

Guarantee: a state opens under this node's identity alone (it is kept sealed), and holds the secrets
of one run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedmkt.contract.job import parse_job_json
from fedmkt.contract.shared_permissions import allow_shared
from fedmkt.contract.vertical_jobs import SharedJob
from fedmkt.core.errors import ClaimedEpsilonWrong
from fedmkt.node.answer import Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.wording import noise_words
from fedmkt.privacy.accounting import epsilon_of
from fedmkt.privacy.events import ExactEvent, Release
from fedmkt.security.run_keys import RunKeys, open_keys, read_bundles
from fedmkt.wire.canonical import decode, encode

_EPSILON_ROUNDING = 1e-6


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
        job, keys, memory, stages = decode(data, kind="run state")
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
    mode: str,
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
        leaves=tuple(f"{one.name}; {noise_words(one.event)}" for one in releases),
        mode=mode,
    )
