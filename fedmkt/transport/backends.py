"""Where the nodes of a simulation run: one interface, the same ServerApp and ClientApp.

in_process: threads of this process; nothing to start, the quickest for many small exchanges.
workers: worker processes of this machine, for nodes whose arithmetic takes longer than starting.
ray: Flower's own simulation, also over several machines; needs the extra `simulation`.

Guarantee: with the same noise a run gives the same model on each, where arithmetic takes as many
threads; workers and Ray take one each.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from flwr.serverapp import ServerApp

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport.flower import Config
from fedmkt.transport.in_process import run_in_process
from fedmkt.transport.local_grid import app_named
from fedmkt.transport.ray_simulation import run_on_ray
from fedmkt.transport.worker_processes import run_on_workers

BackendName = Literal["in_process", "workers", "ray"]


class RunApps(Protocol):
    """Runs a ServerApp to its end with one node for each of `node_configs`."""

    def __call__(
        self,
        server_app: ServerApp,
        client: str,
        *,
        node_configs: Mapping[int, Config],
        run_config: Config,
        workers: int,
    ) -> None:
        """Run it.

        Args: client: the nodes' ClientApp as `module:name`, which other processes can import.
            workers: processes to run nodes in, where there are any.
        Raises: SettingInvalid, where there is no such app; whatever the ServerApp raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The choice of a backend. workers: how many processes; None for as many as cores."""

    name: BackendName = "in_process"
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.name not in BACKENDS:
            problem = f"there is none of this name; there are {', '.join(BACKENDS)}"
            raise SettingInvalid(setting=f"backend {self.name}", problem=problem)
        if self.workers is not None and self.workers < 1:
            raise SettingInvalid(setting=f"workers {self.workers}", problem="at least 1 is needed")

    def run_apps(
        self,
        server_app: ServerApp,
        client: str,
        *,
        node_configs: Mapping[int, Config],
        run_config: Config,
    ) -> None:
        """Run the apps as `RunApps` says. Raises: also ExtraMissing."""
        BACKENDS[self.name](
            server_app,
            client,
            node_configs=node_configs,
            run_config=run_config,
            workers=self.workers or os.cpu_count() or 1,
        )


def _in_process(
    server_app: ServerApp,
    client: str,
    *,
    node_configs: Mapping[int, Config],
    run_config: Config,
    workers: int,  # noqa: ARG001
) -> None:
    run_in_process(server_app, app_named(client), node_configs=node_configs, run_config=run_config)


BACKENDS: dict[str, RunApps] = {
    "in_process": _in_process,
    "workers": run_on_workers,
    "ray": run_on_ray,
}
IN_PROCESS = Backend()
