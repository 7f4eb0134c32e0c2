"""The coordinator's side of a network's training: from sums over partners to the next parameters.

Guarantee: post-processing. A state follows from public settings and released sums alone, so it
costs no privacy; without noise it is the same however rows are split into sums of gradients.
Not guaranteed: that a training settles. What is not finite is refused by name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedmkt.contract.job import NetworkJob
from fedmkt.core.stages import FloatArray, IntArray
from fedmkt.data.scaling import NumberArray
from fedmkt.horizontal import robust, server_steps
from fedmkt.horizontal.local_update import GRID
from fedmkt.horizontal.network_plan import UNIT, shared_length, step_terms
from fedmkt.models.network_shape import NetworkShape, NetworkWeights, first_parameters
from fedmkt.privacy.dp_sgd.terms import mean_gradient

_FEWEST = 1.0  # customers; noise can take a count below


@dataclass(frozen=True, slots=True, eq=False)
class NetworkState:
    """Where a training stands.

    customers: of all partners, as released. control: everybody's mean control variate, empty where
    the job has none. mean: the weighted sum of the parameters so far, for the mean over rounds.
    """

    shape: NetworkShape
    server: server_steps.ServerState
    customers: float
    control: FloatArray = field(repr=False)
    mean: FloatArray = field(repr=False)

    @property
    def round(self) -> int:
        """Return how many rounds are done."""
        return self.server.rounds

    @property
    def parameters(self) -> NumberArray:
        """Return the parameters that the next round starts from, shape (length,)."""
        return self.server.parameters


def initial_network(job: NetworkJob, shape: NetworkShape) -> NetworkState:
    """Return the state before the first sum."""
    server = server_steps.initial(job.model.server, first_parameters(shape, job.model.start))
    control = np.zeros(shape.length if job.model.algorithm == "scaffold" else 0)
    return NetworkState(shape, server, _FEWEST, control, np.zeros(shape.length))


def counted(state: NetworkState, values: IntArray) -> NetworkState:
    """Return the state that knows how many customers there are. Args: values: (1,), released."""
    return replace(state, customers=max(_FEWEST, float(values[0]) / GRID))


def advanced(
    state: NetworkState, job: NetworkJob, values: IntArray, *, survivors: int
) -> NetworkState:
    """Return the state after a round. Args: values: the released sum of `survivors` partners.

    Raises: TrainingDiverged.
    """
    if job.model.sums_gradients:
        present = survivors / len(job.members)
        update = -_mean_gradient(state, job, values, customers=state.customers * present)
        return _moved(state, job, update)
    shared = shared_length(job, state.shape)
    weight = max(_FEWEST, float(values[shared]) * UNIT)
    update = np.zeros(state.shape.length)
    update[:shared] = values[:shared] * (UNIT / weight)
    return _moved(_controlled(state, job, update, survivors), job, update)


def joined(
    state: NetworkState, job: NetworkJob, updates: Sequence[IntArray]
) -> tuple[NetworkState, tuple[int, ...]]:
    """Return the state after a round whose updates were seen, and the places of spoilt ones.

    Args: updates: one a partner, (shared + 1,): its change times its weight, and its weight. Each
    counts once, whatever weight it says; one that is no change is left out.
    Raises: TrainingDiverged; UpdatesTooFew, SettingInvalid for more faulty partners than a rule
        can bear.
    """
    shared = shared_length(job, state.shape)
    combined = _combined(np.stack([_change(one, shared) for one in updates]), job)
    update = np.zeros(state.shape.length)
    update[:shared] = combined.update
    controlled = _controlled(state, job, update, len(combined.taken))
    return _moved(controlled, job, update), combined.left_out


def _change(values: IntArray, shared: int) -> FloatArray:
    """Return a partner's change, shape (shared,); what it cannot be read as is not a number."""
    weight = float(values[shared]) * UNIT
    scale = UNIT / weight if weight > 0 else math.nan
    return np.asarray(values[:shared] * scale, dtype=np.float64)


def _combined(changes: FloatArray, job: NetworkJob) -> robust.Combined:
    joining = job.model.joining
    match joining.rule:
        case "median":
            return robust.median(changes)
        case "trimmed_mean":
            return robust.trimmed_mean(changes, faulty=joining.faulty)
    assert joining.rule == "krum"
    return robust.krum(changes, faulty=joining.faulty)


def result(state: NetworkState, job: NetworkJob) -> NetworkWeights:
    """Return the network of the training: the mean over rounds, or the last one."""
    decay = job.model.server.average
    if not decay or not state.round:
        return NetworkWeights(state.shape, state.parameters)
    weight = 1 - decay**state.round
    return NetworkWeights(state.shape, (state.mean / weight).astype(np.float32))


def _mean_gradient(
    state: NetworkState, job: NetworkJob, values: IntArray, *, customers: float
) -> FloatArray:
    """Return the mean gradient of a sum over partners, shape (length,)."""
    if job.privacy.trust != "none":
        return mean_gradient(values, step_terms(job, state.shape), customers=customers)
    return values.astype(np.float64) * (UNIT / (job.model.sampling_rate * customers))


def _controlled(
    state: NetworkState, job: NetworkJob, update: FloatArray, survivors: int
) -> NetworkState:
    """Return the state with the control variate after a round of this mean change."""
    if not state.control.size:
        return state
    along = update / (job.model.local_steps * job.model.learning_rate)
    present = survivors / len(job.members)
    return replace(state, control=state.control - present * (state.control + along))


def _moved(state: NetworkState, job: NetworkJob, update: FloatArray) -> NetworkState:
    server = server_steps.advance(state.server, update)
    decay = job.model.server.average
    mean = decay * state.mean + (1 - decay) * server.exact if decay else state.mean
    return replace(state, server=server, mean=mean)
