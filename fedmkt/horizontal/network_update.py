"""A partner's part in a network's training: its count, its gradients, its own steps.

Guarantee: where the job is private, what `count_update` and `round_update` return costs one
customer what `network_plan.network_releases` says for it, as long as each round is made once and
the noise source gives every label a stream of its own. A row is a customer.
Proof: a sum of gradients is `dp_sgd.step.noised_sum`. A change is made of as many such sums, of
what the coordinator asked (public), of control variates and a head made of earlier rounds' changes,
and of the partner's noised count: post-processing.
Not guaranteed: anything of a job without noise; its updates are exact and of a type that says so.

FedAvg: McMahan et al. 2017, arXiv:1602.05629, algorithm 1. FedProx: Li et al. 2020,
arXiv:1812.06127, equation 2. SCAFFOLD: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1,
option II. A head of one's own: Arivazhagan et al. 2019, arXiv:1912.00818.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from fedmkt.contract.job import NetworkJob
from fedmkt.core.errors import TrainingDiverged
from fedmkt.core.keystream import KeyStream
from fedmkt.core.stages import (
    FloatArray,
    IntArray,
    LocalUpdate,
    NoiselessUpdate,
    PrivateUpdate,
    TrainedUpdate,
)
from fedmkt.data.scaling import NumberArray
from fedmkt.horizontal.local_update import GRID
from fedmkt.horizontal.network_plan import UNIT, count_multiplier, shared_length, step_terms
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.horizontal.plan import honest_shares
from fedmkt.models.network import Network
from fedmkt.models.network_shape import NetworkShape, NetworkWeights
from fedmkt.privacy.dp_sgd.clipped_sum import clipped_sum
from fedmkt.privacy.dp_sgd.poisson import draw_customers
from fedmkt.privacy.dp_sgd.step import noised_sum
from fedmkt.privacy.dp_sgd.terms import DpSgdTerms, mean_gradient
from fedmkt.privacy.mechanisms import NoiseSource, add_noise, without_noise

__all__ = [
    "LARGEST_CHANGE",
    "Asked",
    "Memory",
    "NetworkRows",
    "Update",
    "count_update",
    "round_update",
    "with_head",
]

LARGEST_CHANGE = 64.0
"""A parameter that moves further in a round has gone astray; so sums stay inside 2^53 units."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a partner keeps from round to round; empty arrays where the job needs none.

    customers: its count, with the noise that was released. control: its control variate (length,).
    head: the parameters that it alone has.
    """

    customers: float = 1.0
    control: NumberArray = field(default_factory=lambda: np.empty(0, np.float32), repr=False)
    head: NumberArray = field(default_factory=lambda: np.empty(0, np.float32), repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What the coordinator asks in a round. parameters, control: (length,); control may be empty.

    number: of the round, from 1 on.
    """

    number: int
    parameters: NumberArray = field(repr=False)
    control: NumberArray = field(repr=False)


Update = PrivateUpdate | TrainedUpdate | NoiselessUpdate


def with_head(weights: NetworkWeights, memory: Memory) -> NetworkWeights:
    """Return the network with the parameters that a partner alone has in place of the last ones."""
    if not memory.head.size:
        return weights
    shared = weights.parameters[: -memory.head.size]
    return NetworkWeights(weights.shape, np.concatenate([shared, memory.head]))


def count_update(
    rows: NetworkRows, job: NetworkJob, noise: NoiseSource
) -> tuple[PrivateUpdate | NoiselessUpdate, Memory]:
    """Return the partner's count of customers on a grid (1,), and what it keeps of it."""
    exact = LocalUpdate(np.array([rows.rows * GRID], dtype=np.int64), float(GRID))
    if job.privacy.trust == "none":
        return without_noise(exact), Memory(customers=float(rows.rows))
    update = add_noise(
        exact,
        noise_multiplier=count_multiplier(job),
        shares=honest_shares(job),
        trust=job.privacy.trust,
        source=noise,
    )
    return update, Memory(customers=max(1.0, float(update.values[0]) / GRID))


def round_update(
    rows: NetworkRows,
    job: NetworkJob,
    shape: NetworkShape,
    memory: Memory,
    asked: Asked,
    stream: KeyStream,
) -> tuple[Update, Memory]:
    """Return what the partner has to say in a round, and what it keeps.

    Args: stream: of this round at this partner alone.
    Raises: TrainingDiverged, where the partner's own steps went astray.
    """
    if job.model.sums_gradients:
        return _gradients(rows, job, Network(shape, asked.parameters), asked.number, stream), memory
    shared = shared_length(job, shape)
    start = asked.parameters.copy()
    if memory.head.size:
        start[shared:] = memory.head
    drift = _drift(memory, asked)
    reached, noised = _steps(rows, job, Network(shape, start), memory, drift, stream)
    change = reached.astype(np.float64) - start
    # The head is judged too, though it stays: a node could not keep one that is no numbers.
    whole = _on_grid(np.append(change, 1.0), memory.customers, asked.number)
    weighted = np.append(whole[:shared], whole[-1])
    kept = replace(memory, control=_control(job, memory, asked, change))
    if job.model.personal_head:
        kept = replace(kept, head=reached[shared:])
    return (TrainedUpdate if noised else NoiselessUpdate)(weighted), kept


