"""What an outsider, a partner and the operator reach of a real SuperLink, on every route it has.

One SuperLink, started with the operator's token, a guard before it, and a node that works through
the guard. Routes are read off Flower's own application, so that those of another version are found.
"""

import contextlib
import functools
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from end_to_end.guard_callers import answer_to
from end_to_end.superlink import HOST, SuperLink, app_files, running_superlink
from fastapi.routing import iter_route_contexts
from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.proto.control_pb2 import RegisterNodeRequest
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink.main import create_app

from fedmkt.core.clock import ManualClock, SystemClock
from fedmkt.core.errors import ClockSkewed, LinkUnreachable, SettingInvalid
from fedmkt.deployment.clock_skew import require_clock
from fedmkt.deployment.link_keys import public_link_key, write_node_key
from fedmkt.deployment.preflight import clock_line
from fedmkt.transport.control import Control
from fedmkt.transport.guard_app import FLEET_ROUTES
from fedmkt.transport.operator_token import OperatorToken, read_operator_token
from fedmkt.transport.superlink import OperatorOnly

Route = tuple[str, str]
Key = ec.EllipticCurvePrivateKey

# What a local process learns of the SuperLink without any credential: that it is there, what
# Flower's interface looks like, and that nobody can log in.
OPEN_TO_LOCAL = {
    "/v1/control/get-login-details",
    "/v1/control/get-auth-tokens",
}
_CLIENT = """
from fedmkt.transport.flower import make_client_app

def open_handler(config):
    return lambda request: b"echo " + request

app = make_client_app(open_handler)
"""

_SERVER = """
from pathlib import Path
from fedmkt.transport.flower import make_server_app

def main(channel, config):
    node = int(config["order"])
    while node not in channel.node_ids(at_least=1, deadline_s=60):
        pass
    request = bytes(2**20)
    replies = channel.exchange({node: request}, deadline_s=60)
    Path(config["home"]).write_text(str(replies[node] == b"echo " + request))

app = make_server_app(main)
"""


@functools.cache
def routes() -> tuple[Route, ...]:
    """Return method and path of everything that this version's SuperLink serves."""
    found = tuple(
        (method, context.path)
        for context in iter_route_contexts(create_app().routes)
        for method in sorted(context.methods or ())
    )
    assert len(found) > 70
    assert all("{" not in path for _, path in found)
    return found


@dataclass(frozen=True)
class Caller:
    """Somebody with a node's key, or none, at one of the two ports."""

    client: httpx.Client
    key: Key | None = None

    def ask(self, method: str, path: str, content: bytes = b"") -> httpx.Response:
        headers = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}
        if self.key is not None:
            headers |= _shown(self.key)
        with self.client.stream(method, path, headers=headers, content=content) as response:
            # A stream that goes on for ever has answered with its status already.
            if response.status_code >= 400 or path in FLEET_ROUTES:
                response.read()
            return response


def _shown(key: Key) -> dict[str, str]:
    at = now().isoformat()
    return {
        "flwr-public-key": b64encode(public_key_to_bytes(key.public_key())).decode(),
        "flwr-timestamp": at,
        "flwr-signature": b64encode(sign_message(key, at.encode())).decode(),
    }


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    folder = tmp_path_factory.mktemp("guarded") / "link"
    with running_superlink(folder, {"bank": {"org": "bank"}}, guarded=True) as running:
        yield running


@contextlib.contextmanager
def calling(link: SuperLink, port: int | None, **headers: str) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(link.folder / "ca.crt"))
    base = f"https://{HOST}:{port}"
    with httpx.Client(base_url=base, verify=context, headers=headers, timeout=10) as client:
        yield client


def operator_token(link: SuperLink) -> OperatorToken:
    return read_operator_token(link.folder / "operator.token")


def admitted_key(link: SuperLink) -> tuple[Key, int]:
    """Register another node and return its key and id."""
    key = ec.generate_private_key(ec.SECP384R1())
    request = RegisterNodeRequest(public_key=public_key_to_bytes(key.public_key()), name="other")
    return key, link.control.RegisterNode(request).node_id


