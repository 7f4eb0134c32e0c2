"""The task of `federated_networks.py` by Apple's pfl, in one process; needs `pfl`, torch.

Its FederatedAveraging over its SimulatedBackend, rows as tensors in memory, whose batches pfl makes
once and keeps; every partner in each round with weight 1, the server adds the mean change. What it
would evaluate beside the first round costs nothing here: `metrics` looks at no row. A round before
the first warms torch, and is thrown away.
"""

import time

import torch
from network_task import Net, Task, paths, task_at, write_result
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn


class PflNet(Net):
    """The network with the two methods that pfl asks for."""

    def loss(
        self, numbers: torch.Tensor, codes: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(numbers, codes), target)

    def metrics(self, *_rows: torch.Tensor) -> dict[str, Weighted]:
        return {"nothing": Weighted(0.0, 1)}


def train(task: Task, data: FederatedDataset, rounds: int) -> tuple[PflNet, float, float]:
    """Return what so many rounds reach, their seconds, and those of the processor."""
    net = PflNet(task.tables, task.layers, task.start)
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    backend = SimulatedBackend(training_data=data, val_data=data)
    began, own = time.perf_counter(), time.process_time()
    FederatedAveraging().run(
        backend=backend,
        model=model,
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds,
            train_cohort_size=task.partners,
            val_cohort_size=0,
        ),
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1,
            local_learning_rate=task.learning_rate,
            local_batch_size=task.batch,
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[],
    )
    return net, time.perf_counter() - began, time.process_time() - own


def main() -> None:
    torch.set_num_threads(1)
    source, target = paths()
    task = task_at(source)
    users = list(range(task.partners))
    datasets = [PyTorchTensorDataset(task.rows_of(user)) for user in users]
    data = FederatedDataset(datasets.__getitem__, get_user_sampler("minimize_reuse", users))
    train(task, data, 1)
    net, rounds_s, own_s = train(task, data, task.rounds)
    write_result(target, net, task, rounds_s, own_s)
