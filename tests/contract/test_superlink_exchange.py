"""A SuperLink that eases exchanges answers as Flower's own does, and holds what is not there."""

import asyncio
import importlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import HTTPException
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import (
    Message,
    Metadata,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fedmkt.transport import superlink_exchange
from fedmkt.transport.superlink_exchange import EXCHANGE, Held, Past, ease_exchanges
from fedmkt.transport.superlink_waiting import Waiting, asked_for, is_nothing, what_came
from fedmkt.transport.tested import TESTED

FLOWER = "flwr.superlink.main"
PROTOBUF = {"content-type": "application/protobuf"}
HELD_S = 0.05


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `ease_exchanges` changes is as it was when the test is over."""
    for name in (FLOWER, *superlink_exchange._USES_THREADS):
        module = importlib.import_module(name)
        kind = superlink_exchange._LAYERS if name == FLOWER else superlink_exchange._THREADS
        monkeypatch.setattr(module, kind, getattr(module, kind))
    monkeypatch.setattr(superlink_exchange, "HELD_S", HELD_S)


def _superlink() -> tuple[Any, dict[str, str]]:
    """Return a SuperLink's app with one node, and that node's headers."""
    app = importlib.import_module(FLOWER).create_app()
    key = ec.derive_private_key(7, ec.SECP384R1())
    public = public_key_to_bytes(key.public_key())
    state = app.state.linkstate_factory.state()
    state.create_node("none", "none", public, 30.0)
    at = now().isoformat()
    signature = sign_message(key, at.encode())
    return app, {
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public).decode(),
        TIMESTAMP_HEADER: at,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode(),
        "node": str(state.get_node_id_by_public_key(public)),
    }


async def _answers() -> dict[tuple[str, ...], tuple[int, bytes, str]]:
    """Return what a SuperLink answers to each way of asking, right and wrong."""
    app, node = _superlink()
    mine, other = int(node.pop("node")), 3
    ways = {
        "nothing": (b"", {}),
        "no type": (b"\xff\xff", node),
        "not a message": (b"\xff\xff", PROTOBUF),
        "nobody": (b"", PROTOBUF),
        "somebody else": (_pull(other), {**PROTOBUF, **node}),
        "a node": (_pull(mine), {**PROTOBUF, **node}),
        "a stale node": (_pull(mine), {**PROTOBUF, **node, TIMESTAMP_HEADER: "2020-01-01"}),
    }
    found = {}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://superlink") as client:
        for path in sorted({*EXCHANGE, "/v1/control/list-invitations", "/v1/fleet/activate-node"}):
            for method in ("GET", "POST"):
                for way, (body, headers) in ways.items():
                    got = await client.request(method, path, content=body, headers=headers)
                    kind = got.headers.get("content-type", "")
                    found[path, method, way] = (got.status_code, got.content, kind)
    return found


def _pull(node: int) -> bytes:
    return PullMessagesRequest(node=Node(node_id=node)).SerializeToString()


def test_every_way_of_asking_is_answered_as_flower_answers_it(restored: None) -> None:
    stock = asyncio.run(_answers())
    assert ease_exchanges()
    eased = asyncio.run(_answers())
    assert {status for status, _, _ in stock.values()} >= {200, 401, 405}
    for one in stock.values():
        # The node's number differs from SuperLink to SuperLink; no answer names it.
        assert b"node" not in one[1].lower() or one[0] != 200
    assert eased == stock


@pytest.mark.parametrize("why", ["untested", "tracing", "layers", "no threads"])
def test_with_a_flower_that_is_not_the_tested_one_all_stays_as_it_is(
    why: str, restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    flower = importlib.import_module(FLOWER)
    if why == "tracing":
        monkeypatch.setenv("FLWR_TRACING_ENABLED", "1")
    if why == "layers":
        more = [*flower._get_middleware(), Middleware(BaseHTTPMiddleware)]
        monkeypatch.setattr(flower, superlink_exchange._LAYERS, lambda: more)
    if why == "no threads":
        user = importlib.import_module(superlink_exchange._USES_THREADS[0])
        monkeypatch.delattr(user, superlink_exchange._THREADS)
    layers = flower._get_middleware
    assert not ease_exchanges("1.40.0" if why == "untested" else TESTED[0])
    assert flower._get_middleware is layers


# --- held questions ---------------------------------------------------------------------------


class Layer(BaseHTTPMiddleware):
    """Stands for the authentication of nodes; lets in as long as `let_in` says so."""

    def __init__(self, app: Any, let_in: Iterator[bool]) -> None:
        super().__init__(app)
        self._let_in = let_in

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if not next(self._let_in):
            raise HTTPException(401)
        return await call_next(request)


async def _never() -> dict[str, Any]:
    """Stand for a client that waits: nothing more comes of it."""
    await asyncio.sleep(3600)
    raise AssertionError


async def _gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


class SuperLink:
    """A handler of pulls and pushes behind a `Held` layer."""

    def __init__(self, let_in: Iterator[bool]) -> None:
        self.there: list[str] = []
        self.asked = 0
        self.layer = Held(self._handle, Middleware(Layer, let_in=let_in))

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = Request(scope).state
        if isinstance(state.protobuf_request, PullMessagesRequest):
            self.asked += 1
            state.protobuf_response = PullMessagesResponse(messages_list=map(_message, self.there))
        else:
            self.there.append("one")
            state.protobuf_response = None
        await Response()(scope, receive, send)

    async def answer(self, request: Any, path: str, receive: Receive = _never) -> Any:
        scope = {"type": "http", "path": path, "method": "POST", "headers": [], "state": {}}
        scope["state"] = {"protobuf_request": request}
        await self.layer(scope, receive, _nowhere)
        return scope["state"]["protobuf_response"]


def _message(name: str) -> Message:
    return Message(metadata=Metadata(message_id=name))


async def _nowhere(_message: Any) -> None:
    pass


def _to(node: int) -> PushAppMessagesRequest:
    return PushAppMessagesRequest(messages_list=[Message(metadata=Metadata(dst_node_id=node))])


PULL, PUSH = "/v1/fleet/pull-messages", "/v1/runtime/push-messages"
ME = PullMessagesRequest(node=Node(node_id=5))


async def _pulled_while(link: SuperLink, *pushed: PushAppMessagesRequest) -> PullMessagesResponse:
    pulling = asyncio.create_task(link.answer(ME, PULL))
    await asyncio.sleep(0)
    while not link.asked:
        await asyncio.sleep(0.001)
    for one in pushed:
        await link.answer(one, PUSH)
    response: PullMessagesResponse = await pulling
    return response


def test_a_question_is_held_until_what_it_asks_for_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Were it not told, the test would run into its own time.
    monkeypatch.setattr(superlink_exchange, "HELD_S", 3600.0)
    link = SuperLink(iter([True] * 9))
    got = asyncio.run(asyncio.wait_for(_pulled_while(link, _to(4), _to(5)), 30))
    assert [one.metadata.message_id for one in got.messages_list] == ["one", "one"]
    assert link.asked == 2


@pytest.mark.parametrize("pushed", [(), (_to(4),)])
def test_a_question_is_answered_with_nothing_when_its_time_is_over(
    pushed: tuple[PushAppMessagesRequest, ...], restored: None
) -> None:
    link = SuperLink(iter([True] * 9))
    got = asyncio.run(asyncio.wait_for(_pulled_while(link, *pushed), 30))
    assert link.asked == 1
    assert not got.messages_list


def test_nothing_is_taken_for_who_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink_exchange, "HELD_S", 3600.0)
    link = SuperLink(iter([True] * 9))

    async def ask_and_go() -> Any:
        return await asyncio.wait_for(link.answer(ME, PULL, _gone), 30)

    assert not asyncio.run(ask_and_go()).messages_list
    assert link.asked == 1


def test_who_was_shut_out_while_a_question_was_held_gets_no_answer(restored: None) -> None:
    link = SuperLink(iter([True, True, False]))
    with pytest.raises(HTTPException):
        asyncio.run(asyncio.wait_for(_pulled_while(link, _to(5)), 30))
    assert link.asked == 1


def test_a_path_that_is_not_of_an_exchange_goes_through_flowers_layer() -> None:
    gone: list[str] = []

    class Counted(BaseHTTPMiddleware):
        async def dispatch(
            self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
        ) -> Response:
            gone.append(request.url.path)
            return await call_next(request)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    async def ask() -> None:
        transport = httpx.ASGITransport(app=Past(app, Middleware(Counted)))
        async with httpx.AsyncClient(transport=transport, base_url="http://superlink") as client:
            for path in (*sorted(EXCHANGE), *others):
                await client.post(path)

    others = [
        "/v1/control/list-runs",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages/../../control/list-runs",
        "/V1/fleet/pull-messages",
        "/v1/fleet/activate-node",
    ]
    asyncio.run(ask())
    assert len(gone) == len(others)


def test_what_comes_wakes_who_waits_for_it_and_nothing_is_kept_of_others() -> None:
    async def wait() -> None:
        waiting = Waiting()
        waiting.tell([("node", 1)])
        with waiting.for_any([("node", 1), ("node", 2)]) as come, waiting.for_any([("node", 1)]):
            assert len(waiting) == 2
            assert not await come(0.001, asyncio.sleep(3600))
            waiting.tell([("node", 2)])
            assert await asyncio.wait_for(come(3600.0, asyncio.sleep(3600)), 30)
        assert len(waiting) == 0

    asyncio.run(wait())


def test_each_question_is_answered_by_what_brings_what_it_asks_for() -> None:
    reply = Message(metadata=Metadata(reply_to_message_id="asked"))
    pairs = [
        (ME, _to(5)),
        (
            PullAppMessagesRequest(message_ids=["asked"]),
            PushMessagesRequest(messages_list=[reply]),
        ),
        (PullObjectRequest(object_id="part"), PushObjectRequest(object_id="part")),
    ]
    for number, (question, _) in enumerate(pairs):
        met = [set(asked_for(question)) & set(what_came(bringing)) for _, bringing in pairs]
        assert [bool(one) for one in met] == [place == number for place in range(len(pairs))]
    assert not asked_for(_to(5))
    assert not what_came(ME)


@pytest.mark.parametrize(
    ("response", "nothing"),
    [
        (PullMessagesResponse(), True),
        (PullMessagesResponse(messages_list=[_message("one")]), False),
        (PullObjectResponse(object_found=True), True),
        (PullObjectResponse(object_found=True, object_available=True), False),
        (PullObjectResponse(), False),
        (None, False),
    ],
)
def test_only_what_may_still_come_is_waited_for(response: Any, *, nothing: bool) -> None:
    assert is_nothing(response) is nothing