def test_the_list_of_fleet_routes_is_flowers_but_for_registration(link: SuperLink) -> None:
    served = {path for method, path in routes() if path.startswith("/v1/fleet/")}
    own_registration = {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert served - own_registration == FLEET_ROUTES
    assert {method for method, path in routes() if path in FLEET_ROUTES} == {"POST"}
    # The application read here is the one that runs there.
    with calling(link, link.port) as client:
        answers = {path: Caller(client).ask("POST", path).status_code for path in FLEET_ROUTES}
    assert 404 not in answers.values()


def test_an_outsider_reaches_the_fleet_routes_alone_and_they_refuse(link: SuperLink) -> None:
    with calling(link, link.guard_port) as client:
        for method, path in routes():
            time.sleep(0.01)  # slower than the guard's rate, on the whole
            answer = Caller(client).ask(method, path)
            if path in FLEET_ROUTES:
                assert answer.status_code == 401, path
            else:
                assert (answer.status_code, answer.content) == (404, b""), path


def test_a_node_that_was_not_admitted_is_refused_on_every_fleet_route(link: SuperLink) -> None:
    stranger = ec.generate_private_key(ec.SECP384R1())
    public = public_key_to_bytes(stranger.public_key())
    with calling(link, link.guard_port) as client:
        caller = Caller(client, stranger)
        for path in FLEET_ROUTES:
            assert caller.ask("POST", path).status_code in (400, 401), path
        request = ActivateNodeRequest(public_key=public, heartbeat_interval=30)
        asked = caller.ask("POST", "/v1/fleet/activate-node", request.SerializeToString())
        assert asked.status_code >= 400
        # An admitted node's number does not help: it belongs to another key.
        _, node_id = admitted_key(link)
        beat = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=30)
        asked = caller.ask("POST", "/v1/fleet/send-node-heartbeat", beat.SerializeToString())
        assert asked.status_code == 401


def test_a_partner_reaches_the_fleet_routes_and_nothing_else(link: SuperLink) -> None:
    key, node_id = admitted_key(link)
    with calling(link, link.guard_port) as client:
        caller = Caller(client, key)
        request = ActivateNodeRequest(
            public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=30
        )
        asked = caller.ask("POST", "/v1/fleet/activate-node", request.SerializeToString())
        assert asked.status_code == 200
        beat = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=30)
        asked = caller.ask("POST", "/v1/fleet/send-node-heartbeat", beat.SerializeToString())
        assert asked.status_code == 200
        for method, path in routes():
            if path not in FLEET_ROUTES:
                time.sleep(0.01)
                answer = caller.ask(method, path)
                assert (answer.status_code, answer.content) == (404, b""), path


def test_the_operators_token_opens_nothing_at_the_public_door(link: SuperLink) -> None:
    shown = f"Bearer {operator_token(link).value}"
    with calling(link, link.guard_port, authorization=shown) as client:
        answer = Caller(client).ask("POST", "/v1/control/list-nodes")
    assert (answer.status_code, answer.content) == (404, b"")


def test_the_operator_reaches_every_control_route(link: SuperLink) -> None:
    with calling(link, link.port, authorization=f"Bearer {operator_token(link).value}") as client:
        for method, path in routes():
            if path.startswith("/v1/control/") and "auth" not in path:
                assert Caller(client).ask(method, path).status_code != 401, path
    certificate = (link.folder / "ca.crt").read_bytes()
    with Control(f"{HOST}:{link.port}", certificate, operator_token(link)) as control:
        own_key = public_link_key(link.folder / "bank.key")
        assert control.nodes()["bank"].public_key == own_key.encode()


def test_the_operator_changes_a_nodes_key_and_cannot_go_back(
    link: SuperLink, tmp_path: Path
) -> None:
    old, new = write_node_key(tmp_path / "old"), write_node_key(tmp_path / "new")
    certificate = (link.folder / "ca.crt").read_bytes()
    with Control(f"{HOST}:{link.port}", certificate, operator_token(link)) as control:
        for key in (old, new):
            control.unregister("spare")
            control.register("spare", key)
            assert control.nodes()["spare"].public_key == key
        control.unregister("spare")
        assert "spare" not in control.nodes()
        with pytest.raises(LinkUnreachable):
            control.register("spare", old)


@pytest.mark.parametrize(
    "shown", [{}, {"authorization": "Bearer " + "x" * 43}], ids=["no", "wrong"]
)
def test_a_local_process_without_the_token_reaches_nothing_that_acts(
    link: SuperLink, shown: dict[str, str]
) -> None:
    with calling(link, link.port, **shown) as client:
        for method, path in routes():
            status = Caller(client).ask(method, path).status_code
            if path in OPEN_TO_LOCAL:
                continue
            refusals = (401, 403) if path.startswith("/v1/control/") else (400, 401, 403, 404, 426)
            assert status in refusals, (path, status)


