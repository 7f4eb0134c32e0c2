"""A real SuperLink with an executor and SuperNodes as processes of their own, on loopback.

TLS, SuperNode authentication, process isolation and an executor secret are on. Every process has
a home, a log and a process group of its own, and all of them are gone when the context ends.
"""

import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from end_to_end.recording_proxy import RecordingProxy
from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (  # type: ignore[attr-defined]
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from fedmkt.deployment.certificates import write_certificates
from fedmkt.deployment.link_keys import write_node_key
from fedmkt.deployment.plan import QUIET
from fedmkt.storage.whole_file import write_private
from fedmkt.transport.bundle import build_bundle, bundle_files
from fedmkt.transport.flower import Config
from fedmkt.transport.operator_token import OperatorToken

HOST = "127.0.0.1"
START_S = 60.0
_QUIET = {**QUIET, "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05"}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """How a run ended: `status` is status:sub-status, e.g. finished:completed."""

    status: str
    details: str
    wall_s: float


@dataclass
class SuperLink:
    """A running SuperLink: `nodes` holds each SuperNode's configuration by name."""

    folder: Path
    nodes: Mapping[str, Config]
    port: int
    control: ControlHttpClient
    guard_port: int | None = None
    node_ids: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(
        self, files: Mapping[str, bytes], run_config: Config, *, timeout_s: float
    ) -> FinishedRun:
        """Submit a bundle of `files`, wait until the run has ended, say how."""
        run_id = self.start_run(files, run_config)
        started = time.monotonic()
        while True:
            run = self.control.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id]
            waited_s = time.monotonic() - started
            if run.status.status == "finished":
                status = f"{run.status.status}:{run.status.sub_status}"
                return FinishedRun(status, run.status.details, waited_s)
            if waited_s > timeout_s:
                return FinishedRun(f"{run.status.status}:timed out", "", waited_s)
            time.sleep(0.25)

    def start_run(self, files: Mapping[str, bytes], run_config: Config) -> int:
        """Submit a bundle of `files` and return the run's id."""
        with warnings.catch_warnings():
            # Flower asks pathspec for a kind of pattern by its old name.
            warnings.simplefilter("ignore", DeprecationWarning)
            bundle = build_bundle(files)
        request = StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})),
            override_config=user_config_to_proto(dict(run_config)),
        )
        return int(self.control.StartRun(request).run_id)

    def start(self, name: str, command: list[str]) -> None:
        """Start a process with a home, a log and a process group of its own."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        scripts = str(Path(sys.executable).parent)
        env = dict(os.environ) | _QUIET
        env |= {"FLWR_HOME": str(home), "PATH": f"{scripts}{os.pathsep}{env['PATH']}"}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [f"{scripts}/{command[0]}", *command[1:]],
                env=env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_guard(self, name: str, port: int, **changes: str | float) -> None:
        """Start a guard before this SuperLink and wait until it listens."""
        settings: dict[str, str | float] = {
            "host": HOST,
            "port": port,
            "certificate": f"{self.folder}/server.pem",
            "key": f"{self.folder}/server.key",
            "superlink": f"{HOST}:{self.port}",
            "superlink_certificates": f"{self.folder}/ca.crt",
            **changes,
        }
        file = self.folder / f"{name}.toml"
        file.write_text("".join(f"{key} = {json.dumps(settings[key])}\n" for key in settings))
        self.start(name, ["python", "-m", "fedmkt.transport.guard", "--config", str(file)])
        _wait_for_port(self, name, port)

    def logs(self) -> str:
        """Return what all processes and the ServerApps wrote, for the message of a failed test."""
        files = sorted(self.folder.glob("*.log"))
        parts = [f"--- {path.name}\n{path.read_text(errors='replace')}" for path in files]
        with contextlib.closing(sqlite3.connect(self.folder / "state.db")) as store:
            lines = store.execute("SELECT log FROM task_logs ORDER BY timestamp").fetchall()
        return "\n".join([*parts, "--- ServerApp", *(line for (line,) in lines)])


def app_files(*, client: str, server: str) -> dict[str, bytes]:
    """Return the bundle's files with other apps in them."""
    return bundle_files() | {"client_app.py": client.encode(), "server_app.py": server.encode()}


