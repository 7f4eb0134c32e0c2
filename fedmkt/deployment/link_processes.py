"""The coordinator's processes: a SuperLink on loopback, its executor, and the guard before them.

    partners --TLS 1.3--> guard --loopback--> SuperLink <--loopback-- executor, operator

superlink/ holds what they share: a certificate for loopback, the executor's secret, the operator's
token, the SuperLink's database and the guard's settings; all but the certificate are this user's.
"""

import secrets
import sys
from pathlib import Path

import tomli_w

from fedmkt.deployment.certificates import write_certificates
from fedmkt.deployment.plan import HOST, Command, Layout
from fedmkt.storage.whole_file import write_private

SUPERLINK, EXECUTOR, GUARD = "superlink", "executor", "guard"
_ONE_MACHINE = {
    "requests_per_s_each": 1000.0,
    "burst_each": 2000,
    "most_connections_each": 256,
    "most_bytes_in_flight_each": 2**30,
}
"""On one machine all nodes come from one address; each asks up to thirty times a second."""
_EXECUTOR_LOOKS = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5"}
"""Looking for new runs twenty times a second keeps a quarter of a processor busy all day."""


def prepare(folder: Path) -> None:
    """Make certificate, secret and token, where they are not there yet.

    Raises: OutputUnwritable.
    """
    if not (folder / "ca.crt").exists():
        write_certificates(folder, HOST)
    if not (folder / "executor.secret").exists():
        write_private(folder / "executor.secret", secrets.token_bytes(32))
    if not (folder / "operator.token").exists():
        write_private(folder / "operator.token", secrets.token_urlsafe(32).encode())


def link_commands(
    layout: Layout,
    *,
    control_port: int,
    host: str,
    port: int,
    certificate: Path,
    key: Path,
    one_machine: bool = False,
) -> tuple[Command, ...]:
    """Return the three processes, in the order in which they start; write the guard's settings.

    Args: host, port: where partners reach the guard. certificate, key: what it shows them.
    """
    folder = layout.superlink.resolve()
    link = f"{HOST}:{control_port}"
    settings = {
        "host": host,
        "port": port,
        "certificate": str(certificate.resolve()),
        "key": str(key.resolve()),
        "superlink": link,
        "superlink_certificates": f"{folder}/ca.crt",
        **(_ONE_MACHINE if one_machine else {}),
    }
    write_private(folder / "guard.toml", tomli_w.dumps(settings).encode())
    return (
        Command(
            name=SUPERLINK, arguments=superlink_command(folder, control_port), port=control_port
        ),
        Command(
            name=EXECUTOR, arguments=executor_command(folder, link), environment=_EXECUTOR_LOOKS
        ),
        Command(
            name=GUARD,
            arguments=(
                sys.executable, "-m", "fedmkt.transport.guard", "--config", f"{folder}/guard.toml"
            ),
            host=host,
            port=port,
        ),
    )  # fmt: skip


def superlink_command(folder: Path, port: int) -> tuple[str, ...]:
    """Return the command of a SuperLink on loopback that asks the operator for the token."""
    return (
        sys.executable, "-m", "fedmkt.transport.superlink",
        "--operator-token", f"{folder}/operator.token", "--host", HOST, "--port", str(port),
        "--ssl-ca-certfile", f"{folder}/ca.crt", "--ssl-certfile", f"{folder}/server.pem",
        "--ssl-keyfile", f"{folder}/server.key", "--enable-supernode-auth",
        "--database", f"{folder}/state.db", "--isolation", "process",
        "--superexec-auth-secret-file", f"{folder}/executor.secret",
    )  # fmt: skip


def executor_command(folder: Path, link: str) -> tuple[str, ...]:
    """Return the command of the executor, which runs the coordinator's app."""
    return (
        sys.executable, "-m", "fedmkt.transport.executor",
        "--root-certificates", f"{folder}/ca.crt", "--runtime-api-address", link,
        "--superexec-auth-secret-file", f"{folder}/executor.secret",
    )  # fmt: skip
