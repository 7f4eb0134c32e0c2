"""What the coordinator does in a training of a network: a count, then one secure sum a round."""

import logging
from dataclasses import dataclass

import numpy as np

from fedmkt.contract.job import NetworkJob
from fedmkt.coordinator.summed_training import SummedTraining
from fedmkt.horizontal.network_plan import NetworkSum, job_shape, planned_network
from fedmkt.horizontal.network_server import (
    NetworkState,
    advanced,
    counted,
    initial_network,
    joined,
    result,
)
from fedmkt.models.network_shape import NetworkWeights, parameter_bytes
from fedmkt.wire.training import UpdateRequest

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class NetworkTrainingRun(SummedTraining[NetworkWeights]):
    """One run of a network's job."""

    job: NetworkJob

    @property
    def stated(self) -> NetworkJob:
        """Return the job."""
        return self.job

    def trained(self) -> NetworkWeights:
        """Train from the agreed keys to the model."""
        job, model = self.job, self.job.model
        shape = job_shape(job, self.table)
        if job.updates_seen:
            self.open_run()
        else:
            self.agree_on_keys()
        count, *rounds = planned_network(job, shape)
        state = self._counted(count, initial_network(job, shape))
        for plan in rounds:
            state = self._round(plan, state)
            self.finished_round(model.rounds, result(state, job))
        return result(state, job)

    def _counted(self, plan: NetworkSum, state: NetworkState) -> NetworkState:
        """Have customers counted."""
        asked = UpdateRequest(sum_index=plan.index, parameters=b"", control=b"")
        if self.job.updates_seen:
            counts = self.seen(asked, length=plan.length)
            return counted(state, np.sum(list(counts.values()), axis=0))
        values, _ = self.sum(asked, length=plan.length)
        return counted(state, values)

    def _round(self, plan: NetworkSum, state: NetworkState) -> NetworkState:
        """Have a round's updates made, and go on from what they are together."""
        asked = _asked(plan.index, state)
        if self.job.updates_seen:
            # Fewer would end the run, although one more member may only be late.
            fewest = self.job.model.joining.fewest
            updates = self.seen(asked, length=plan.length, fewest=fewest)
            state, spoilt = joined(state, self.job, list(updates.values()))
            if spoilt:
                names = ", ".join(list(updates)[place] for place in spoilt)
                _log.warning("round %d: no change came from %s", state.round, names)
            return state
        values, survivors = self.sum(asked, length=plan.length)
        return advanced(state, self.job, values, survivors=survivors)


def _asked(index: int, state: NetworkState) -> UpdateRequest:
    return UpdateRequest(
        sum_index=index,
        parameters=parameter_bytes(state.parameters),
        control=parameter_bytes(state.control.astype("float32")),
    )
