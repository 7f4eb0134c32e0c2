"""A network's training with all partners in one process and nothing in between: twins and studies.

Guarantee: with the same noise sources it computes what nodes and coordinator compute, bit for bit;
sums of whole numbers do not depend on their order, and masks cancel.
Not guaranteed: privacy between partners, who share this process; no contract is asked, no ledger
kept. What the releases cost is what `network_releases` says.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fedmkt.contract.job import NetworkJob
from fedmkt.horizontal.network_plan import COUNT
from fedmkt.horizontal.network_rows import NetworkRows
from fedmkt.horizontal.network_server import (
    NetworkState,
    advanced,
    counted,
    initial_network,
    joined,
    result,
)
from fedmkt.horizontal.network_update import (
    Asked,
    Memory,
    count_update,
    round_update,
)
from fedmkt.models.network_shape import NetworkInputs, NetworkShape, NetworkWeights
from fedmkt.privacy.mechanisms import NoiseSource

POOLED = "pooled"


def train_together(
    parts: Mapping[str, NetworkRows],
    job: NetworkJob,
    shape: NetworkShape,
    noise: Mapping[str, NoiseSource],
    *,
    run: str,
    present: Callable[[int], Sequence[str]] | None = None,
    watch: Callable[[NetworkState, Mapping[str, Memory]], None] = lambda _state, _kept: None,
) -> tuple[NetworkState, dict[str, Memory]]:
    """Train `job` over the rows of all members; return the last state and what each member keeps.

    Args: noise: each member's source, drawn from under labels of `run`. present: who takes part in
        a round, numbered from 1 on; everybody by default. watch: told of every round's state, and
        of what members keep.
    Raises: TrainingDiverged.
    """
    memories: dict[str, Memory] = {}
    total = np.zeros(1, dtype=np.int64)
    for member, rows in parts.items():
        source = noise[member].stream(f"{run}/{COUNT}/{member}")
        update, memories[member] = count_update(rows, job, source)
        total = total + update.values
    state = counted(initial_network(job, shape), total)
    for number in range(1, job.model.rounds + 1):
        members = parts if present is None else present(number)
        asked = Asked(number, state.parameters, state.control.astype(np.float32))
        sums = []
        for member in members:
            stream = noise[member].key_stream(f"{run}/{number}/{member}")
            made, memories[member] = round_update(
                parts[member], job, shape, memories[member], asked, stream
            )
            sums.append(made.values)
        state = (
            joined(state, job, sums)[0]
            if job.updates_seen
            else advanced(state, job, np.sum(sums, axis=0), survivors=len(sums))
        )
        watch(state, memories)
    return state, memories


def train_pooled_network(
    parts: Sequence[NetworkRows], job: NetworkJob, shape: NetworkShape, noise: NoiseSource
) -> NetworkWeights:
    """Train on all rows in one place, as one partner that has them all.

    Raises: TrainingDiverged.
    """
    rows = NetworkRows(
        NetworkInputs(
            np.concatenate([part.inputs.numbers for part in parts]),
            np.concatenate([part.inputs.codes for part in parts]),
        ),
        np.concatenate([part.target for part in parts]),
    )
    alone = job.model_copy(update={"members": (POOLED,)})
    state, _ = train_together({POOLED: rows}, alone, shape, {POOLED: noise}, run=POOLED)
    return result(state, alone)
