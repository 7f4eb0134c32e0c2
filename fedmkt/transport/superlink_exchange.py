"""Makes an exchange cheap for a SuperLink, whose one thread all nodes wait for.

Flower sends every request through nine layers that each start tasks and streams of their own, and
its handlers through other threads, which they share one lock and one database writer with. And
whoever waits for something asks again and again. Together that is most of what an exchange takes.

For the paths in `EXCHANGE`, and for no others:
- Layers that by Flower's own code do nothing there (they are about control routes, or tracing and
  event logs that are off) are left out. Errors, translation and authentication of nodes stay, in
  Flower's order and by Flower's own code.
- Handlers run at once, one after the other, unless what was sent is large.
- A question that would be answered with nothing yet is held up to `HELD_S`. When what it asks for
  comes, it is asked again as a whole, authentication with it.

Guarantee: whoever may do something may do it exactly as before; each answer is one that Flower's
own handler gave. Every other path stays as it is.
Leans on Flower's internals: with a version that was not tested, or layers that are not those it
was tested with, all stays as it is.
"""

import importlib
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedmkt.transport.superlink_waiting import HELD_S, Waiting, asked_for, is_nothing, what_came
from fedmkt.transport.tested import is_tested

EXCHANGE = frozenset(
    f"/v1/{whose}/{what}"
    for whose in ("fleet", "runtime")
    for what in (
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
    )
)
"""What an exchange is made of. Nothing that streams is among it."""
LEFT_OUT = (
    "ControlSensitiveResponseMiddleware",
    "ControlAuthenticationMiddleware",
    "ControlLicenseMiddleware",
    "RuntimeTracingMiddleware",
    "ControlEventLogMiddleware",
    "FleetEventLogMiddleware",
)
KEPT = ("BaseHTTPMiddleware", "ProtobufTranslationMiddleware", "NodeAuthMiddleware")
_INNERMOST = KEPT[-1]
_SWITCHES = ("FLWR_TRACING_ENABLED", "FLWR_ENABLE_EVENT_LOG")
_LAYERS = "_get_middleware"
_THREADS = "run_in_threadpool"
_USES_THREADS = (
    "fastapi.dependencies.utils",
    "flwr.supercore.protobuf.routing",
    "flwr.superlink.routers.fleet.node_auth",
)
_LARGE_BYTES = 8_000_000
_OK = 200

_at_once: ContextVar[bool] = ContextVar("at_once", default=False)


def ease_exchanges(installed: str | None = None) -> bool:
    """Have the SuperLink of this process ease exchanges; return whether it will."""
    flower = importlib.import_module("flwr.superlink.main")
    users = [importlib.import_module(name) for name in _USES_THREADS]
    listed = getattr(flower, _LAYERS, None)
    if (
        not is_tested(installed)
        or listed is None
        or not all(hasattr(user, _THREADS) for user in users)
        or any(os.getenv(switch) == "1" for switch in _SWITCHES)
        or sorted(map(_name, listed())) != sorted((*LEFT_OUT, *KEPT))
    ):
        return False
    setattr(flower, _LAYERS, lambda: [_eased(layer) for layer in listed()])
    for user in users:
        setattr(user, _THREADS, _at_once_or(getattr(user, _THREADS)))
    return True


def _eased(layer: Middleware) -> Middleware:
    if _name(layer) in LEFT_OUT:
        return Middleware(Past, layer=layer)
    return Middleware(Held if _name(layer) == _INNERMOST else Plainly, layer=layer)


def _name(layer: Middleware) -> str:
    return str(getattr(layer.cls, "__name__", ""))


def _at_once_or(in_thread: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if _at_once.get():
            return function(*args, **options)
        return await in_thread(function, *args, **options)

    return call


class Past:
    """A layer that an exchange's requests go past."""

    def __init__(self, app: ASGIApp, layer: Middleware) -> None:
        self._app = app
        self._layer: Any = layer.cls(app, *layer.args, **layer.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["path"] in EXCHANGE:
            await self._eased(scope, receive, send)
        else:
            await self._layer(scope, receive, send)

    async def _eased(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class Plainly(Past):
    """A layer that waits for the next one's whole answer, without tasks and streams."""

    async def _eased(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._dispatched(scope, receive)
        await response(scope, receive, send)

    async def _dispatched(self, scope: Scope, receive: Receive) -> Response:
        async def call_next(_request: Request) -> Response:
            return await _whole(self._app, scope, receive)

        response: Response = await self._layer.dispatch_func(Request(scope, receive), call_next)
        return response


class Held(Plainly):
    """The innermost layer: it sees what is asked and answered as messages."""

    def __init__(self, app: ASGIApp, layer: Middleware) -> None:
        super().__init__(app, layer)
        self._waiting = Waiting()

    async def _dispatched(self, scope: Scope, receive: Receive) -> Response:
        state = Request(scope).state
        request = getattr(state, "protobuf_request", None)
        _at_once.set(request is not None and request.ByteSize() < _LARGE_BYTES)
        with self._waiting.for_any(asked_for(request)) as come:
            response = await super()._dispatched(scope, receive)
            nothing = is_nothing(getattr(state, "protobuf_response", None))
            # Flower hands a message out once: none may be taken for who has gone.
            if nothing and await come(HELD_S, _gone(receive)):
                response = await super()._dispatched(scope, receive)
        if response.status_code == _OK:
            self._waiting.tell(what_came(request))
        return response


async def _gone(receive: Receive) -> None:
    """Return when whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whole(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """Return an app's answer to a request. What the app raises is raised."""
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, keep)
    start, *bodies = sent
    response = Response(b"".join(one.get("body", b"") for one in bodies), start["status"])
    response.raw_headers = list(start["headers"])
    return response