@contextlib.contextmanager
def running_superlink(
    folder: Path,
    nodes: Mapping[str, Config],
    *,
    record_to: Path | None = None,
    guarded: bool = False,
) -> Iterator[SuperLink]:
    """Start a SuperLink, its executor and one SuperNode for each of `nodes`.

    record_to: where to keep every byte the nodes send, in clear: a proxy between the nodes and
    the SuperLink holds the certificate and writes them down. guarded: whether the SuperLink asks
    for the operator's token, and the nodes reach it through a guard.
    """
    folder.mkdir(parents=True)
    write_certificates(folder, HOST)
    (folder / "executor.secret").write_bytes(secrets.token_bytes(32))
    token = OperatorToken(secrets.token_urlsafe(32)) if guarded else None
    port, guard_port, *node_ports = free_ports(2 + len(nodes))
    with contextlib.ExitStack() as stack:
        control = ControlHttpClient.from_server_address(
            f"{HOST}:{port}",
            insecure=False,
            root_certificates=(folder / "ca.crt").read_bytes(),
            interceptors=[
                CliClientHttpInterceptor(),
                RuntimeVersionHttpInterceptor(component_name="flwr CLI"),
                *([token] if token is not None else []),
            ],
        )
        stack.callback(control.close)
        link = SuperLink(folder, nodes, port, control)
        stack.callback(_stop, link.processes)
        command = _superlink_command(folder, port)
        if token is not None:
            write_private(folder / "operator.token", token.value.encode())
            program = ["python", "-m", "fedmkt.transport.superlink"]
            command = [*program, "--operator-token", f"{folder}/operator.token", *command[1:]]
        link.start("superlink", command)
        _wait_for_port(link, "superlink", port)
        link.start("executor", _executor_command(folder, port))
        fleet_port = port
        if guarded:
            fleet_port = link.guard_port = guard_port
            link.start_guard("guard", guard_port)
        if record_to is not None:
            fleet_port = stack.enter_context(RecordingProxy(folder, HOST, port, record_to)).port
        for (name, config), node_port in zip(nodes.items(), node_ports, strict=True):
            public_key = write_node_key(folder / f"{name}.key")
            response = control.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name))
            link.node_ids[name] = response.node_id
            link.start(name, _node_command(folder, name, config, fleet_port, node_port))
        yield link


def free_ports(count: int) -> list[int]:
    """Return ports nobody listened on a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def _superlink_command(folder: Path, port: int) -> list[str]:
    return [
        "flower-superlink", "--host", HOST, "--port", str(port),
        "--ssl-ca-certfile", f"{folder}/ca.crt", "--ssl-certfile", f"{folder}/server.pem",
        "--ssl-keyfile", f"{folder}/server.key", "--enable-supernode-auth",
        "--database", f"{folder}/state.db", "--isolation", "process",
        "--superexec-auth-secret-file", f"{folder}/executor.secret",
    ]  # fmt: skip


def _executor_command(folder: Path, port: int) -> list[str]:
    return [
        "flower-superexec", "--root-certificates", f"{folder}/ca.crt",
        "--runtime-api-address", f"{HOST}:{port}",
        "--superexec-auth-secret-file", f"{folder}/executor.secret",
    ]  # fmt: skip


def _node_command(
    folder: Path, name: str, config: Config, fleet_port: int, node_port: int
) -> list[str]:
    command = [
        "flower-supernode", "--superlink", f"{HOST}:{fleet_port}",
        "--root-certificates", f"{folder}/ca.crt",
        "--auth-supernode-private-key", f"{folder}/{name}.key",
        "--host", HOST, "--port", str(node_port),
    ]  # fmt: skip
    if config:
        # TOML writes texts, numbers and truth values as JSON does.
        pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        command += ["--node-config", pairs]
    return command


def _wait_for_port(link: SuperLink, name: str, port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and link.processes[name].poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1.0):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{name} does not listen:\n{link.logs()}")


def _stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """End all process groups: nodes first, those that will not go by force."""
    for process in reversed(processes.values()):
        _signal_group(process, signal.SIGTERM)
    until = time.monotonic() + 5.0
    for process in processes.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, until - time.monotonic()))
    for process in processes.values():
        # The leader may be gone while a task it started lives on in its group.
        _signal_group(process, signal.SIGKILL)
        process.wait(10)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
