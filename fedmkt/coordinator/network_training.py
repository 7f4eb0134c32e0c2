"""What the coordinator does in a training of a network: a count, then one secure sum a round."""

from dataclasses import dataclass

from fedmkt.contract.job import NetworkJob
from fedmkt.coordinator.summed_training import SummedTraining
from fedmkt.horizontal.network_plan import planned_network
from fedmkt.horizontal.network_server import (
    NetworkState,
    advanced,
    counted,
    initial_network,
    result,
)
from fedmkt.models.network_shape import NetworkWeights, parameter_bytes, shape_from_schema
from fedmkt.wire.training import UpdateRequest


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
        shape = shape_from_schema(self.table, job.features, width=model.width, blocks=model.blocks)
        self.agree_on_keys()
        count, *rounds = planned_network(job, shape)
        asked = UpdateRequest(sum_index=count.index, parameters=b"", control=b"")
        values, _ = self.sum(asked, length=count.length)
        state = counted(initial_network(job, shape), values)
        for plan in rounds:
            values, survivors = self.sum(_asked(plan.index, state), length=plan.length)
            state = advanced(state, job, values, survivors=survivors)
            self.finished_round(model.rounds, result(state, job))
        return result(state, job)


def _asked(index: int, state: NetworkState) -> UpdateRequest:
    return UpdateRequest(
        sum_index=index,
        parameters=parameter_bytes(state.parameters),
        control=parameter_bytes(state.control.astype("float32")),
    )