def _gradients(
    rows: NetworkRows, job: NetworkJob, network: Network, number: int, stream: KeyStream
) -> PrivateUpdate | NoiselessUpdate:
    """Return the sum of the gradients of those drawn."""
    drawn = _drawn(rows, job, stream)
    if job.privacy.trust != "none":
        terms = step_terms(job, network.shape)
        traces = network.traces(drawn.inputs, drawn.target)
        return noised_sum(traces, terms, stream, trust=job.privacy.trust)
    slope = _plain_slope(drawn, job, network)
    return NoiselessUpdate(_on_grid(slope, float(drawn.rows), number))


def _steps(
    rows: NetworkRows,
    job: NetworkJob,
    network: Network,
    memory: Memory,
    drift: NumberArray | None,
    stream: KeyStream,
) -> tuple[NumberArray, bool]:
    """Return the parameters after the partner's own steps, (length,), and if each was noised."""
    model, start = job.model, network.parameters
    rate = np.float32(model.learning_rate)
    noised = True
    for _ in range(model.local_steps):
        step = _slope(_drawn(rows, job, stream), job, network, memory, stream)
        # Privacy: one step without noise and the change is exact, whatever the job says.
        noised, slope = noised and step.noised, step.values
        if model.proximal:
            slope = slope + np.float32(model.proximal) * (network.parameters - start)
        if drift is not None:
            slope = slope + drift
        network = Network(network.shape, network.parameters - rate * slope)
    return network.parameters, noised


@dataclass(frozen=True, slots=True, eq=False)
class _Slope:
    """The mean gradient of a step, (length,). noised: whether it was made of a noised sum."""

    values: NumberArray
    noised: bool


def _slope(
    drawn: NetworkRows, job: NetworkJob, network: Network, memory: Memory, stream: KeyStream
) -> _Slope:
    """Return the mean gradient of a step, noised where the job is private."""
    if job.privacy.trust == "none":
        return _Slope(_plain_slope(drawn, job, network), noised=False)
    terms = step_terms(job, network.shape)
    total = noised_sum(network.traces(drawn.inputs, drawn.target), terms, stream)
    return _noised_slope(total, terms, memory.customers)


def _noised_slope(total: PrivateUpdate, terms: DpSgdTerms, customers: float) -> _Slope:
    """Return the mean gradient of a noised sum; only what is private already fits."""
    mean = mean_gradient(total.values, terms, customers=customers)
    return _Slope(mean.astype(np.float32), noised=total.sigma > 0)


def _plain_slope(drawn: NetworkRows, job: NetworkJob, network: Network) -> NumberArray:
    """Return the mean gradient of those drawn, each clipped if the job says so, without noise."""
    clip_norm = job.model.clip_norm
    if clip_norm is None or not drawn.rows:
        return network.mean_slope(drawn.inputs, drawn.target)
    total = clipped_sum(network.traces(drawn.inputs, drawn.target), clip_norm=clip_norm)
    return (total / drawn.rows).astype(np.float32)


def _drawn(rows: NetworkRows, job: NetworkJob, stream: KeyStream) -> NetworkRows:
    """Return the customers of a step; all of them at rate 1."""
    if job.model.sampling_rate == 1:
        return rows
    return rows.taken(draw_customers(rows.rows, job.model.sampling_rate, stream))


def _drift(memory: Memory, asked: Asked) -> NumberArray | None:
    """Return what SCAFFOLD adds to every step's gradient: everybody's less one's own."""
    if not asked.control.size:
        return None
    return asked.control - memory.control if memory.control.size else asked.control


def _control(job: NetworkJob, memory: Memory, asked: Asked, change: FloatArray) -> NumberArray:
    """Return the partner's control variate after a round: the mean gradient it went along."""
    if job.model.algorithm != "scaffold":
        return memory.control
    own = memory.control if memory.control.size else np.zeros_like(asked.control)
    along = change / (job.model.local_steps * job.model.learning_rate)
    return (own - asked.control - along).astype(np.float32)


def _on_grid(values: FloatArray | NumberArray, weight: float, number: int) -> IntArray:
    """Return `weight` times `values` in units of UNIT. Raises: TrainingDiverged."""
    if not (np.abs(values) <= LARGEST_CHANGE).all():  # also for what is not a number
        raise TrainingDiverged(round=number)
    return np.rint(values.astype(np.float64) * (weight / UNIT)).astype(np.int64)
