"""The coordinator as it runs for partners: guard, SuperLink and executor, looked after.

The home folder is a deployment's folder too: superlink/, logs/, plan.json and status.json lie in
it. Nodes run elsewhere; whoever was admitted (members/NAME.pub) may connect.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from fedmkt.core.errors import DeploymentFailed, SettingInvalid
from fedmkt.core.logs import log_to_stderr
from fedmkt.deployment.joining import MEMBERS
from fedmkt.deployment.link_processes import link_commands, prepare
from fedmkt.deployment.metrics import coordinator_registry, serve
from fedmkt.deployment.plan import HOST, Layout, Plan
from fedmkt.deployment.running import listens
from fedmkt.deployment.settings import read_coordinator_settings
from fedmkt.deployment.supervisor import OWNER_ALONE, Supervisor
from fedmkt.storage.contract_files import read_contract


def _require_alone(layout: Layout) -> None:
    status = layout.read_status()
    if status is not None and status.supervisor.alive:
        raise DeploymentFailed(
            process=f"The coordinator of {layout.folder}",
            problem="it runs already",
            advice="Look at fedmkt up --status HOME; end the one that runs first.",
        )


def run_coordinator(
    home: Path,
    *,
    listen: str | None = None,
    metrics_port: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the coordinator's processes until SIGTERM or an interrupt.

    Args: listen: the address the guard listens on; by default the host that partners know.
        metrics_port: where figures are served on loopback, if at all. ready: called before the
        processes are started, when nothing stands in their way.
    Raises: FileMissing, SettingInvalid (a port is taken), DeploymentFailed (it runs already),
    ContractUnsigned, KeyLocked.
    """
    settings, layout = read_coordinator_settings(home), Layout(home.resolve())
    read_contract(home)
    _require_alone(layout)
    for host, port in ((listen or settings.host, settings.port), (HOST, settings.control_port)):
        if listens(host, port):
            problem = "another process listens there; end it, or change coordinator.toml"
            raise SettingInvalid(setting=f"port {port} of {host}", problem=problem)
    ready()
    log_to_stderr(settings.name)
    os.umask(OWNER_ALONE)
    prepare(layout.superlink)
    plan = Plan(
        control_port=settings.control_port,
        fleet_port=settings.port,
        commands=link_commands(
            layout,
            control_port=settings.control_port,
            host=listen or settings.host,
            port=settings.port,
            certificate=home / "tls" / "server.pem",
            key=home / "tls" / "server.key",
        ),
        admitted={path.stem: str(path.resolve()) for path in (home / MEMBERS).glob("*.pub")},
    )
    layout.write_plan(plan)
    supervisor = Supervisor(layout, plan)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    if metrics_port is not None:
        serve(coordinator_registry(layout), metrics_port)
    supervisor.run()
