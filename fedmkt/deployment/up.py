"""A whole collaboration on one machine: brought up, looked at, taken down.

Guarantee: everything listens on loopback alone; connections are TLS, nodes authenticate with keys
of their own. `bring_up` returns once all processes run and all nodes are online, or ends them all.
`take_down` returns once no process of the deployment is left.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fedmkt.core.errors import DeploymentFailed
from fedmkt.deployment.link_keys import write_node_key
from fedmkt.deployment.link_processes import link_commands, prepare
from fedmkt.deployment.plan import HOST, Command, Layout, Plan, Status
from fedmkt.deployment.running import end_group
from fedmkt.storage.whole_file import write_whole

START_S = 90.0
_LOOK_S = 0.2
_STOP_S = 20.0


def bring_up(
    layout: Layout,
    members: tuple[str, ...],
    *,
    deadline_s: float = START_S,
    tell: Callable[[Status], None] = lambda _status: None,
) -> Status:
    """Start a SuperLink, an executor and a node for each member; return once all are healthy.

    Args: tell: told how things stand, again and again. The members' homes are there already.
    Raises: DeploymentFailed (it runs already, or did not come up; then nothing is left running).
    """
    status = layout.read_status()
    if status is not None and status.supervisor.alive:
        raise DeploymentFailed(
            process=f"Another run of {layout.folder}",
            problem="it is up already",
            advice="Look at fedmkt up --status, or run fedmkt down first.",
        )
    _clear(layout, status)
    layout.folder.chmod(0o700)
    plan = _planned(layout, members)
    layout.write_plan(plan)
    _start_supervisor(layout)
    try:
        return _wait_healthy(layout, plan, deadline_s, tell)
    except BaseException:
        take_down(layout)
        raise


def take_down(layout: Layout) -> bool:
    """End all processes of a deployment; return whether any ran.

    Raises: DeploymentFailed when one does not end.
    """
    status = layout.read_status()
    if status is None:
        return False
    ran = status.supervisor.alive
    if ran and status.supervisor.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(status.supervisor.pid, signal.SIGTERM)
        until = time.monotonic() + _STOP_S
        while status.supervisor.alive and time.monotonic() < until:
            time.sleep(_LOOK_S)
        if status.supervisor.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.supervisor.pid, signal.SIGKILL)
    latest = layout.read_status() or status
    return _clear(layout, status) or _clear(layout, latest) or ran


def _clear(layout: Layout, status: Status | None) -> bool:
    """End what an earlier run left behind; return whether there was anything."""
    left = [one for one in (status.processes if status else ()) if one.alive]
    for one in left:
        assert one.pid is not None
        end_group(one.pid)
    until = time.monotonic() + _STOP_S
    while any(one.alive for one in left):
        if time.monotonic() > until:
            names = ", ".join(one.name for one in left if one.alive)
            raise DeploymentFailed(
                process=names, problem="it does not end", advice=f"Look into {layout.folder}/logs."
            )
        time.sleep(_LOOK_S)
    return bool(left)


def _start_supervisor(layout: Layout) -> None:
    log = layout.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    (layout.folder / "status.json").unlink(missing_ok=True)
    with log.open("ab") as file:
        subprocess.run(
            [sys.executable, "-m", "fedmkt.deployment.supervisor", str(layout.folder.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=True,
        )


def _wait_healthy(
    layout: Layout,
    plan: Plan,
    deadline_s: float,
    tell: Callable[[Status], None],
) -> Status:
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        status = layout.read_status()
        if status is not None:
            tell(status)
            if status.healthy and set(plan.members) <= set(status.nodes):
                return status
        time.sleep(_LOOK_S)
    raise DeploymentFailed(
        process=_not_up(layout.read_status()),
        problem=f"it did not come up within {deadline_s:g} s",
        advice=f"The reason stands in {layout.folder}/logs.",
    )


def _not_up(status: Status | None) -> str:
    if status is None:
        return "The supervisor"
    down = [one.name for one in status.processes if one.state != "up"]
    down += [f"node {name}" for name, online in status.nodes.items() if not online]
    return ", ".join(down) or "A node"


# --- what is written down before the start ----------------------------------------------------


def _planned(layout: Layout, members: tuple[str, ...]) -> Plan:
    folder = layout.superlink
    prepare(folder)
    for member in members:
        if not _public_key(layout, member).exists():
            write_whole(_public_key(layout, member), write_node_key(_private_key(layout, member)))
    control, port = _free_ports(2)
    commands = link_commands(
        layout,
        control_port=control,
        host=HOST,
        port=port,
        certificate=folder / "server.pem",
        key=folder / "server.key",
        one_machine=True,
    )
    nodes = tuple(
        Command(
            name=member,
            member=member,
            public_key=str(_public_key(layout, member).resolve()),
            arguments=_node_command(layout, member, f"{HOST}:{port}"),
        )
        for member in members
    )
    return Plan(control_port=control, fleet_port=port, commands=(*commands, *nodes))


def _private_key(layout: Layout, member: str) -> Path:
    return layout.superlink / "nodes" / f"{member}.key"


def _public_key(layout: Layout, member: str) -> Path:
    return layout.superlink / "nodes" / f"{member}.pub"


def _node_command(layout: Layout, member: str, link: str) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "fedmkt.deployment.node_process",
        "--home", str(layout.node(member).resolve()), "--link", link,
        "--certificate", str(layout.root_certificate.resolve()),
        "--key", str(_private_key(layout, member).resolve()),
    )  # fmt: skip


def _free_ports(count: int) -> list[int]:
    """Return ports nobody listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
