"""The operator's side of a SuperLink: who is registered and online, runs started, listed, stopped.

Not guaranteed: that nobody else starts runs. Whoever reaches the control routes can, unless the
SuperLink asks for a token (`fedmkt.transport.superlink`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from flwr.cli.cli_client_interceptor import CliClientHttpInterceptor
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from google.protobuf.message import DecodeError

from fedmkt.core.errors import LinkUnreachable
from fedmkt.transport.bundle import build_bundle, bundle_files
from fedmkt.transport.operator_token import OperatorToken, read_operator_token


@dataclass(frozen=True, slots=True)
class LinkRun:
    """A run as the SuperLink knows it. status: pending, starting, running or finished:HOW."""

    run_id: int
    status: str


@dataclass(frozen=True, slots=True)
class LinkNode:
    """A node that may connect. public_key: as it was registered (PEM).

    online_since: seconds since the epoch; None for who is not. A node that died a moment ago still
    counts as online, since an earlier time than its successor's start.
    """

    public_key: bytes
    online_since: float | None


class Control:
    """A connection to the control routes of one SuperLink. Close it when done."""

    def __init__(
        self, address: str, root_certificates: bytes, token: OperatorToken | None = None
    ) -> None:
        """Connect to HOST:PORT over TLS, trusting `root_certificates` (PEM) alone.

        token: what a SuperLink that was started by `fedmkt.transport.superlink` asks for.
        """
        self._address = address
        self._client = ControlHttpClient.from_server_address(
            address,
            insecure=False,
            root_certificates=root_certificates,
            interceptors=[
                CliClientHttpInterceptor(),
                RuntimeVersionHttpInterceptor(component_name="flwr CLI"),
                *([token] if token is not None else []),
            ],
        )

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def register(self, name: str, public_key: bytes) -> None:
        """Let the holder of a key (PEM) connect as a node. Raises: LinkUnreachable."""
        self._call("RegisterNode", RegisterNodeRequest(public_key=public_key, name=name))

    def unregister(self, name: str) -> None:
        """Let nobody connect as this node any more. Raises: LinkUnreachable."""
        for one in self._call("ListNodes", ListNodesRequest()).nodes_info:
            if one.name == name and one.status != "unregistered":
                self._call("UnregisterNode", UnregisterNodeRequest(node_id=one.node_id))

    def nodes(self) -> Mapping[str, LinkNode]:
        """Return all registered nodes by name. Raises: LinkUnreachable."""
        return {
            one.name: LinkNode(one.public_key, _online_since(one))
            for one in self._call("ListNodes", ListNodesRequest()).nodes_info
            if one.status != "unregistered"
        }

    def start(self, run_config: Mapping[str, str], files: Mapping[str, bytes] | None = None) -> int:
        """Start a run; return its number. files: of another bundle than this package's own.

        Raises: LinkUnreachable.
        """
        bundle = build_bundle(files or bundle_files())
        request = StartRunRequest(
            fab=fab_to_proto(Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})),
            override_config=user_config_to_proto(dict(run_config)),
        )
        return int(self._call("StartRun", request).run_id)

    def run(self, run_id: int) -> LinkRun:
        """Return how a run stands. Raises: LinkUnreachable."""
        found = self._call("ListRuns", ListRunsRequest(run_id=run_id)).run_dict[run_id].status
        ending = f":{found.sub_status}" if found.sub_status else ""
        return LinkRun(run_id, f"{found.status}{ending}")

    def stop(self, run_id: int) -> None:
        """End a run's process at the coordinator; its nodes are not told. Raises: LinkUnreachable.

        A run that has ended already stays as it is.
        """
        if not self.run(run_id).status.startswith("finished"):
            self._call("StopRun", StopRunRequest(run_id=run_id))

    def _call(self, name: str, request: object) -> Any:
        try:
            return getattr(self._client, name)(request)
        except (httpx.HTTPError, DecodeError, OSError) as error:
            raise LinkUnreachable(address=self._address, problem=type(error).__name__) from None


def _online_since(node: Any) -> float | None:
    if node.status != "online" or not node.last_activated_at:
        return None
    return datetime.fromisoformat(node.last_activated_at).timestamp()


def operators_control(superlink: Path, port: int) -> Control:
    """Return a connection to the SuperLink on this machine whose things lie in a folder.

    Raises: FileMissing, SettingInvalid (the operator's token); LinkUnreachable (no certificate).
    """
    token = read_operator_token(superlink / "operator.token")
    address = f"127.0.0.1:{port}"
    try:
        return Control(address, (superlink / "ca.crt").read_bytes(), token)
    except OSError:
        raise LinkUnreachable(address=address, problem="there is no ca.crt") from None
