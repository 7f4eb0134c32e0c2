"""What a SuperLink of this project answers at all.

Guarantee: a path that is not in `ANSWERED` and not a control route gets 404 before anything of
Flower looks at it. Control routes ask for the operator's token (`fedmkt.transport.superlink`);
fleet and runtime routes for a node's signature, the executor's secret or a running app's token.
Flower has more of them: with an app's token alone they start runs of other code, now and again
later, and hand out other apps' messages.
"""

import importlib
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fedmkt.core.errors import SettingInvalid
from fedmkt.transport.guard_app import FLEET_ROUTES

RUNTIME_ROUTES = frozenset(
    f"/v1/runtime/{name}"
    for name in (
        "acquire-task",
        "send-task-heartbeat",
        "pull-task-input",
        "push-task-output",
        "push-object",
        "pull-object",
        "confirm-message-received",
        "push-logs",
        "push-messages",
        "pull-messages",
        "get-nodes",
    )
)
"""What the executor and the coordinator's app call."""
ANSWERED = FLEET_ROUTES | RUNTIME_ROUTES
CONTROL = "/v1/control/"
_LAYERS = "_get_middleware"


def answer_only_known() -> None:
    """Have the SuperLink of this process answer nothing else.

    Raises: SettingInvalid with a Flower that has no place for it.
    """
    flower = importlib.import_module("flwr.superlink.main")
    listed: Any = getattr(flower, _LAYERS, None)
    if listed is None:
        raise SettingInvalid(setting="flwr", problem="this version has no place for the check")
    setattr(flower, _LAYERS, lambda: [Middleware(OnlyKnown), *listed()])


class OnlyKnown:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 404."""
        # Everything but requests is the server's own: its start and its end.
        known = scope["type"] == "lifespan" or (
            scope["type"] == "http"
            and (scope["path"] in ANSWERED or scope["path"].startswith(CONTROL))
        )
        await (self._app if known else Response(status_code=404))(scope, receive, send)
