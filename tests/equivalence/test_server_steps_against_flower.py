"""Server steps equal Flower's strategies over several rounds, once two differences are undone.

Flower starts v at 0, where the paper's algorithm starts it at tau^2 or above; its FedAdam corrects
the rate of each round for a start at 0, which the paper's does not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdam, FedAvgM, FedYogi
from flwr.supercore.task_identity import TaskIdentity

from fedmkt.contract.network_settings import ServerSettings
from fedmkt.horizontal.server_steps import advance, initial

PARTNERS, LENGTH, ROUNDS = 3, 11, 6
RATE, BETA_1, BETA_2, TAU = 0.05, 0.8, 0.95, 1e-2


@pytest.fixture(autouse=True)
def _in_a_task(monkeypatch):
    """Flower makes messages only inside a task."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def replies(parameters: np.ndarray, updates: np.ndarray) -> list[Message]:
    """Return what partners answer Flower: their parameters after training, of equal weight."""
    contents = (
        RecordDict(
            {
                "arrays": ArrayRecord({"x": Array(parameters + update)}),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        for update in updates
    )
    return [Message(content, dst_node_id=1, message_type="train") for content in contents]


def adaptive(kind: type) -> Any:
    """Return one of Flower's strategies with v started as in the paper."""
    strategy = kind(eta=RATE, beta_1=BETA_1, beta_2=BETA_2, tau=TAU)
    strategy.v_t = {"x": np.full(LENGTH, TAU**2)}
    return strategy


def start_adaptive(strategy: Any, parameters: np.ndarray, number: int) -> None:
    strategy.current_arrays = {"x": parameters}


def start_adam(strategy: Any, parameters: np.ndarray, number: int) -> None:
    start_adaptive(strategy, parameters, number)
    corrected = np.sqrt(1 - BETA_2 ** (number + 1)) / (1 - BETA_1 ** (number + 1))
    strategy.eta = RATE / corrected


def start_momentum(strategy: Any, parameters: np.ndarray, number: int) -> None:
    strategy.current_arrays = ArrayRecord({"x": Array(parameters)})


CASES: dict[str, tuple[ServerSettings, Callable[[], Any], Callable[[Any, np.ndarray, int], None]]]
CASES = {
    "fedavgm": (
        ServerSettings(rule="fedavgm", rate=0.7, momentum=0.6),
        lambda: FedAvgM(server_learning_rate=0.7, server_momentum=0.6),
        start_momentum,
    ),
    "fedavg with a rate": (
        ServerSettings(rule="fedavg", rate=0.7),
        lambda: FedAvgM(server_learning_rate=0.7, server_momentum=0.0),
        start_momentum,
    ),
    "fedadam": (
        ServerSettings(rule="fedadam", rate=RATE, beta_1=BETA_1, beta_2=BETA_2, tau=TAU),
        lambda: adaptive(FedAdam),
        start_adam,
    ),
    "fedyogi": (
        ServerSettings(rule="fedyogi", rate=RATE, beta_1=BETA_1, beta_2=BETA_2, tau=TAU),
        lambda: adaptive(FedYogi),
        start_adaptive,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_round_is_flowers(name):
    settings, make, start = CASES[name]
    draw, strategy = np.random.default_rng(5), make()
    state = initial(settings, draw.normal(size=LENGTH).astype(np.float32))
    theirs = state.exact
    for number in range(1, ROUNDS + 1):
        updates = draw.normal(size=(PARTNERS, LENGTH)) * 0.1
        start(strategy, theirs, number)
        arrays, _ = strategy.aggregate_train(number, replies(theirs, updates))
        theirs = arrays["x"].numpy()
        state = advance(state, updates.mean(axis=0))
        np.testing.assert_allclose(state.exact, theirs, rtol=1e-10, atol=1e-12)
