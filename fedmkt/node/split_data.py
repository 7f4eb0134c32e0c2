"""What a split training is at a node before its first round: its price, and the rows it reads.

Guarantee: none by itself; `fedmkt.node.split_training` makes both, in that order. Pricing needs no
library for networks. What members show one another is checked for form, finiteness and size before
it is used.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedmkt.contract.shared_permissions import allow_shared, features_of
from fedmkt.contract.split_job import SplitJob
from fedmkt.core.errors import MessageInvalid
from fedmkt.data.scaling import NumberArray
from fedmkt.models.network_shape import NetworkCoder, NetworkInputs, NetworkShape, shape_from_schema
from fedmkt.node.alignments import Alignment, aligned_rows, alignment_for
from fedmkt.node.answer import Priced
from fedmkt.node.home import NodeHome
from fedmkt.node.rounds import padded_to, unpadded
from fedmkt.node.shared_state import SharedState, price_shared
from fedmkt.vertical.residuals import training_rows
from fedmkt.vertical.split_plan import activation_releases, split_label_releases

NUMBER_BYTES = 4
NOISE_SIGMAS = 16.0  # further than any noise goes but with probability below 2^-180


@dataclass(frozen=True, slots=True)
class PricedSplit(Priced):
    """A split training. shape: what this member's columns become, public."""

    job: SplitJob
    shape: NetworkShape


@dataclass(frozen=True, slots=True, eq=False)
class LoadedSplit:
    """What a split training reads at a node; target: at the label owner alone, (rows,)."""

    alignment: Alignment
    inputs: NetworkInputs
    target: NDArray[np.uint8] | None = field(repr=False)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Return the labels of the aligned customers, (rows,); the owner's node alone has them."""
        assert self.target is not None
        return self.target

    def rows(self, job: SplitJob, index: int) -> int:
        """Return how many customers are shown in a round: those trained on, at the end all."""
        return self._shown(self.alignment.rows, job, index)

    def padded(self, job: SplitJob, index: int) -> int:
        """Return to how many customers what is sent in a round is padded."""
        return self._shown(self.alignment.padded, job, index)

    def first(self, rows: int) -> NetworkInputs:
        """Return the inputs of the first customers."""
        return NetworkInputs(self.inputs.numbers[:rows], self.inputs.codes[:rows])

    @staticmethod
    def _shown(rows: int, job: SplitJob, index: int) -> int:
        return rows if index == job.model.rounds else training_rows(rows, job.model.holdout)


def price_split(home: NodeHome, job: SplitJob) -> PricedSplit:
    """Check a job against the contract and price its releases; no data are touched.

    Raises: a Refusal: the contract says no, or the job states less than it costs; SettingInvalid.
    """
    datasets = allow_shared(home.contract, job, member=home.member, now=home.clock.now())
    owner = home.member == job.owner
    dataset = datasets[home.member]
    base = price_shared(
        home,
        job,
        split_label_releases(job) if owner else activation_releases(job),
        claimed=job.labels.epsilon if owner else None,
        delta=job.labels.delta,
    )
    # Judged before anything is reserved: no budget waits for customers that are not there.
    alignment_for(home, job, dataset)
    return PricedSplit(
        job=job,
        dataset=dataset,
        releases=base.releases,
        epsilon=base.epsilon,
        delta=base.delta,
        leaves=base.leaves,
        shape=shape_from_schema(dataset.table, features_of(job, home.member), width=1),
    )


def load_split(home: NodeHome, priced: PricedSplit) -> LoadedSplit:
    """Read the aligned customers' columns, and at the owner their labels.

    Raises: ConsentWithdrawn, TableChanged, DataError.
    """
    job, coder = priced.job, NetworkCoder(priced.shape)
    alignment = alignment_for(home, job, priced.dataset)
    target = job.target if home.member == job.owner else None
    rows = aligned_rows(home, priced.dataset, alignment, coder, target)
    return LoadedSplit(alignment, coder.inputs(rows.codes), rows.target)


def sealed_numbers(
    state: SharedState, receiver: str, step: str, values: NumberArray, *, padded: int
) -> bytes:
    """Return numbers of each customer, (rows, numbers), padded and sealed to a member."""
    size = NUMBER_BYTES * padded * values.shape[1]
    data = padded_to(np.ascontiguousarray(values, dtype="<f4").tobytes(), size)
    return state.keys.seal_to(receiver, step, data)


def opened_numbers(
    state: SharedState, sender: str, step: str, sealed: bytes, *, rows: int, most: float
) -> NumberArray:
    """Return what a member sealed, (rows, activations). most: how large an honest number is.

    Raises: SealBroken; MessageInvalid: of another form, not finite, or larger.
    """
    assert isinstance(state.job, SplitJob)
    data = unpadded(state.keys.open_from(sender, step, sealed))
    shape = (rows, state.job.model.activations)
    if len(data) != NUMBER_BYTES * shape[0] * shape[1]:
        raise MessageInvalid(kind=step, problem="not the agreed numbers of each customer")
    values = np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(shape)
    # Security: a number that is none, or a huge one, would ruin what is trained on it.
    if not (np.abs(values) <= most).all():
        raise MessageInvalid(kind=step, problem="a number is over the agreed bound")
    return values


def most_shown(bound: float, noise: float) -> float:
    """Return how large one number can honestly be, under a bound and with noise."""
    return bound * (1 + 1e-6) + NOISE_SIGMAS * noise
