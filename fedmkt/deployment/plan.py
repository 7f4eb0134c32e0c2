"""The processes of a deployment on one machine: their folder, their commands, how they stand.

DIR/
  coordinator/, nodes/MEMBER/   home folders
  superlink/                    certificate, secrets and database of the SuperLink; nodes' link keys
  logs/NAME.log                 what each process wrote
  plan.json                     which processes, and on which ports
  status.json                   how they stand, written by the supervisor
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import psutil
from pydantic import Field, ValidationError

from fedmkt.core.errors import DeploymentFailed, FileMissing
from fedmkt.core.frozen import Frozen
from fedmkt.storage.whole_file import write_whole

FrozenT = TypeVar("FrozenT", bound=Frozen)

HOST = "127.0.0.1"
PLAN_FILE, STATUS_FILE = "plan.json", "status.json"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What a Flower process is told, so that it calls nobody."""
_CLOCK_TOLERANCE_S = 1.0


class Command(Frozen):
    """A process to run. member: whose node it is, "" for the coordinator's processes.

    host, port: where it listens when it is ready; no port where that cannot be told. public_key:
    path of the key (PEM) that a node is registered with.
    """

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = Field(default_factory=dict)
    host: str = HOST
    port: int | None = None
    member: str = ""
    public_key: str = ""


class Plan(Frozen):
    """All processes of a deployment, in the order in which they start.

    admitted: paths of the public keys (PEM) of nodes that run elsewhere, by member.
    """

    control_port: int
    fleet_port: int
    commands: tuple[Command, ...]
    admitted: dict[str, str] = Field(default_factory=dict)

    @property
    def members(self) -> tuple[str, ...]:
        """Return the members whose nodes run here."""
        return tuple(one.member for one in self.commands if one.member)


class ProcessStatus(Frozen):
    """How a process stands. started: seconds since the epoch, which tells it from a later one."""

    name: str
    state: Literal["starting", "up", "waiting", "stopped"]
    pid: int | None = None
    started: float | None = None
    host: str = HOST
    port: int | None = None
    restarts: int = 0
    last_exit: int | None = None

    @property
    def address(self) -> str | None:
        """Return where it listens, if that can be told."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return None if self.port is None else f"{host}:{self.port}"

    @property
    def alive(self) -> bool:
        """Return whether this very process runs, and not another under its number."""
        return self.pid is not None and is_alive(self.pid, self.started)


class Status(Frozen):
    """How a deployment stands, as its supervisor last wrote. nodes: online at the SuperLink?"""

    supervisor: ProcessStatus
    at: datetime
    processes: tuple[ProcessStatus, ...] = ()
    nodes: dict[str, bool] = Field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Return whether all processes are up and all nodes online."""
        up = all(one.state == "up" and one.alive for one in self.processes)
        return self.supervisor.alive and up and bool(self.nodes) and all(self.nodes.values())


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of a deployment on one machine."""

    folder: Path

    @property
    def coordinator(self) -> Path:
        """Return the coordinator's home folder: below this one, or this one itself."""
        itself = (self.folder / "coordinator.toml").is_file()
        return self.folder if itself else self.folder / "coordinator"

    @property
    def superlink(self) -> Path:
        """Return the folder of the SuperLink's own things."""
        return self.folder / "superlink"

    @property
    def root_certificate(self) -> Path:
        """Return the certificate that all connections are checked against."""
        return self.superlink / "ca.crt"

    def node(self, member: str) -> Path:
        """Return a member's home folder."""
        return self.folder / "nodes" / member

    def log(self, name: str) -> Path:
        """Return the log of a process."""
        return self.folder / "logs" / f"{name}.log"

    def read_plan(self) -> Plan:
        """Return the plan. Raises: FileMissing, DeploymentFailed (it cannot be read)."""
        return _read(self.folder / PLAN_FILE, Plan)

    def write_plan(self, plan: Plan) -> None:
        """Write the plan. Raises: OutputUnwritable."""
        write_whole(self.folder / PLAN_FILE, plan.model_dump_json(indent=2).encode())

    def read_status(self) -> Status | None:
        """Return how the deployment stands; None if it never ran."""
        path = self.folder / STATUS_FILE
        return _read(path, Status) if path.exists() else None

    def write_status(self, status: Status) -> None:
        """Write how the deployment stands. Raises: OutputUnwritable."""
        write_whole(self.folder / STATUS_FILE, status.model_dump_json(indent=2).encode())


def is_alive(pid: int, started: float | None) -> bool:
    """Tell whether a process runs that started at a time; a later one under its number does not."""
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        same = started is None or abs(process.create_time() - started) < _CLOCK_TOLERANCE_S
    except psutil.Error:
        return False
    return same and not gone


def quiet_environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a Flower process: a home of its own, no calls home."""
    scripts = str(Path(sys.executable).parent)
    return {
        **os.environ,
        # Flower starts further programs of its own by name.
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(home),
        **QUIET,
        # For nodes that run by Flower's own runner; the coordinator's executor looks less often.
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
        **extra,
    }


def _read(path: Path, kind: type[FrozenT]) -> FrozenT:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        advice = "Give --home the folder of a deployment, or run fedmkt up first."
        raise FileMissing(what="deployment", path=path, advice=advice) from None
    except ValidationError:
        raise DeploymentFailed(
            process=path.name, problem="the file cannot be read", advice="Run fedmkt up again."
        ) from None
