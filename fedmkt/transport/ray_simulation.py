"""Flower's own simulation, which spreads nodes over the machines of a Ray cluster.

Guarantee: the ServerApp and the ClientApp are those of the other backends; each node gets its own
configuration; what a ClientApp raises gives the same error message.
Not guaranteed: that a node is always handled by the same process, nor one message at a time: nodes
must keep in their homes whatever lasts. With several machines homes lie where all of them see them.

A running cluster is named by RAY_ADDRESS; without it Ray starts on this machine and ends with the
run.
"""

import importlib.util
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import PARTITION_ID_KEY
from flwr.serverapp import Grid, ServerApp
from flwr.supercore import telemetry

from fedmkt.core.errors import ExtraMissing
from fedmkt.transport.flower import Config
from fedmkt.transport.leash import environment, one_thread_each
from fedmkt.transport.local_grid import answer_of, app_named, context_of

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_CLUSTER = "RAY_ADDRESS"


@dataclass(frozen=True, slots=True)
class NodesOnRay:
    """Answers for every node. Ray sends it to its processes, so it names the app.

    node_configs: in the order of Flower's partitions.
    """

    client: str
    node_configs: tuple[Config, ...]
    run_config: Config

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer as the node of the context's partition."""
        place = context.node_config[PARTITION_ID_KEY]
        assert isinstance(place, int)
        own = context_of(context.node_id, self.node_configs[place], self.run_config)
        return answer_of(app_named(self.client), message, own)


def run_on_ray(
    server_app: ServerApp,
    client: str,
    *,
    node_configs: Mapping[int, Config],
    run_config: Config,
    workers: int,
) -> None:
    """Run `server_app` to its end over Ray.

    Args: workers: processes on this machine; of a running cluster all processors are used.
    Raises: ExtraMissing without Ray; SettingInvalid (the client app); whatever the ServerApp
        raises, unchanged.
    """
    if importlib.util.find_spec("ray") is None:
        raise ExtraMissing(library="ray", purpose="Simulations over Ray", extra="simulation")
    from flwr.simulation import run_simulation

    app_named(client)
    nodes = NodesOnRay(client, tuple(map(dict, node_configs.values())), dict(run_config))
    end = _End()
    own: dict[str, Any] = {} if _CLUSTER in os.environ else {"num_cpus": workers}
    with _quiet(), one_thread_each():
        run_simulation(
            _noting(server_app, run_config, end),
            cast("ClientApp", nodes),
            num_supernodes=len(node_configs),
            backend_config={
                "init_args": {"log_to_driver": False, "logging_level": logging.ERROR, **own},
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    if end.error is not None:
        raise end.error
    assert end.reached, "Flower ends a simulation with its ServerApp"


@dataclass(slots=True)
class _End:
    """How the ServerApp ended, which Flower keeps to itself where it was not by an Exception."""

    reached: bool = False
    error: BaseException | None = None


def _noting(server_app: ServerApp, run_config: Config, end: _End) -> ServerApp:
    """Return a ServerApp that runs `server_app` with its configuration and notes its end."""
    noting = ServerApp()

    @noting.main()
    def run(grid: Grid, context: Context) -> None:
        context.run_config = dict(run_config)
        try:
            server_app(grid, context)
        except BaseException as error:  # noqa: BLE001
            end.error = error
        end.reached = True

    return noting


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Flower and Ray from calling home and from telling every step."""
    log, before = logging.getLogger("flwr"), logging.getLogger("flwr").level
    log.setLevel(logging.ERROR)
    # Flower reads its setting once, when it is imported.
    telemetry.FLWR_TELEMETRY_ENABLED = _QUIET["FLWR_TELEMETRY_ENABLED"]
    try:
        with tempfile.TemporaryDirectory() as home, environment({**_QUIET, "FLWR_HOME": home}):
            yield
    finally:
        log.setLevel(before)