def test_control_without_the_token_is_unreachable(link: SuperLink) -> None:
    certificate = (link.folder / "ca.crt").read_bytes()
    with (
        Control(f"{HOST}:{link.port}", certificate) as control,
        pytest.raises(LinkUnreachable),
    ):
        control.nodes()


def test_a_right_token_among_wrong_ones_opens_nothing() -> None:
    right, wrong = (ACCESS_TOKEN_KEY, "x" * 43), (ACCESS_TOKEN_KEY, "y" * 43)
    door = OperatorOnly(OperatorToken("x" * 43))
    assert door.validate_tokens_in_metadata([("other", "y"), right])[0]
    for shown in ([right, wrong], [wrong, right], [right, right], [wrong], []):
        assert door.validate_tokens_in_metadata(shown) == (False, None)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "operator.token"
    file.write_text("x" * 43)
    file.chmod(0o600)
    token = read_operator_token(file)
    assert "x" * 43 not in repr(token)
    file.chmod(0o640)
    with pytest.raises(SettingInvalid, match="0600"):
        read_operator_token(file)
    file.write_text("short")
    file.chmod(0o600)
    with pytest.raises(SettingInvalid, match="32"):
        read_operator_token(file)


def test_a_run_is_completed_by_a_node_that_works_through_the_guard(
    link: SuperLink, tmp_path: Path
) -> None:
    outcome = tmp_path / "outcome"
    config = {"home": str(outcome), "order": str(link.node_ids["bank"])}
    run = link.run(app_files(client=_CLIENT, server=_SERVER), config, timeout_s=60)
    assert run.status == "finished:completed", link.logs()
    assert outcome.read_text() == "True"


@pytest.mark.parametrize(
    ("ahead_s", "state", "said"),
    [
        (0, "ok", "within 3 s"),
        (20, "fail", "(18|19|20) s ahead of .*NTP"),
        (-60, "warn", "(58|59|60) s behind .*NTP"),
        (-400, "fail", "(398|399|400) s behind .*NTP"),
    ],
)
def test_a_partner_sees_at_the_guard_how_far_off_its_clock_is(
    link: SuperLink, ahead_s: int, state: str, said: str
) -> None:
    context = ssl.create_default_context(cafile=str(link.folder / "ca.crt"))
    clock = ManualClock(datetime.now(UTC) + timedelta(seconds=ahead_s))
    line = clock_line(f"{HOST}:{link.guard_port}", context, clock)
    assert line.state == state, line.said
    assert re.match(said, line.said), line.said


def test_a_node_whose_clock_is_off_is_told_by_name(link: SuperLink) -> None:
    address, certificate = f"{HOST}:{link.guard_port}", link.folder / "ca.crt"
    require_clock(address, certificate, SystemClock())
    for off in (timedelta(hours=3), timedelta(hours=-3)):
        with pytest.raises(ClockSkewed, match="Set the clock"):
            require_clock(address, certificate, ManualClock(datetime.now(UTC) + off))


# --- what is sent is not what httpx would send --------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/v1/fleet/../control/list-nodes",
        "/v1/fleet/%2e%2e/control/list-nodes",
        "/v1/fleet/pull-messages/../../control/list-nodes",
        "/v1/fleet%2fpull-messages",
        "//v1/fleet/pull-messages",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages?x=1",
        "/V1/fleet/pull-messages",
        "/v1/fleet/pull-messages;x",
        "https://127.0.0.1/v1/control/list-nodes",
        "/v1/fleet/register-node",
        "*",
    ],
)
def test_no_other_spelling_of_a_path_passes(link: SuperLink, target: str) -> None:
    request = f"POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    answer = answer_to(link, link.guard_port, request.encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404"), head
    assert body == b""


def test_a_body_whose_end_is_stated_twice_is_refused(link: SuperLink) -> None:
    request = (
        b"POST /v1/fleet/get-run HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert answer_to(link, link.guard_port, request).startswith(b"HTTP/1.1 400")


def test_an_older_tls_is_refused(link: SuperLink) -> None:
    context = ssl.create_default_context(cafile=str(link.folder / "ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((HOST, link.guard_port), 10) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname=HOST)
