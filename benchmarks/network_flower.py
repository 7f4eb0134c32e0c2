"""The task of `federated_networks.py` by Flower's simulation; needs `flwr[simulation]`, torch.

Flower's own FedAvg over ClientApps of one processor each, all partners in every round, nothing
evaluated in between. A round before the first warms Ray's processes, and is thrown away.
Import it and call `main`: Ray's processes import it too, and so keep what they have read.
"""

import math
import os
import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from network_task import Net, paths, task_at, train_epoch, write_result

TASK = "FEDMKT_BENCHMARK_TASK"
client = ClientApp()
server = ServerApp()
reached: list[tuple[Net, float]] = []


@client.train()
def train(message: Message, context: Context) -> Message:
    task = task_at(os.environ[TASK])
    net = task.network()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    place = int(context.node_config["partition-id"])
    train_epoch(net, task, place, int(message.content["config"]["server-round"]))
    content = {
        "arrays": ArrayRecord(net.state_dict()),
        "metrics": MetricRecord({"num-examples": task.rows_each}),
    }
    return Message(RecordDict(content), reply_to=message)


@server.main()
def coordinate(grid: Grid, _context: Context) -> None:
    task = task_at(os.environ[TASK])
    start = ArrayRecord(task.network().state_dict())
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=task.partners)
    strategy.start(grid, start, num_rounds=1)
    began = time.perf_counter()
    result = strategy.start(grid, start, num_rounds=task.rounds)
    rounds_s = time.perf_counter() - began
    net = task.network()
    net.load_state_dict(result.arrays.to_torch_state_dict())
    reached.append((net, rounds_s))


def main() -> None:
    from flwr.simulation import run_simulation

    source, target = paths()
    os.environ[TASK] = source
    task = task_at(source)
    run_simulation(
        server,
        client,
        num_supernodes=task.partners,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    net, rounds_s = reached[0]
    torch.set_num_threads(1)
    write_result(target, net, task, rounds_s, math.nan)
